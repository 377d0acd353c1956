"""The two rows that belong beside every table: a face that does not move, and a jaw that follows loudness alone.

A model that does not beat them has learned nothing. Both give what a model gives: coefficients (T, 52), at 30 frames a
second by default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.audio.level import mean_power
from emotalk_ros.face import COUNT, INDEX
from emotalk_ros.units import SAMPLE_RATE


def mean_coefficients(motions: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """(52,) mean over all frames of the training motions (T, 52): what the motionless face shows."""
    total, frames = np.zeros(COUNT), 0
    for motion in motions:
        values = np.asarray(motion, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != COUNT:
            raise ValueError(f"expected motions of shape (frames, {COUNT}), got {values.shape}")
        total += values.sum(axis=0)
        frames += len(values)
    if frames == 0:
        raise ValueError("no frame to take the mean of")
    return (total / frames).astype(np.float32)


def motionless(frames: int, mean: ArrayLike | None = None) -> NDArray[np.float32]:
    """(frames, 52): the mean face, or the neutral one, in every frame."""
    still = np.zeros(COUNT, dtype=np.float32) if mean is None else np.asarray(mean, dtype=np.float32)
    return np.tile(still, (frames, 1))


def loudness(audio: ArrayLike, frames: int | None = None, fps: float = 30.0) -> NDArray[np.float32]:
    """(frames,) root mean square of `audio` (n,) at 16 kHz around each frame's stamp n/fps, over 1/fps * 2, in dBFS.

    `frames` defaults to ceil(n / 16000 * fps). Silence is -80 dB.
    """
    samples = np.asarray(audio, dtype=np.float64).reshape(-1)
    count = math.ceil(len(samples) / SAMPLE_RATE * fps) if frames is None else frames
    power = mean_power(samples, np.arange(count) / fps * SAMPLE_RATE, SAMPLE_RATE / fps)
    return (10.0 * np.log10(np.maximum(power, 1e-8))).astype(np.float32)


def energy_jaw(
    audio: ArrayLike, frames: int | None = None, fps: float = 30.0, span_db: float = 30.0, opening: float = 0.25
) -> NDArray[np.float32]:
    """(frames, 52): jawOpen follows the loudness, all else rests.

    0 at `span_db` below the clip's loud level (95th percentile) and quieter, `opening` at that level and above.
    It correlates surprisingly well with real lips (about .4 to .7) and closes them at few b, p and m.
    """
    level = loudness(audio, frames, fps)
    out = np.zeros((len(level), COUNT), dtype=np.float32)
    if len(level):
        loud = max(float(np.percentile(level, 95)), -45.0)  # what is quieter than that is no voice
        out[:, INDEX["jawOpen"]] = opening * np.clip((level - loud) / span_db + 1.0, 0.0, 1.0)
    return out
