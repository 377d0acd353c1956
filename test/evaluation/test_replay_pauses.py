"""Pauses in a recording: replay ends streams and closes mouths when the node's worker, driven by a clock, would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bag_writing import START_NS, speech_like
from saved_model import save_model

from emotalk_ros.audio import PcmChunk, encode_pcm
from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags.tracks import AudioTrack
from emotalk_ros.evaluation.replay import run_stream
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.motion import FaceFrame
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.streaming.worker import Worker, WorkerSettings
from emotalk_ros.units import NS

MS = NS // 1000
PAUSES = WorkerSettings(idle_timeout=0.5, idle=False)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(save_model(tmp_path_factory.mktemp("model") / "small"))


def track(pauses_ms: dict[int, int], seconds: float = 2.0) -> AudioTrack:
    """Chunks of 20 ms, logged 25 ms after their first sample; before chunk k the publisher pauses."""
    found = AudioTrack("/audio", AUDIO_CHUNK)
    samples, stamp = speech_like(seconds), START_NS
    for k, at in enumerate(range(0, len(samples), 320)):
        stamp += pauses_ms.get(k, 0) * MS
        found.chunks.append(PcmChunk(encode_pcm(samples[at : at + 320], "s16le"), "s16le", 1, 16000, stamp))
        found.log_ns.append(stamp + 25 * MS)
        stamp += 20 * MS
    return found


def through_worker(audio: AudioTrack, subject: Subject, model: Any, until_ns: int) -> list[FaceFrame]:
    """The frames of a worker whose clock is the recording's and that computes in no time."""
    now = [audio.log_ns[0] / NS]
    frames: list[FaceFrame] = []
    worker = Worker(subject.voice(model), PAUSES, frames.extend, lambda kind, text: None, clock=lambda: now[0])
    for chunk, log_ns in [*zip(audio.chunks, audio.log_ns, strict=True), (None, until_ns)]:
        while now[0] < log_ns / NS:
            now[0] = min(now[0] + 0.002, log_ns / NS)
            worker.step(0.0)
        if chunk is not None:
            worker.offer(chunk)
            worker.step(0.0)
    return frames


@pytest.mark.parametrize(
    ("pauses_ms", "streams"),
    [({}, 1), ({30: 300}, 1), ({30: 900}, 2), ({30: 3500}, 2), ({20: 900, 50: 4000, 70: 900}, 4)],
)
def test_replay_ends_streams_where_the_worker_does(subject: Subject, pauses_ms: dict[int, int], streams: int) -> None:
    model = subject.load()
    audio = track(pauses_ms)
    until_ns = audio.log_ns[-1] + 4 * NS
    expected = through_worker(audio, subject, model, until_ns)
    found, heard, problems = run_stream(audio, subject.voice(model), PAUSES, until_ns=until_ns)
    assert len(heard.lines) == streams and problems == []
    kinds = [int(frame.kind) for frame in expected]
    assert found.kind.tolist() == kinds
    assert kinds.count(FrameKind.CLOSING) == 8 * streams  # 0.3 s after each
    assert found.stamp_ns.tolist() == [frame.stamp_ns for frame in expected]
    assert found.sequence.tolist() == [frame.index for frame in expected]
    np.testing.assert_array_equal(found.coefficients, [frame.coefficients for frame in expected])


def test_the_recording_ends_before_the_mouth_closes(subject: Subject) -> None:
    audio = track({})
    found, _, _ = run_stream(audio, subject.voice(subject.load()))
    assert (found.kind == FrameKind.SPEECH).all() and len(found) == 60
