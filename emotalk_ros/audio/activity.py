"""Speech activity: is somebody speaking, every 10 ms, from the samples alone.

The energy of the speech band is compared with an adaptive noise floor (a low quantile of the last seconds), with
hysteresis. Energy is what a rest pose needs: it has to tell a voice from a quiet room, a fan or a hum, at once and for
nothing; it does not tell a voice from music. Blocks lie on a grid counted from the first sample, so the result is the
same for every cutting of the input.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emotalk_ros.audio.level import BandLevel
from emotalk_ros.audio.pcm import Samples
from emotalk_ros.units import SAMPLE_RATE

BLOCK = 160
"""Samples per block: 10 ms."""
BLOCKS_PER_SECOND = SAMPLE_RATE // BLOCK

_WINDOW = 2 * BLOCK  # each block is judged from 20 ms: itself and the one before


@dataclass(frozen=True)
class ActivitySettings:
    """Levels in dB of the speech band (full-scale sine: about -3 dB), times in seconds."""

    band: tuple[float, float] = (120.0, 4500.0)
    """Hz; below it hum and handling noise, above it hiss."""
    on_margin: float = 9.0
    """Speech begins this far above the noise floor..."""
    off_margin: float = 6.0
    """...and ends this far above it."""
    quietest: float = -62.0
    """Nothing below this level is speech, however silent the room."""
    hold: float = 0.06
    """Activity lasts this long after the level fell: a stop's closure is not the end of speech."""
    attack: float = 0.03
    """The level has to stay up this long to count fully, so that a click does not."""
    memory: float = 5.0
    quantile: float = 0.1
    """The noise floor is this quantile of the levels over `memory`: a short drop-out must not pull it down."""
    floor_start: float = -45.0
    """The floor is not above this at first; the limit rises by `floor_rise` dB a second, as noise proves steady."""
    floor_rise: float = 40.0

    def __post_init__(self) -> None:
        if not 0 < self.off_margin <= self.on_margin:
            raise ValueError(
                f"off_margin {self.off_margin} dB must be above 0 and not above on_margin ({self.on_margin} dB)"
            )
        if not 0 <= self.band[0] < self.band[1] <= SAMPLE_RATE / 2:
            raise ValueError(f"band {self.band} Hz must rise within 0 to {SAMPLE_RATE // 2} Hz")
        if self.hold < 0 or self.attack < 0 or self.memory <= 0.1:
            raise ValueError("hold and attack must not be negative, and memory must be above 0.1 s")
        if not 0 <= self.quantile < 1:
            raise ValueError(f"quantile {self.quantile} must be 0 or more and below 1")


class SpeechActivity:
    """Feed samples, get one activity (0..1) for every completed 10 ms block. Causal, stateful, deterministic."""

    def __init__(self, settings: ActivitySettings | None = None) -> None:
        self.settings = settings or ActivitySettings()
        self._level = BandLevel(self.settings.band, _WINDOW)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a stream."""
        self._kept: Samples = np.zeros(BLOCK, dtype=np.float32)  # the block before and what completes no block yet
        self._blocks = 0
        self._levels: deque[float] = deque()
        self._sorted: list[float] = []  # the same levels, rising
        self._active = False
        self._quiet = math.inf
        self._value = 0.0

    def push(self, samples: Samples) -> NDArray[np.float32]:
        """Activity of each block completed by `samples` (n,), shape (blocks,)."""
        joined = np.concatenate([self._kept, samples])
        count = len(joined) // BLOCK - 1
        self._kept = joined[count * BLOCK :].copy()
        if not count:
            return np.zeros(0, dtype=np.float32)
        levels = self._level(sliding_window_view(joined, _WINDOW)[: count * BLOCK : BLOCK])
        return np.array([self._step(level) for level in levels.tolist()], dtype=np.float32)

    def _step(self, level: float) -> float:
        settings = self.settings
        floor = self._floor(level)
        margin = settings.off_margin if self._active else settings.on_margin
        self._active = level > max(floor + margin, settings.quietest)
        self._quiet = 0.0 if self._active else self._quiet + 1 / BLOCKS_PER_SECOND
        up = 1.0 if settings.attack <= 0 else 1 / (settings.attack * BLOCKS_PER_SECOND)
        if self._active:
            self._value = min(1.0, self._value + up)
        elif self._quiet > settings.hold + 1e-9:
            self._value = 0.0
        return self._value

    def _floor(self, level: float) -> float:
        """A low quantile of the levels remembered, limited while the stream is young."""
        self._levels.append(level)
        insort(self._sorted, level)
        if len(self._levels) > self.settings.memory * BLOCKS_PER_SECOND:
            del self._sorted[bisect_left(self._sorted, self._levels.popleft())]
        limit = self.settings.floor_start + self.settings.floor_rise * self._blocks / BLOCKS_PER_SECOND
        self._blocks += 1
        return min(self._sorted[int(self.settings.quantile * len(self._sorted))], limit)
