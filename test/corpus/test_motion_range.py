"""Ranges and companions of a captured face, and what lies outside of them."""

import numpy as np
import pytest
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.corpus.motion_range import MotionRange
from emotalk_ros.corpus.store import CorpusError
from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.files import Motion, write_motion


def captured(frames=600, seed=0):
    """A mouth whose corners go with its jaw, all else still."""
    rng = np.random.default_rng(seed)
    face = np.zeros((frames, 52))
    face[:, INDEX["jawOpen"]] = rng.uniform(0, 0.6, frames)
    face[:, INDEX["mouthStretchLeft"]] = 0.5 * face[:, INDEX["jawOpen"]] + rng.normal(0, 0.01, frames)
    face[:, INDEX["mouthPucker"]] = rng.uniform(0, 0.4, frames)
    return face


def test_ranges_and_companions_are_those_of_the_capture():
    found = MotionRange.measure(captured())
    assert found.percentiles[:, INDEX["jawOpen"]] == pytest.approx([0.3, 0.54, 0.594, 0.6], abs=0.03)
    assert list(found.companions("jawOpen")) == ["mouthStretchLeft"]
    assert found.companions("mouthPucker") == {}
    assert np.isfinite(found.correlation).all() and found.correlation[0, 0] == 0


def test_faces_outside_are_told():
    found, other = MotionRange.measure(captured()), captured(seed=1)
    assert found.beyond(other) == {}
    assert found.distance(other).mean() < 1
    wide = other.copy()
    wide[:60, INDEX["jawOpen"]] = 0.9
    assert found.beyond(wide) == {"jawOpen": pytest.approx(0.1)}
    apart = other.copy()  # corners that do not follow the jaw: each in its range, together never seen
    apart[:, INDEX["mouthStretchLeft"]] = 0.3 - apart[:, INDEX["mouthStretchLeft"]]
    mouth = ("jawOpen", "mouthStretchLeft", "mouthPucker")
    assert found.distance(apart, mouth).mean() > 1.5 * found.distance(other, mouth).mean()


def test_it_is_kept_and_read_again(tmp_path):
    found = MotionRange.measure(captured())
    found.save(tmp_path / "range.npz")
    back = MotionRange.load(tmp_path / "range.npz")
    np.testing.assert_allclose(back.covariance, found.covariance, atol=1e-6)
    assert (tmp_path / "range.npz").stat().st_size < 40_000
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="not a range of motion"):
        MotionRange.load(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="at least 100"):
        MotionRange.measure(captured(20))


def test_the_command_says_what_is_wrong_with_a_take(tmp_path):
    still = np.zeros(9, np.float32)
    faces = np.tile(np.linspace(0, 0.5, 9, dtype=np.float32)[:, None], (1, 52))
    angles = np.zeros((9, 9), np.float32)
    short = Motion(np.arange(9) / 30, faces, still, np.zeros((9, 0), np.float32), (), 30.0, "short", angles)
    write_motion(tmp_path / "short.csv", short, "livelink-csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name, words in (("short", "at least 100 frames of 52 coefficients"), ("other", "other.csv")):
        done = CliRunner().invoke(app, ["prepare", "motion-range", str(tmp_path / f"{name}.csv")])
        assert done.exit_code == 1 and done.stderr.startswith("error:") and words in done.stderr
