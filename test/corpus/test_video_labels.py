"""Labels from video: what was measured at its own times becomes an even, smoothed, honest track."""

import shutil
import subprocess

import numpy as np
import pytest

from emotalk_ros.corpus import video
from emotalk_ros.corpus.readers import Problem, prepare
from emotalk_ros.corpus.store import Corpus, CorpusError, CorpusWriter
from emotalk_ros.face.names import INDEX

JAW = INDEX["jawOpen"]


def measured(seconds=2.0, rate=25.0, lost=()):
    """A slowly opening jaw; `lost` is a span without a face."""
    frames = []
    for k in range(int(seconds * rate)):
        time = k / rate
        seen = not (lost and lost[0] <= time < lost[1])
        frames.append((time, {"_neutral": 0.9, "jawOpen": time / 4, "unheardOf": 1.0} if seen else None))
    return frames


def test_measurements_come_to_an_even_grid_by_time():
    values = video.even_coefficients(measured(), 30, "x")
    assert values.shape == (58 + 1, 52)  # up to the last frame at 1.96 s
    np.testing.assert_allclose(values[2:-2, JAW], np.arange(59)[2:-2] / 30 / 4, atol=1e-3)
    assert not np.delete(values, JAW, axis=1).any()


def test_short_losses_are_bridged_and_long_ones_refused():
    values = video.even_coefficients(measured(lost=(0.8, 1.1)), 30, "x")
    np.testing.assert_allclose(values[2:-2, JAW], np.arange(59)[2:-2] / 30 / 4, atol=2e-3)
    with pytest.raises(CorpusError, match=r"no face for 0\.8"):
        video.even_coefficients(measured(lost=(0.6, 1.4)), 30, "x")
    with pytest.raises(CorpusError, match=r"no face for"):
        video.even_coefficients(measured(lost=(1.2, 9)), 30, "x")
    with pytest.raises(CorpusError, match="in 0 frames"):
        video.even_coefficients([(k / 30, None) for k in range(60)], 30, "x")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_videos_become_clips_with_their_blind_coefficients(tmp_path, monkeypatch):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("01-01-03-02-01-01-05.mp4", "me.mp4", "03-01-03-02-01-01-05.mp4"):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=300:duration=2", "-f", "lavfi"]
        command += ["-i", "color=size=16x16:rate=5:duration=2", "-shortest", str(source / name)]
        subprocess.run(command, check=True)
    (source / "broken.mp4").write_bytes(b"nothing")
    monkeypatch.setattr(video, "mediapipe_measure", lambda model: lambda path: measured())
    items = list(video.read_video(source, tmp_path / "model.task"))
    assert [i.name for i in items if isinstance(i, Problem)] == ["03-01-03-02-01-01-05"]
    with CorpusWriter(tmp_path / "out") as writer:
        summary = prepare(items, writer)
    assert {p.name for p in summary.problems} == {"03-01-03-02-01-01-05", "broken"}
    happy, me = sorted(Corpus.open(tmp_path / "out"), key=lambda clip: clip.id)
    assert (happy.emotion, happy.actor, happy.source, me.emotion) == ("happy", 4, "RAVDESS", None)
    assert "cheekPuff" in me.blind and len(me.audio) == pytest.approx(59 / 30 * 16000, abs=600)


def test_without_mediapipe_or_model_the_remedy_is_named(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"pip install .*\[video\]|face_landmarker"):
        list(video.read_video(tmp_path, tmp_path / "none.task"))
    with pytest.raises(CorpusError, match="no video"):
        list(video.read_video(tmp_path / "nowhere", tmp_path / "none.task"))
