"""Commands that replace a file tell so in one line, and only then (others have this beside their own tests)."""

import numpy as np
import pytest
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.commands import expressiveness
from emotalk_ros.motion.files import Motion, write_motion

COMMANDS = {
    "render": ("render", "take.csv", "-o", "OUT.png", "--size", "64"),
    "sheet": ("sheet", "-o", "OUT.png", "--size", "64", "--intensities", "1"),
    "export-face": ("export-face", "OUT.glb"),
    "motion-range": ("prepare", "motion-range", "take.csv", "--out", "OUT.npz"),
    "expressiveness": ("expressiveness", "speech.wav", "-o", "OUT.json"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A take of 4 s, and no network to perform with."""
    values = np.random.default_rng(0).uniform(0, 0.5, (120, 52)).astype(np.float32)
    still, angles = np.zeros(120, np.float32), np.zeros((120, 9), np.float32)
    take = Motion(np.arange(120) / 30, values, still, np.zeros((120, 0), np.float32), (), 30.0, "take", angles)
    write_motion(tmp_path / "take.csv", take, "livelink-csv")
    monkeypatch.setattr(expressiveness, "_measure", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_there_is_told_about(folder, name):
    words = list(COMMANDS[name])
    out = next(word for word in words if word.startswith("OUT"))
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "already" not in first.output
    (folder / out).write_bytes(b"old")
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0, again.output
    assert again.stderr.count("already") == 1 and f"note: {out} is there already: it is replaced" in again.stderr
    assert (folder / out).read_bytes() != b"old"
