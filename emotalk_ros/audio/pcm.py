"""PCM bytes to float samples and back: the encodings that audio topics and files use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Samples = NDArray[np.float32]

MAX_CHANNELS = 64
"""More interleaved channels than any microphone array in use has: a larger number is a broken message."""


class AudioFormatError(ValueError):
    """Audio that cannot be understood; the message names the value and the remedy."""


@dataclass(frozen=True)
class _Format:
    """How one sample is stored: bytes per sample, numpy type, and how far from zero and how large full scale is."""

    width: int
    dtype: str
    scale: float
    offset: float = 0.0


_FORMATS: dict[str, _Format] = {
    "s8": _Format(1, "i1", 2.0**7),
    "u8": _Format(1, "u1", 2.0**7, 128.0),
    "s16le": _Format(2, "<i2", 2.0**15),
    "s16be": _Format(2, ">i2", 2.0**15),
    "s24le": _Format(3, "<i4", 2.0**31),
    "s24be": _Format(3, ">i4", 2.0**31),
    "s32le": _Format(4, "<i4", 2.0**31),
    "s32be": _Format(4, ">i4", 2.0**31),
    "f32le": _Format(4, "<f4", 1.0),
    "f32be": _Format(4, ">f4", 1.0),
    "f64le": _Format(8, "<f8", 1.0),
    "f64be": _Format(8, ">f8", 1.0),
}

ENCODINGS: tuple[str, ...] = tuple(_FORMATS)
"""Names of the encodings understood, in this package's spelling."""

_SYNONYMS: dict[str, str] = {
    "int8": "s8",
    "uint8": "u8",
    "s16": "s16le",
    "int16": "s16le",
    "pcm-s16": "s16le",
    "pcm_s16le": "s16le",
    "pcm_s16be": "s16be",
    "s24": "s24le",
    "s24_3le": "s24le",
    "s24_3be": "s24be",
    "int24": "s24le",
    "pcm_s24le": "s24le",
    "s32": "s32le",
    "int32": "s32le",
    "pcm_s32le": "s32le",
    "f32": "f32le",
    "float": "f32le",
    "float32": "f32le",
    "float_le": "f32le",
    "pcm_f32le": "f32le",
    "f64": "f64le",
    "double": "f64le",
    "float64": "f64le",
    "pcm_f64le": "f64le",
}

_COMPRESSED = frozenset({"mp3", "mpeg", "ogg", "opus", "flac", "aac", "vorbis", "wave", "wav"})


def canonical_encoding(encoding: str) -> str:
    """This package's name of `encoding`: any case, and the spellings of GStreamer, ALSA, ffmpeg and numpy.

    Raises AudioFormatError that lists the known ones (and says what to do about compressed audio).
    """
    name = str(encoding).strip().lower()
    name = _SYNONYMS.get(name, name)
    if name in _FORMATS:
        return name
    if name in _COMPRESSED:
        raise AudioFormatError(
            f"encoding {encoding!r} is a container or compressed: publish raw PCM instead "
            f"(with audio_capture: format:=wave), one of {', '.join(ENCODINGS)}"
        )
    raise AudioFormatError(f"unknown encoding {encoding!r}: use one of {', '.join(ENCODINGS)}")


def finite(samples: Samples) -> tuple[Samples, int]:
    """Samples with silence in place of NaN and infinite ones, and how many those were; the same array if none."""
    good = np.isfinite(samples)
    if good.all():
        return samples, 0
    return np.where(good, samples, np.float32(0.0)), int(good.size - np.count_nonzero(good))


def frame_bytes(encoding: str, channels: int) -> int:
    """Bytes of one sample of every channel. Raises AudioFormatError for an unknown encoding or channel count."""
    return _FORMATS[canonical_encoding(encoding)].width * check_channels(channels)


def check_channels(channels: int) -> int:
    """`channels` if it is 1 to MAX_CHANNELS, otherwise AudioFormatError."""
    if not 1 <= int(channels) <= MAX_CHANNELS:
        raise AudioFormatError(f"{channels} channels: the number of interleaved channels must be 1 to {MAX_CHANNELS}")
    return int(channels)


def decode_pcm(data: bytes | bytearray | memoryview, encoding: str, channels: int) -> Samples:
    """Interleaved PCM to float32 of shape (n, channels), full scale +-1 (floating-point encodings pass as they are).

    Empty data gives (0, channels). Raises AudioFormatError for an unknown encoding, a channel count outside
    1..64, and data that does not hold a whole number of samples of every channel.
    """
    form = _FORMATS[canonical_encoding(encoding)]
    channels = check_channels(channels)
    size = len(data) if not isinstance(data, memoryview) else data.nbytes
    unit = form.width * channels
    if size % unit:
        raise AudioFormatError(
            f"{size} bytes are not a whole number of {channels}-channel {canonical_encoding(encoding)} samples "
            f"({unit} bytes each): {size % unit} bytes are left over"
        )
    values: NDArray[Any] = np.frombuffer(data, dtype=np.uint8 if form.width == 3 else form.dtype)
    if form.width == 3:
        values = _widen_24(values, big_endian=form.dtype[0] == ">")
    if form.scale != 1.0:
        wide: NDArray[Any] = values.astype(np.float32 if form.width <= 2 else np.float64)
        values = (wide - form.offset) / form.scale
    with np.errstate(over="ignore"):  # float64 beyond float32's range becomes inf, which callers treat
        return values.astype(np.float32).reshape(-1, channels)


def encode_pcm(samples: ArrayLike, encoding: str) -> bytes:
    """Float samples, (n,) or (n, channels), full scale +-1, to interleaved PCM.

    Integer encodings round and clip at full scale, and write NaN as silence; floating-point encodings pass as they are.
    """
    name = canonical_encoding(encoding)
    form = _FORMATS[name]
    values = np.asarray(samples, dtype=np.float64)
    if form.scale == 1.0:
        return values.astype(form.dtype).tobytes()
    full = 2.0 ** (8 * form.width - 1)
    values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0)
    whole = np.clip(np.rint(values * full), -full, full - 1) + form.offset
    if form.width == 3:
        raw = whole.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]
        return (raw[:, ::-1] if form.dtype[0] == ">" else raw).tobytes()
    return whole.astype(form.dtype).tobytes()


def _widen_24(data: NDArray[np.uint8], big_endian: bool) -> NDArray[np.int32]:
    """24-bit samples as the upper three bytes of 32-bit ones, so that the sign comes right by itself."""
    raw = data.reshape(-1, 3)
    wide = np.zeros((len(raw), 4), dtype=np.uint8)
    wide[:, 1:] = raw[:, ::-1] if big_endian else raw
    return wide.view("<i4").reshape(-1)
