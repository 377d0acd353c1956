"""Rest: mouth and lids come to rest when nobody speaks, and the expression of the upper face fades slowly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.face.names import BLINK, UPPER_FACE
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

STILL = 0.009
"""A fading upper face moves less than this per frame."""
_LIDS = np.isin(UPPER_FACE, BLINK)
SPEAKING = 0.5
"""Activity from which on somebody speaks."""


@dataclass(frozen=True)
class RestSettings:
    """Times in seconds. Raises ValueError for values out of range."""

    on: bool = True
    """False switches the stage off."""
    rest_time: float = 0.18
    """From speaking to a resting mouth, 0 to 2."""
    wake_time: float = 0.1
    """From rest to full movement, 0 to 2."""
    fade_rate: float = 0.25
    """How fast the expression of the upper face fades in silence, units per second, 0 to 10; 0 keeps it."""

    def __post_init__(self) -> None:
        check_range("rest_time", self.rest_time, 0.0, 2.0)
        check_range("wake_time", self.wake_time, 0.0, 2.0)
        check_range("fade_rate", self.fade_rate, 0.0, 10.0)


class Rest(Stage[RestSettings]):
    """See the module."""

    def reset(self) -> None:
        """A stream begins at rest."""
        self._gate = 0.0 if self.settings.on else 1.0
        self._held: Array = np.zeros(len(UPPER_FACE), dtype=np.float32)

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Blend between the live face (speaking) and the resting one."""
        settings = self.settings
        speaking = frame.activity >= SPEAKING or not settings.on
        time = settings.wake_time if speaking else settings.rest_time
        move = context.seconds / time if time > 0 else 1.0
        self._gate = min(1.0, self._gate + move) if speaking else max(0.0, self._gate - move)
        gate = np.float32(self._gate * self._gate * (3 - 2 * self._gate))
        if not speaking:
            fade = np.float32(min(settings.fade_rate * context.seconds, STILL * context.frames))
            self._held = np.sign(self._held) * np.maximum(np.abs(self._held) - fade, 0)
        made = frame.coefficients * gate
        made[UPPER_FACE] += (1 - gate) * self._held
        if self._gate >= 1.0:
            self._held = np.where(_LIDS, np.float32(0.0), frame.coefficients[UPPER_FACE])  # lids are no expression
        return replace(frame, coefficients=made)
