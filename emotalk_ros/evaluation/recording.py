"""A recording of speech and the face made from it: is every frame there, once, on the grid, and how late was it?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import AudioIntake
from emotalk_ros.bags.bag import BagError, open_bag
from emotalk_ros.bags.tracks import (
    CoefficientTrack,
    EmotionTrack,
    read_audio,
    read_coefficients,
    read_emotions,
    selected,
)
from emotalk_ros.evaluation.replay_timing import frame_timing
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.units import NS, SAMPLE_RATE


@dataclass
class FaceRecording:
    """One utterance in a bag.

    Attributes:
        samples: (n,) mono, 16 kHz, from the first sample on.
        start_ns: stamp of the first sample.
        face: the frames as recorded, those made from audio.
        emotion: the emotion over time, or None when none was recorded.
        latency: seconds from the recording of a frame's sound to the recording of the frame, of those made from audio.
        problems: what is wrong, in words; empty when all frames are there, once, on the grid.
    """

    samples: NDArray[np.float32]
    start_ns: int
    face: CoefficientTrack
    emotion: EmotionTrack | None
    latency: NDArray[np.float64]
    fps: float
    problems: list[str] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / SAMPLE_RATE

    @property
    def expected(self) -> int:
        """Frames that belong to the sound: ceil(duration * fps)."""
        return expected_frames(len(self.samples), self.fps)


def expected_frames(samples: int, fps: float) -> int:
    """ceil(samples / 16000 * fps), without rounding errors."""
    return int(-(-samples * round(fps * 1000) // (SAMPLE_RATE * 1000)))


def read_recording(path: Path, audio: str, face: str, emotion: str, fps: float = 30.0) -> FaceRecording:
    """Read and check a bag with the topics `audio`, `face` and `emotion`. Raises BagError when one is missing."""
    with open_bag(path) as bag:
        missing = [topic for topic in (audio, face, emotion) if topic not in bag.topics or not bag.topics[topic].count]
        if missing:
            raise BagError(f"{path} holds nothing on {', '.join(missing)}; it holds {bag.summary() or 'nothing'}")
        track = read_audio(bag, bag.topics[audio])
        frames = read_coefficients(bag, bag.topics[face])
        emotions = read_emotions(bag, bag.topics[emotion])
        problems = list(bag.problems)
    intake = AudioIntake()
    segments = [segment for chunk in track.chunks for segment in intake.push(chunk)] + intake.flush()
    problems += [f"{audio}: {text}" for text in intake.take_warnings()]
    samples = np.concatenate([segment.samples for segment in segments])
    recording = FaceRecording(samples, segments[0].stamp_ns, frames, emotions, np.zeros(0), fps, problems)
    ends = np.array([chunk.stamp_ns for chunk in track.chunks[1:]] + [2**62])
    recording.problems += check_frames(recording)
    recording.face = face_of_speech = selected(frames, frames.kind == FrameKind.SPEECH)
    arrived = np.array(track.log_ns)[np.searchsorted(ends, face_of_speech.stamp_ns, side="right")]
    recording.latency = (face_of_speech.log_ns - arrived) / NS
    return recording


def check_frames(recording: FaceRecording) -> list[str]:
    """Missing, doubled, swapped and off-grid frames, and values out of range, in words."""
    face = recording.face
    timing = frame_timing(
        face.stamp_ns,
        face.log_ns,
        face.sequence,
        recording.fps,
        kind=face.kind,
        line=(recording.start_ns, recording.expected),
    )
    problems = timing.problems()
    lowest, highest = float(face.coefficients.min()), float(face.coefficients.max())
    if lowest < 0.0 or highest > 1.0:
        problems.append(f"coefficients from {lowest:.3f} to {highest:.3f}, not in 0..1")
    return problems
