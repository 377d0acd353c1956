"""How far a face moves: percentiles of its coefficients beside those of a captured one, and lips that really close."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.names import INDEX

CAPTURED: dict[str, tuple[float, float, float]] = {
    "jawOpen": (0.05, 0.16, 0.42),
    "mouthFunnel": (0.06, 0.24, 0.42),
    "mouthPucker": (0.06, 0.20, 0.52),
    "mouthLowerDownLeft": (0.05, 0.30, 0.44),
    "mouthUpperUpLeft": (0.05, 0.25, 0.44),
    "mouthStretchLeft": (0.04, 0.11, 0.25),
    "mouthPressLeft": (0.01, 0.03, 0.05),
    "mouthClose": (0.0, 0.04, 0.11),
}
"""What an iPhone's face tracking gave for one person reading aloud, at `PERCENTILES`; others differ by a quarter."""
PERCENTILES = (50, 90, 99)
NEAR = 0.25
"""A percentile is near the captured one when it differs by at most this share of it (or by 0.01, its rounding)."""
FULL_MM = 0.5
"""Lips are closed when their gap is below this, in mm on the package's face."""
OPEN_MM = 3.0
"""The reference is well open from this gap on, in mm: lips that are closed there are closed falsely."""

_STEP = 0.005  # width of a bin of `histogram`

Counts = list[int]
"""Frames in each bin of 0.005, from 0 on; bins behind the last frame are left out."""


def histogram(coefficients: NDArray[np.floating]) -> dict[str, Counts]:
    """Counts of each coefficient of `CAPTURED` in coefficients (T, 52): what of several clips can be added up."""
    found = {}
    for name in CAPTURED:
        bins = np.floor(np.clip(coefficients[:, INDEX[name]], 0.0, 1.0) / _STEP + 1e-6).astype(int)
        found[name] = np.bincount(bins).tolist()
    return found


def percentiles(histograms: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, tuple[float, ...]]:
    """`PERCENTILES` of each coefficient over all frames of several clips; to half a bin (0.0025). Empty without any."""
    listed = list(histograms)
    found = {}
    for name in CAPTURED if listed else ():
        total = np.zeros(max(len(h[name]) for h in listed))
        for h in listed:
            total[: len(h[name])] += h[name]
        share = np.cumsum(total) / max(total.sum(), 1.0)
        bins = [int(np.searchsorted(share, q / 100.0)) for q in PERCENTILES]
        found[name] = tuple(0.0 if k == 0 else min((k + 0.5) * _STEP, 1.0) for k in bins)
    return found


def near_captured(name: str, values: Sequence[float]) -> tuple[bool, ...]:
    """Which of the percentiles `values` of coefficient `name` lie within `NEAR` of the captured ones."""
    return tuple(
        abs(value - captured) <= max(NEAR * captured, 0.01) + 1e-9
        for value, captured in zip(values, CAPTURED[name], strict=True)
    )


def false_closures(gap: NDArray[np.floating], reference: NDArray[np.floating]) -> tuple[int, int]:
    """Frames (T,) where the reference's gap is at least `OPEN_MM` and the gap below `FULL_MM`; all such open frames."""
    opened = np.asarray(reference) >= OPEN_MM
    return int((np.asarray(gap)[opened] < FULL_MM).sum()), int(opened.sum())
