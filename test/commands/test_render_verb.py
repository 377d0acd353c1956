"""`emotalk render`, as a user types it."""

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from emotalk_ros.commands import render
from emotalk_ros.face import COUNT, INDEX


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    motion = np.zeros((20, COUNT), dtype=np.float32)
    motion[:, INDEX["jawOpen"]] = np.linspace(0, 0.5, 20)
    np.save(tmp_path / "talk.npy", motion)
    np.save(tmp_path / "still.npy", 0 * motion)
    return tmp_path


def run(*words):
    app = typer.Typer()
    render.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def frames(path):
    with Image.open(path) as film:
        return film.n_frames, film.size


def test_one_motion_becomes_a_film_beside_it(folder):
    result = run("talk.npy", "--size", 64, "--draft")
    assert result.exit_code == 0, result.output
    assert frames(folder / "talk.webp") == (20, (64, 64))
    assert "20 frames at 30 fps" in result.output


def test_two_motions_stand_side_by_side_and_can_be_cut(folder):
    options = ("--size", 64, "--draft", "--start", 0.1, "--seconds", 0.2)
    result = run("talk.npy", "still.npy", "-o", "both.gif", *options)
    assert result.exit_code == 0, result.output
    assert frames(folder / "both.gif") == (5, (64 + 4 + 64, 64))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.csv",), "nowhere.csv: no such file"),
        (("talk.npy", "-o", "a.avi"), ".avi is not a film"),
        (("talk.npy", "--face", "nobody.glb"), "nobody.glb: no such file or folder"),
        (("talk.npy", "--start", "5"), "nothing at second 5"),
        (("talk.npy", "--audio", "a.wav"), "has no sound: write an .mp4"),
    ],
)
def test_faults_are_one_line_and_exit_code_1(folder, words, message):
    result = run(*words, "--size", 64)
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output
    assert sorted(path.name for path in folder.iterdir()) == ["still.npy", "talk.npy"]
