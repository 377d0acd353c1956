"""Smoothing of jaw, mouth and lids: one pole whose time constant shrinks with speed; noise goes, closures pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.names import BLINK, LOWER_FACE
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

FAST = 1.5
"""Coefficient units per second at which the time constant has halved."""


@dataclass(frozen=True)
class SmoothingSettings:
    """Raises ValueError for a time out of range."""

    time: float = 0.02
    """Time constant of slow movements in seconds, 0 to 0.5; 0 switches the stage off."""

    def __post_init__(self) -> None:
        check_range("smoothing", self.time, 0.0, 0.5)


class Smoothing(Stage[SmoothingSettings]):
    """See the module.

    Lips are closed when mouthClose equals jawOpen: filtering each by its own speed would part them. One speed per
    region, that of its fastest coefficient, keeps such differences, and lets a closure through nearly at once (the
    idea of the 1-Euro filter, Casiez et al., CHI 2012).
    """

    def reset(self) -> None:
        """The next frame is taken as it is."""
        self._before: Array | None = None

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Follow the frame."""
        made = frame.coefficients.copy()
        if self._before is not None:
            for region in (LOWER_FACE, BLINK):
                speed = float(np.abs(made[region] - self._before[region]).max()) / context.seconds
                follow(made, self._before, region, self.settings.time / (1 + speed / FAST), context.seconds)
        self._before = made
        return replace(frame, coefficients=made)


def follow(made: Array, before: Array, region: NDArray[np.intp], constant: float, seconds: float) -> None:
    """Pull `region` of `made` (52,) back towards `before`: one pole of this time constant, `seconds` later."""
    if constant > 0:
        share = np.float32(-math.expm1(-seconds / constant))
        made[region] = before[region] + (made[region] - before[region]) * share
