"""Expression smoothing: the emotion heard may change from one frame to the next, a face's expression sets in slowly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emotalk_ros.face.names import EXPRESSIVE
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range
from emotalk_ros.motion.stages.smoothing import follow


@dataclass(frozen=True)
class ExpressionSmoothingSettings:
    """Raises ValueError for a time out of range."""

    time: float = 0.1
    """Time constant of brows, eyes (but for blinks), cheek squints and nose in seconds, 0 to 2; 0 switches it off."""

    def __post_init__(self) -> None:
        check_range("expression_smoothing", self.time, 0.0, 2.0)


class ExpressionSmoothing(Stage[ExpressionSmoothingSettings]):
    """See the module."""

    def reset(self) -> None:
        """The next frame is taken as it is."""
        self._before: Array | None = None

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Follow the frame."""
        made = frame.coefficients.copy()
        if self._before is not None:
            follow(made, self._before, EXPRESSIVE, self.settings.time, context.seconds)
        self._before = made
        return replace(frame, coefficients=made)
