"""The trunk's features in time, 50 a second, and the frames that are read from them: the same for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.units import SAMPLE_RATE, ratio_ceil

MEL_WINDOW, MEL_HOP = 400, 160
"""Samples of a spectrum's window, and between two spectra: 25 ms every 10 ms."""
FEATURE_STRIDE = 2 * MEL_HOP
"""Samples between features: 50 a second. Feature k is centred at sample 320 k."""
MEL_REACH = 2 * MEL_HOP + MEL_WINDOW // 2
"""Samples after a feature's instant that the spectra and convolutions hear: 520."""


def lookahead_samples(fps: int, rights: Sequence[int]) -> int:
    """Samples after the instant t / fps that frame t may depend on, exactly.

    Frame t may depend on samples with index < floor(t * 16000 / fps) + lookahead_samples.

    Args:
        fps: frames per second.
        rights: features that each layer of the trunk sees after its own.
    """
    # A frame between two features reads the later one too. The grids meet once a second at the latest.
    gap = max(
        FEATURE_STRIDE * ratio_ceil(t * SAMPLE_RATE, fps * FEATURE_STRIDE) - t * SAMPLE_RATE // fps for t in range(fps)
    )
    return gap + FEATURE_STRIDE * sum(rights) + MEL_REACH


@dataclass(frozen=True)
class FramePlaces:
    """Where m frames lie among the features at hand: between `lower` and `upper` (m,), `share` (m,) of the way.

    `gone` counts the features, from the first at hand on, that no later frame needs.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    share: NDArray[np.float32]
    gone: int


def frame_places(fps: int, first: int, count: int, next_frame: int) -> FramePlaces:
    """The frames from `next_frame` on that the features `first` .. `first + count - 1` of a stream complete."""
    rate = FEATURE_STRIDE * fps
    # Frame t lies at feature t * 16000 / rate; the feature after it is read where it lies between two.
    frames = max(0, (first + count - 1) * rate // SAMPLE_RATE + 1 - next_frame)
    position = np.arange(next_frame, next_frame + frames, dtype=np.int64) * SAMPLE_RATE
    lower = position // rate
    share = ((position - lower * rate) / rate).astype(np.float32)
    lower = lower - first
    gone = min(count, (next_frame + frames) * SAMPLE_RATE // rate - first)
    return FramePlaces(lower, np.minimum(lower + 1, count - 1), share, gone)
