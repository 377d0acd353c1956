"""The check of the demo's recording: every frame there, once, on the grid of the audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writing import audio_messages, frame_messages, speech_like, write_bag

from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags import BagError
from emotalk_ros.bags.messages import BLENDSHAPES, EMOTION, make_header, package_types
from emotalk_ros.evaluation.recording import read_recording

TOPICS = ("/audio", "/blendshapes", "/emotion")


def demo_bag(path: Path, frames: list[tuple[int, Any]]) -> Path:
    even = np.ones(1, np.float32)
    emotion = package_types().types[EMOTION](
        header=make_header(package_types(), frames[0][0]),
        labels=["calm"],
        probabilities=even,
        dominant="calm",
        intensity=1.0,
        blend=0.0,
        source=0,
        heard=even,
        arousal=0.0,
        valence=0.0,
        confidence=1.0,
    )
    return write_bag(
        path,
        {
            "/audio": (AUDIO_CHUNK, audio_messages(speech_like(1.0))),
            "/blendshapes": (BLENDSHAPES, frames),
            "/emotion": (EMOTION, [(frames[0][0], emotion)]),
        },
    )


def test_a_whole_recording_has_no_problem(tmp_path: Path) -> None:
    found = read_recording(demo_bag(tmp_path / "bag", frame_messages(np.full((30, 52), 0.5))), *TOPICS)
    assert (found.problems, found.expected, found.duration) == ([], 30, 1.0)
    # Frame and chunk are recorded 180 and 25 ms after their instants; the chunk began up to 20 ms before the frame.
    assert found.latency.min() >= 0.155 and found.latency.max() <= 0.175 + 1e-6


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    frames = frame_messages(np.full((30, 52), 0.5))
    frames[7][1].coefficients[3] = 1.5
    kept = [frame for n, frame in enumerate(frames) if n not in (0, 4, 5, 29)]
    problems = read_recording(demo_bag(tmp_path / "bag", kept), *TOPICS).problems
    assert problems == [
        "4 of 30 frames are missing (1 after 0.00 s, 2 after 0.10 s, 1 after 0.93 s)",
        "coefficients from 0.500 to 1.500, not in 0..1",
    ]
    with pytest.raises(BagError, match="holds nothing on /face"):
        read_recording(tmp_path / "bag", "/audio", "/face", "/emotion")
