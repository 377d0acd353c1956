"""Films: as many pictures as were given, for as long as they should last."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from PIL import Image

from emotalk_ros.reports import video
from emotalk_ros.reports.video import VideoError, write_video


def pictures(count=31, size=32):
    """A white bar that moves to the right by a pixel from picture to picture."""
    for k in range(count):
        image = np.full((size, size, 3), 20, dtype=np.uint8)
        image[:, k] = 250
        yield image


def played(path):
    with Image.open(path) as film:
        bars, spent = [], 0
        for k in range(film.n_frames):
            film.seek(k)
            bars.append(int(np.asarray(film.convert("L"))[16].argmax()))
            spent += film.info["duration"]
    return bars, spent


def test_webp_keeps_every_picture_and_the_clock(tmp_path):
    assert write_video(pictures(), tmp_path / "a.webp", fps=30) == 31
    bars, spent = played(tmp_path / "a.webp")
    assert bars == list(range(31)) and spent == round(31000 / 30)


def test_gif_is_thinned_out_to_what_players_show(tmp_path):
    write_video(pictures(), tmp_path / "a.gif", fps=30)
    bars, spent = played(tmp_path / "a.gif")
    assert len(bars) == 26 and spent == 26 * 40
    # Picture k of the film is the first one at or after k/25 s.
    assert bars == [int(np.ceil(k * 30 / 25 - 1e-6)) for k in range(26)]


def test_sheet_of_stills(tmp_path):
    assert write_video(pictures(5), tmp_path / "a.png", fps=30) == 5
    assert Image.open(tmp_path / "a.png").size == (4 * 32, 2 * (32 + 14))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_mp4_has_picture_and_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16000)), 16000)
    assert write_video(pictures(30, 33), tmp_path / "a.mp4", fps=30, audio=tmp_path / "a.wav") == 30
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "stream=codec_type,nb_frames,width,duration"]
    found = json.loads(subprocess.run([*command, str(tmp_path / "a.mp4")], capture_output=True, check=True).stdout)
    kinds = {stream["codec_type"]: stream for stream in found["streams"]}
    assert kinds["video"]["nb_frames"] == "30" and kinds["video"]["width"] == 32
    assert float(kinds["audio"]["duration"]) == pytest.approx(1, abs=0.1)
    with pytest.raises(VideoError, match="no audio file"):
        write_video(pictures(), tmp_path / "b.mp4", fps=30, audio=tmp_path / "nowhere.wav")
    (tmp_path / "noise.wav").write_bytes(b"not a sound")
    with pytest.raises(VideoError, match="ffmpeg failed"):
        write_video(pictures(), tmp_path / "b.mp4", fps=30, audio=tmp_path / "noise.wav")
    assert not list(tmp_path.glob("*b.*"))


def test_without_ffmpeg_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoError, match=r"apt install ffmpeg.*\.webp"):
        write_video(pictures(), tmp_path / "a.mp4", fps=30)
    assert not list(tmp_path.iterdir())


def test_faults_leave_nothing_behind(tmp_path):
    def breaks():
        yield from pictures(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(breaks(), tmp_path / "a.webp", fps=30)
    with pytest.raises(VideoError, match="no picture"):
        write_video([], tmp_path / "a.webp", fps=30)
    with pytest.raises(VideoError, match=r"\.avi is not a film"):
        write_video(pictures(), tmp_path / "a.avi", fps=30)
    with pytest.raises(VideoError, match="has no sound"):
        write_video(pictures(), tmp_path / "a.gif", fps=30, audio="a.wav")
    with pytest.raises(VideoError, match="make it first"):
        write_video(pictures(), tmp_path / "nowhere" / "a.gif", fps=30)
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    stand_in = tmp_path / "ffmpeg"
    stand_in.write_text('#!/bin/sh\ncat > /dev/null\nfor word; do echo "$word"; done > words\nfor word; do :; done\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(video, "ffmpeg", lambda: str(stand_in))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b.wav").write_bytes(b"")
    write_video(pictures(2), "c:d.mp4", fps=30, audio="a:b.wav")
    words = (tmp_path / "words").read_text().splitlines()
    assert f"file:{tmp_path}/a:b.wav" in words
    assert words[-1].startswith(f"file:{tmp_path}/") and words[-1].endswith("c:d.mp4")
