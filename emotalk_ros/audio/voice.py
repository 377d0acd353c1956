"""Is it a voice? What lets the mouth move: a network that knows voices, the level alone, or nothing.

The level (`audio.activity`) is exact in time, and takes music, drums and keyboards for speech; the network
(`audio.silero`) knows a voice, 32 ms at a time and a little late. So the level says when, the network says whether.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.audio.silero import VOICE_BLOCK, VoiceModelError, VoiceProbability

DETECTORS = ("silero", "energy", "off")
THRESHOLD_RANGE = (0.05, 0.95)

_DROP = 0.15  # a voice ends this far below the threshold...
_HOLD = 3  # ...and so many blocks (96 ms) later
_TRUSTED = 31  # blocks: a stream begins because somebody speaks, and he draws breath first (1 s)


@dataclass(frozen=True)
class VoiceSettings:
    """What lets the mouth move. Raises ValueError that names the value and what is allowed."""

    detector: str = "silero"
    """silero: a network says whether it is a voice, the level when; energy: the level alone, so that music and noise
    move the mouth too; off: the mouth moves as the network of the face says, in noise and silence too."""
    threshold: float = 0.35
    """Probability of a voice from which on "silero" believes it."""

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ValueError(f"voice detector {self.detector!r}: must be one of {', '.join(DETECTORS)}")
        low, high = THRESHOLD_RANGE
        if not (math.isfinite(self.threshold) and low <= self.threshold <= high):
            raise ValueError(f"voice threshold {self.threshold}: must be {low} to {high}")


class VoiceGate:
    """Whether a voice is heard, block by block of 32 ms, from what the network says of each.

    The first second of a stream counts as a voice, whatever the network says: streams begin before speech, with a
    breath that opens the lips, and a breath is no voice.

    Args:
        threshold: see `VoiceSettings`; may be assigned, and holds from the next block on.
        memory: samples of the past that can still be asked for.

    Raises VoiceModelError where the weights cannot be had.
    """

    def __init__(self, threshold: float, memory: int) -> None:
        self.threshold = threshold
        self._network = VoiceProbability()
        self._open: deque[bool] = deque(maxlen=memory // VOICE_BLOCK + 2)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a stream."""
        self._network.reset()
        self._open.clear()
        self._blocks, self._low = 0, _HOLD + 1
        self.probability = 0.0

    def push(self, samples: Samples) -> None:
        """Listen to the next samples (n,)."""
        for probability in self._network.push(samples):
            if probability >= self.threshold:
                self._low = 0
            elif probability < self.threshold - min(_DROP, self.threshold / 2):
                self._low += 1
            self._blocks += 1
            self._open.append(self._low <= _HOLD or self._blocks <= _TRUSTED)
            self.probability = probability

    def open(self, start: int, stop: int) -> bool:
        """Whether a voice is heard in a block that begins after the one before sample `start` and ends by `stop`; the
        newest block stands for what comes after it.
        """
        if not self._blocks:
            return True
        oldest, last = self._blocks - len(self._open), stop // VOICE_BLOCK
        first = max(0, min(start // VOICE_BLOCK, last - 1, self._blocks - 1) - oldest)
        return any(self._open[k] for k in range(first, min(last - oldest, len(self._open))))


__all__ = ["DETECTORS", "THRESHOLD_RANGE", "VoiceGate", "VoiceModelError", "VoiceSettings"]
