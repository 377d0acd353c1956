"""What a network is given, checked: the same words for every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.units import SAMPLE_RATE

Array = NDArray[np.float32]


def checked_audio(audio: Any, shortest: int, sample_rate: int = SAMPLE_RATE, name: str = "audio") -> Array:
    """`audio` as an (n,) float32 array of at least `shortest` samples; ValueError names what is wrong with it."""
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"{name} must be sampled at {SAMPLE_RATE} Hz, got {sample_rate}: resample it first")
    values = np.asarray(audio)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"{name} must be float samples within +-1, got {values.dtype}: divide integer PCM by its full scale"
        )
    if values.ndim != 1:
        raise ValueError(f"{name} must be mono with shape (samples,), got shape {values.shape}")
    if len(values) < shortest:
        raise ValueError(f"{name} must hold at least {shortest} samples at {SAMPLE_RATE} Hz, got {len(values)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite samples")
    return values.astype(np.float32, copy=False)


def checked_person(person: Any, count: int) -> int | Array:
    """An index below `count`, or (count,) weights; ValueError names the range."""
    if isinstance(person, (int, np.integer)) and not isinstance(person, bool):
        if not 0 <= person < count:
            raise ValueError(f"person must be 0..{count - 1}, got {person}")
        return int(person)
    weights = np.asarray(person, dtype=np.float32)
    if weights.shape != (count,):
        raise ValueError(f"person must be an index 0..{count - 1} or {count} weights, got {person!r}")
    if not np.isfinite(weights).all() or (weights < 0).any() or abs(float(weights.sum()) - 1) > 1e-3:
        raise ValueError(f"person weights must be non-negative and sum to 1, got {weights.tolist()}")
    return weights


def checked_level(level: float) -> float:
    """A level, 0..1; ValueError names the range."""
    if not 0 <= level <= 1:
        raise ValueError(f"level must be 0..1, got {level}")
    return float(level)
