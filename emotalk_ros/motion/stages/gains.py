"""Gains: factors of all coefficients, of a region, of single ones; what leaves 0..1 is cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from emotalk_ros.face.names import COUNT, INDEX, LOWER_FACE, UPPER_FACE
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

SETS_IN = 0.1
"""Time constant in seconds with which new gains set in."""


@dataclass(frozen=True)
class GainSettings:
    """Factors, 0 to 4; they multiply each other. Raises ValueError for others and for unknown names."""

    all: float = 1.0
    """Of every coefficient."""
    mouth: float = 1.0
    """Of jaw, mouth, tongue and puffed cheeks besides."""
    upper: float = 1.0
    """Of brows, eyes, cheek squints and nose besides."""
    single: Mapping[str, float] = field(default_factory=dict)
    """Of single coefficients besides, by name."""

    def __post_init__(self) -> None:
        for name in ("all", "mouth", "upper"):
            check_range(f"gain of {name}", getattr(self, name), 0.0, 4.0)
        for name, value in self.single.items():
            if name not in INDEX:
                raise ValueError(f"gains: no coefficient is called {name!r} (ARKit names, like 'jawOpen')")
            check_range(f"gain of {name}", value, 0.0, 4.0)

    @cached_property
    def factors(self) -> Array:
        """The product of all gains per coefficient, (52,)."""
        factors = np.full(COUNT, self.all, dtype=np.float32)
        factors[LOWER_FACE] *= self.mouth
        factors[UPPER_FACE] *= self.upper
        for name, value in self.single.items():
            factors[INDEX[name]] *= value
        return factors


class Gains(Stage[GainSettings]):
    """See the module."""

    def reset(self) -> None:
        """The next frame's gains count at once."""
        self._factors: Array | None = None

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Multiply, and cut to 0..1; new gains set in within a moment, without a jump."""
        wanted = self.settings.factors
        if self._factors is None:
            self._factors = wanted
        elif self._factors is not wanted:
            self._factors = self._factors + np.float32(-math.expm1(-context.seconds / SETS_IN)) * (
                wanted - self._factors
            )
            if np.abs(self._factors - wanted).max() < 1e-3:
                self._factors = wanted
        return replace(frame, coefficients=np.clip(frame.coefficients * self._factors, 0.0, 1.0))
