"""Between ROS messages and the arrays of the other rooms. Setters of messages check nothing, so the checks are here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import ArrayLike
from std_msgs.msg import Header

from emotalk_ros.audio.messages import from_time
from emotalk_ros.face import COUNT
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionState
from emotalk_ros.units import NS

__all__ = ["audio_chunk", "blendshapes", "emotion_state", "from_time", "to_time"]


def to_time(nanoseconds: int) -> Time:
    """A stamp. Raises ValueError where `builtin_interfaces/Time` (signed 32-bit seconds) cannot hold it."""
    seconds, rest = divmod(int(nanoseconds), NS)
    if not -(2**31) <= seconds < 2**31:
        raise ValueError(f"{nanoseconds} ns does not fit a ROS time stamp")
    return Time(sec=seconds, nanosec=rest)


def audio_chunk(
    data: bytes, *, stamp_ns: int, sample_rate: int, channels: int, encoding: str, frame_id: str = ""
) -> AudioChunk:
    """An AudioChunk; `data` is interleaved PCM, `stamp_ns` the capture time of its first sample."""
    message = AudioChunk(sample_rate=sample_rate, channels=channels, encoding=encoding)
    message.header = Header(stamp=to_time(stamp_ns), frame_id=frame_id)
    message.data.frombytes(data)
    return message


def blendshapes(frame: FaceFrame, sequence: int, frame_id: str = "") -> BlendshapeCoefficients:
    """A frame of the face; `sequence` counts messages. Raises ValueError unless there are 52 finite coefficients."""
    values = np.asarray(frame.coefficients, dtype=np.float32)
    if values.shape != (COUNT,):
        raise ValueError(f"{values.shape} coefficients, expected ({COUNT},)")
    if not np.isfinite(values).all():
        raise ValueError(f"coefficients at {np.flatnonzero(~np.isfinite(values)).tolist()} are not finite")
    message = BlendshapeCoefficients(sequence=sequence, frame=frame.index, kind=int(frame.kind))
    message.speech_activity = float(frame.activity)
    message.header = Header(stamp=to_time(frame.stamp_ns), frame_id=frame_id)
    message.coefficients = values
    if frame.head is not None:
        message.head = np.asarray(frame.head, dtype=np.float32)
    return message


def emotion_state(
    labels: Sequence[str],
    frame: FaceFrame,
    probabilities: ArrayLike,
    *,
    intensity: float = 1.0,
    source: int = EmotionState.HEARD,
    blend: float = 0.0,
    frame_id: str = "",
) -> EmotionState:
    """The emotion that a frame shows, with one finite probability per label, and what was heard. Raises ValueError."""
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != (len(labels),):
        raise ValueError(f"{values.shape} probabilities for {len(labels)} labels")
    if not np.isfinite(values).all():
        raise ValueError(f"probabilities {values.tolist()} are not finite")
    message = EmotionState(intensity=float(intensity), source=source, blend=float(blend))
    message.heard = np.asarray(frame.emotion, dtype=np.float64).tolist()
    message.arousal, message.valence = float(frame.arousal), float(frame.valence)
    message.confidence = float(frame.confidence)
    message.header = Header(stamp=to_time(frame.stamp_ns), frame_id=frame_id)
    message.labels = list(labels)
    message.probabilities = values.tolist()
    message.dominant = labels[int(values.argmax())] if len(values) else ""
    return message
