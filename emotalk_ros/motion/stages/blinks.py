"""Blinks: both lids close fast and open slower, 2 to 7 s apart, as a function of seed, stream and time.

A blink that has begun ends, whatever comes between: a new stream goes on with it. Lids that something else holds shut
(a network that closes them for good) are opened again after a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.face.names import BLINK, indices
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_rising

SHUT = 0.85
"""Lids that are closed so far are shut."""
LONGEST_SHUT = 1.0
"""Seconds after which lids that something else holds shut are opened again."""
_AJAR = 0.3  # how far lids stay closed that are opened again
_OPENS = 0.3  # seconds in which they are
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
        self._last = 0.0  # time of the last frame
        self._begin = self._length = 0.0
        self._shut = 0.0  # seconds for which something else has held the lids shut
        self._finishing = False
        self.closed = 0.0
        super().__init__(settings)

    def reset(self) -> None:
        """The next stream's blinks differ from the last one's, yet are reproducible."""
        self._stream += 1
        self._drawn_for: BlinkSettings | None = None
        self._under_way: tuple[float, float] | None = None
        if self.closed > 0:  # begin and length of the blink under way, on the new stream's time
            self._under_way = self._begin - self._last, self._length
        self._finishing = False

    def finish(self) -> None:
        """No further blink begins before the next stream; one that is under way ends."""
        self._finishing = True

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Close the lids, at least as far as they are; eyes that are open wide close as well."""
        if not self.settings.on:
            return frame
        made = frame.coefficients.copy()
        seconds = frame.index / context.fps
        self.closed = closed = self._closed(seconds, context.seconds)
        self._last = seconds
        made[BLINK] = np.maximum(np.minimum(made[BLINK], self._limit(made, context.seconds)), closed)
        made[WIDE] *= np.float32(1.0 - closed)
        return replace(frame, coefficients=made)

    def _limit(self, coefficients: Array, seconds: float) -> float:
        """How far something else than a blink may close the lids."""
        self._shut = self._shut + seconds if float(coefficients[BLINK].min()) > SHUT else 0.0
        over = min(1.0, max(0.0, self._shut - LONGEST_SHUT) / _OPENS)
        return 1.0 - (1.0 - _AJAR) * over

    def _closed(self, seconds: float, step: float) -> float:
        """How far the lids are closed at this time of the stream, 0..1."""
        if self._under_way is not None:  # of the stream before, whose last frame was `step` before this one's first
            begin, length = self._under_way
            phase = (seconds + step - begin) / length
            if phase < 1:
                return lid(phase)
            self._under_way = None
        if self._finishing and (self._drawn_for is not self.settings or seconds < self._begin):
            return 0.0
        if self._drawn_for is not self.settings:
            self._drawn_for = self.settings
            self._random = np.random.default_rng((self.settings.seed, self._stream))
            self._draw(after=0.0)
        while seconds >= self._begin + self._length:
            if self._finishing:
                return 0.0
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
