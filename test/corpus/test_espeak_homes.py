"""Voices of killed runs do not stay in the temporary folder."""

import os
import subprocess
import sys
import tempfile
import time

from emotalk_ros.corpus import espeak


def test_folders_of_killed_processes_are_taken_away_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        f"emotalk-voices-{dead.pid}-x",
        f"emotalk-voices-{os.getpid()}-x",
        "emotalk-voices-old",
        "emotalk-voices-new",
    ]
    for name in names:
        (tmp_path / name / "espeak-ng-data").mkdir(parents=True)
    os.utime(tmp_path / "emotalk-voices-old", (time.time() - 90_000,) * 2)
    elsewhere = tmp_path / "kept"
    elsewhere.mkdir()
    (tmp_path / f"emotalk-voices-{dead.pid}-link").symlink_to(elsewhere)
    espeak._clear_homes()
    left = {path.name for path in tmp_path.iterdir()}
    assert {names[1], names[3], "kept"} <= left and names[0] not in left and names[2] not in left
    assert elsewhere.is_dir()
