"""Workers of a command and Ctrl-C: they do not hear it, and take away what they have half-written."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from pathlib import Path

from emotalk_ros.files import replacing
from emotalk_ros.workers import worker_pool

folder, moment = Path(sys.argv[1]), sys.argv[2]


def reach(name):
    (folder.parent / name).touch()


if __name__ != "__main__" and moment == "importing":  # a worker imports this file, for long
    reach("importing")
    time.sleep(30)


def work(number):
    with replacing(folder / f"{number}.txt") as part:
        part.write_text("half")
        reach("writing")
        time.sleep(30)


if __name__ == "__main__":
    try:
        with worker_pool(2) as pool:
            reach("started")
            pool.map(work, range(4))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("moment", ["started", "importing", "writing"])
def test_only_the_parent_answers_ctrl_c(tmp_path, moment):
    (tmp_path / "program.py").write_text(PROGRAM)
    folder = tmp_path / "out"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(folder), moment],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / moment).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "")
    assert os.listdir(folder) == []
