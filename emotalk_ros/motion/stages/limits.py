"""Limits: no coefficient leaves its range, whatever the stages before did."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_rising


@dataclass(frozen=True)
class LimitSettings:
    """Raises ValueError for a range outside of 0..1."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_rising("limits", (self.low, self.high), 0.0, 1.0)


class Limits(Stage[LimitSettings]):
    """See the module."""

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Cut to the limits."""
        return replace(frame, coefficients=np.clip(frame.coefficients, self.settings.low, self.settings.high))
