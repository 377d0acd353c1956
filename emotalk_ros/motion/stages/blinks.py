"""Blinks: both lids close fast and open slower, 2 to 7 s apart, as a function of seed, stream and time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.face.names import BLINK, indices
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_rising

WIDE = indices(["eyeWideLeft", "eyeWideRight"])


@dataclass(frozen=True)
class BlinkSettings:
    """Times in seconds. Raises ValueError for values out of range."""

    on: bool = True
    """False switches the stage off."""
    interval: tuple[float, float] = (2.0, 7.0)
    """Shortest and longest time between two blinks."""
    duration: tuple[float, float] = (0.15, 0.25)
    """Shortest and longest blink."""
    seed: int = 0
    """The same seed blinks at the same frames."""

    def __post_init__(self) -> None:
        check_rising("blink interval", self.interval, 0.3, 60.0)
        check_rising("blink duration", self.duration, 0.05, 1.0)


class Blinks(Stage[BlinkSettings]):
    """See the module."""

    def __init__(self, settings: BlinkSettings) -> None:
        self._stream = -1
        super().__init__(settings)

    def reset(self) -> None:
        """The next stream's blinks differ from the last one's, yet are reproducible."""
        self._stream += 1
        self._drawn_for: BlinkSettings | None = None

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Close the lids, at least as far as they are; eyes that are open wide close as well."""
        if not self.settings.on:
            return frame
        made = frame.coefficients.copy()
        closed = self._closed(frame.index / context.fps)
        made[BLINK] = np.maximum(made[BLINK], closed)
        made[WIDE] *= np.float32(1.0 - closed)
        return replace(frame, coefficients=made)

    def _closed(self, seconds: float) -> float:
        """How far the lids are closed at this time of the stream, 0..1."""
        if self._drawn_for is not self.settings:
            self._drawn_for = self.settings
            self._random = np.random.default_rng((self.settings.seed, self._stream))
            self._draw(after=0.0)
        while seconds >= self._begin + self._length:
            self._draw(after=self._begin + self._length)
        return lid((seconds - self._begin) / self._length)

    def _draw(self, after: float) -> None:
        self._begin = after + self._random.uniform(*self.settings.interval)
        self._length = self._random.uniform(*self.settings.duration)


def lid(phase: float) -> float:
    """One blink: closed at a third of its time, for a tenth, then opening; smooth at both ends."""
    if not 0 < phase < 1:
        return 0.0
    if phase < 0.33:
        return math.sin(math.pi / 2 * phase / 0.33) ** 2
    if phase < 0.43:
        return 1.0
    return math.cos(math.pi / 2 * (phase - 0.43) / 0.57) ** 2
