"""What a network says about audio, as arrays. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Analysis:
    """Coefficients and the emotion heard, frame by frame.

    Attributes:
        coefficients: (T, 52) float32.
        emotion_logits: (L,) float32 of the whole clip.
        frame_emotion_logits: (T, L) float32 of each frame by itself; `streaming.emotion` follows them over time.
        emotion_labels: the L names.
        speech, expression: (T, 52) float32, the parts that sum up to the coefficients at intensity 1; None of a network
            that does not tell them apart.
        features: (n, levels, width) float32 of the speech trunk, 50 a second: those that became complete in this pass;
            None of a network without.
    """

    coefficients: Array
    emotion_logits: Array
    frame_emotion_logits: Array
    emotion_labels: tuple[str, ...]
    speech: Array | None = None
    expression: Array | None = None
    features: Array | None = None
