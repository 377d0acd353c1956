"""Workers of a command and Ctrl-C: they do not hear it, and take away what they have half-written."""

import os
import signal
import subprocess
import sys
import time

import pytest

from emotalk_ros.workers import worker_pool

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


def _miss_the_first(path):
    """As when the signal comes just before the worker waits for its next task."""
    answer, told = signal.getsignal(signal.SIGTERM), []

    def missing(number, frame):
        told.append(number)
        if len(told) > 1:
            answer(number, frame)

    signal.signal(signal.SIGTERM, missing)
    path.touch()
    time.sleep(30)


def test_a_worker_that_misses_the_first_signal_ends_all_the_same(tmp_path):
    begun = None
    with pytest.raises(RuntimeError, match="enough"), worker_pool(1, method="fork") as pool:
        pool.apply_async(_miss_the_first, (tmp_path / "ready",))
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        begun = time.monotonic()
        raise RuntimeError("enough")
    assert time.monotonic() - begun < 5.0


def test_a_pool_without_trouble_ends_with_its_tasks():
    with worker_pool(2, method="fork") as pool:
        found = list(pool.imap_unordered(abs, range(-4, 0)))
    assert sorted(found) == [1, 2, 3, 4]
