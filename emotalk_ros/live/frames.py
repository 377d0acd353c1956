"""What goes over the WebSocket: audio in, frames out, as little-endian bytes; everything else is JSON.

==========  ==================================================================================================
audio       u8 1, u8 channels, u16 0, u32 rate, f64 index of its first sample since `start`, then int16 samples
frames      u8 2, u8 count, u8 labels, u8 0, u32 0, then `count` times: f64 time of the audio in seconds since
            `start`, u32 index, f32 activity, 52 f32 coefficients, 9 f32 angles (head, left eye, right eye; each yaw,
            pitch, roll in rad), `labels` f32 probabilities of the emotion heard
sound       u8 3, u8 channels, u16 0, u32 rate, f64 time in seconds, then int16 samples: what a feed plays
==========  ==================================================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face import COUNT

AUDIO, FRAMES, SOUND = 1, 2, 3
_HEAD = struct.Struct("<BBHId")
_BATCH = struct.Struct("<BBBBI")
_FRAME = struct.Struct("<dIf")
MIN_RATE, MAX_RATE = 8_000, 192_000
ANGLES = 9


class MessageError(ValueError):
    """A message of a visitor that makes no sense; the text says what would."""


@dataclass(frozen=True)
class LiveFrame:
    """One frame of a face on its way to a page or a bridge."""

    index: int
    time: float
    """Audio time it shows, seconds."""
    coefficients: NDArray[np.float32]
    """(52,)."""
    activity: float = 0.0
    emotion: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """(L,) probabilities of the emotion heard."""
    angles: NDArray[np.float32] = field(default_factory=lambda: np.zeros(ANGLES, dtype=np.float32))
    """(9,) yaw, pitch, roll of head, left eye, right eye, rad."""


@dataclass(frozen=True)
class AudioMessage:
    """A visitor's audio."""

    rate: int
    channels: int
    first: int
    """Index of its first sample since the stream began, per channel."""
    data: bytes
    """int16, little-endian, interleaved."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.data) / (2 * self.channels * self.rate)


def read_audio(message: bytes, max_seconds: float) -> AudioMessage:
    """A visitor's binary message. Raises MessageError."""
    if len(message) < _HEAD.size:
        raise MessageError(f"a message of {len(message)} bytes is too short for audio")
    kind, channels, _, rate, first = _HEAD.unpack_from(message)
    if kind != AUDIO:
        raise MessageError(f"a binary message of kind {kind}: only audio (kind {AUDIO}) is taken")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise MessageError(f"a sample rate of {rate} Hz: must be {MIN_RATE} to {MAX_RATE}")
    if not 1 <= channels <= 2:
        raise MessageError(f"{channels} channels: must be 1 or 2")
    if not (np.isfinite(first) and 0 <= first < 2**48):
        raise MessageError(f"the first sample has the index {first}: must be 0 or more")
    data = message[_HEAD.size :]
    if len(data) % (2 * channels):
        raise MessageError(f"{len(data)} bytes are not a whole number of {channels}-channel 16-bit samples")
    audio = AudioMessage(rate, channels, int(first), data)
    if audio.seconds > max_seconds:
        raise MessageError(f"{audio.seconds:.2f} s of audio in one message: at most {max_seconds:g}")
    return audio


def write_audio(
    first: int, rate: int, samples: NDArray[np.int16], kind: int = AUDIO, time: float | None = None
) -> bytes:
    """An audio message, as the page makes it; with `time` and kind SOUND: what a feed plays."""
    return _HEAD.pack(kind, 1, 0, rate, float(first) if time is None else time) + samples.astype("<i2").tobytes()


def write_frames(frames: Sequence[LiveFrame]) -> bytes:
    """A message of up to 255 frames with the same number of labels."""
    labels = len(frames[0].emotion) if frames else 0
    parts = [_BATCH.pack(FRAMES, len(frames), labels, 0, 0)]
    for frame in frames:
        parts.append(_FRAME.pack(frame.time, frame.index, frame.activity))
        parts += [np.asarray(a, "<f4").tobytes() for a in (frame.coefficients, frame.angles, frame.emotion)]
    return b"".join(parts)


def read_frames(message: bytes) -> list[LiveFrame]:
    """What `write_frames` wrote, for tests and other clients. Raises MessageError."""
    kind, count, labels, _, _ = _BATCH.unpack_from(message)
    size = _FRAME.size + 4 * (COUNT + ANGLES + labels)
    if kind != FRAMES or len(message) != _BATCH.size + count * size:
        raise MessageError(f"{len(message)} bytes of kind {kind} are no frames")
    frames = []
    for at in range(_BATCH.size, len(message), size):
        time, index, activity = _FRAME.unpack_from(message, at)
        values = np.frombuffer(message, "<f4", COUNT + ANGLES + labels, at + _FRAME.size)
        coefficients, angles, emotion = np.split(values, (COUNT, COUNT + ANGLES))
        frames.append(LiveFrame(index, time, coefficients, activity, emotion, angles))
    return frames
