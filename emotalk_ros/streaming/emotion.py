"""The emotion heard over time: one estimator from the network's frames to the probabilities that leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEMORY = 2.0
"""Seconds of speech over which what was heard is forgotten (time constant)."""
SURE = 1.5
"""Seconds of speech after which the mean is believed as it is; before, the less the shorter."""
FADE = 5.0
"""Seconds of silence over which the belief fades (time constant): a pause is no change of mood, a long one is."""


class RunningEmotion:
    """Mean of the logits of what was said lately: silence is no evidence, and little speech is little.

    Args:
        labels: how many.
        fps: frames per second of the network.
    """

    def __init__(self, labels: int, fps: int) -> None:
        self._labels, self._fps = labels, fps
        self.reset()

    def reset(self) -> None:
        """A new stream: nothing was heard, all labels are as likely."""
        self._sum: NDArray[np.float64] = np.zeros(self._labels)
        self._weight = 0.0
        self._belief = 0.0

    def push(self, logits: NDArray[np.float32], activity: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probabilities (n, L) at each of n frames, from their logits (n, L) and speech activity 0..1 (n,)."""
        out = np.zeros((len(activity), self._labels), dtype=np.float32)
        for k, spoken in enumerate(activity.tolist() if self._labels else ()):
            keep = np.exp(-spoken / (self._fps * MEMORY))
            self._sum = keep * self._sum + spoken * logits[k]
            self._weight = keep * self._weight + spoken
            self._belief += spoken / (self._fps * SURE) - (1 - spoken) * self._belief / (self._fps * FADE)
            self._belief = min(self._belief, 1.0)
            powers = np.exp(self._belief * self._sum / max(self._weight, 1e-9))
            out[k] = powers / powers.sum()
        return out
