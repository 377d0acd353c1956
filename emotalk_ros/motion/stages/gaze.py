"""Eyes that hold the viewer and wander now and then: saccades, and turning against the head.

Amplitudes and durations of saccades after Lee, Badler and Badler 2002, "Eyes alive": amplitude -6.9 ln(P / 15.7)
degrees for P uniform in 0..15 %, duration 25 ms + 2.4 ms a degree; a speaker looks at the listener more than half of
the time. Between saccades the eyes turn against the head, so that they stay on the viewer (vestibulo-ocular reflex).
Off unless asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

FULL = math.radians(30.0)
"""Turn of an eye at which its eyeLook coefficient is 1."""
_LARGEST = 11.0
"""Degrees: a talker does not look further aside."""
_SIDES = (("Left", "Out", "In"), ("Right", "In", "Out"))


@dataclass(frozen=True)
class GazeSettings:
    """How the eyes move. Raises ValueError for values out of range."""

    on: bool = False
    amount: float = 1.0
    """Multiplies the saccades; 0 stares."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("gaze amount", self.amount, 0.0, 2.0)


class Gaze(Stage[GazeSettings]):
    """See the module. Gives `FaceFrame.eyes` and the eight eyeLook coefficients; comes after the head's stage."""

    def reset(self) -> None:
        """A new stream: both eyes on the viewer."""
        self._random = np.random.default_rng(self.settings.seed)
        self._from = self._to = np.zeros(2)
        self._began, self._lasts = 0.0, 0.03
        self._next = 0.8

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Turn the eyes."""
        if not self.settings.on:
            return frame
        time = frame.index / context.fps
        while time >= self._next:
            self._saccade()
        share = min(1.0, max(0.0, (time - self._began) / self._lasts))
        share = share * share * share * (10 - 15 * share + 6 * share * share)  # minimum jerk
        at = np.radians(self._from + (self._to - self._from) * share) * self.settings.amount
        head = np.zeros(2) if frame.head is None else frame.head[:2]
        eyes = np.clip(at - head, -FULL, FULL).astype(np.float32)
        return replace(frame, eyes=eyes, coefficients=look(frame.coefficients, eyes))

    def _saccade(self) -> None:
        random = self._random
        now, away = self._next, bool(np.abs(self._to).max() > 0)
        self._from = self._to
        if away and random.random() < 0.8:
            self._to = np.zeros(2)
        else:
            size = min(_LARGEST, -6.9 * math.log(random.uniform(0.4, 15.0) / 15.7))
            way = random.choice(8) * math.pi / 4
            self._to = size * np.array([math.cos(way), 0.55 * math.sin(way)])
        distance = float(np.hypot(*(self._to - self._from)))
        self._began, self._lasts = now, 0.025 + 0.0024 * distance
        holds = random.uniform(0.25, 0.9) if np.abs(self._to).max() > 0 else 0.6 + random.exponential(1.3)
        self._next = now + self._lasts + holds


def look(coefficients: Array, eyes: Array) -> Array:
    """`coefficients` (52,) with the eight eyeLook shapes set to a gaze (2,) of yaw and pitch, rad."""
    out = coefficients.copy()
    yaw, pitch = float(eyes[0]), float(eyes[1])
    for side, left, right in _SIDES:
        out[INDEX[f"eyeLook{left}{side}"]] = min(1.0, max(0.0, yaw) / FULL)
        out[INDEX[f"eyeLook{right}{side}"]] = min(1.0, max(0.0, -yaw) / FULL)
        out[INDEX[f"eyeLookUp{side}"]] = min(1.0, max(0.0, pitch) / FULL)
        out[INDEX[f"eyeLookDown{side}"]] = min(1.0, max(0.0, -pitch) / FULL)
    return out
