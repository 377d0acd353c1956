"""One frame of a face in motion, stamped with the audio time that it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FaceFrame:
    """One frame of the face."""

    index: int
    """Place on the grid index / fps, counted from the stream's first sample."""
    stamp_ns: int
    """Audio time that the frame shows."""
    coefficients: Array
    """(52,) in the order of `face.ARKIT_NAMES`."""
    activity: float
    """Speech activity, 0..1."""
    emotion: Array
    """(L,) probabilities of the emotion heard, in the order of `Engine.emotion_labels`; empty if the model has none."""
