"""`servo_map.yaml`: which coefficients move which joint, and how far, fast and hard it may move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator, model_validator

from emotalk_ros.face.names import COUNT, INDEX
from emotalk_ros.servos.limits import JointMotion
from emotalk_ros.settings_files import Positive, StrictModel, check, read_yaml

COUNTS_PER_RADIAN = {"dynamixel": 4096 / math.tau, "feetech": 4096 / math.tau}
"""Position units of servos with 4096 steps a turn (Dynamixel X series, Feetech STS and SCS with 12 bits)."""


class ServoMapError(ValueError):
    """A servo map that cannot be used; the message names the file, the key and the remedy."""


class PositionUnits(StrictModel):
    """How a servo counts positions: count = centre + direction * angle * counts per radian."""

    kind: Literal["dynamixel", "feetech", "custom"] = "dynamixel"
    centre: int = Field(2048, ge=0, le=65535)
    """Count at 0 rad."""
    per_radian: Positive | None = None
    """Counts per radian; None: those of `kind`."""

    @model_validator(mode="after")
    def _known(self) -> PositionUnits:
        if self.kind == "custom" and self.per_radian is None:
            raise ValueError("kind custom needs per_radian, the counts per radian")
        return self

    def counts(self, angle: float) -> int:
        """The count of an angle in radians."""
        return round(self.centre + angle * (self.per_radian or COUNTS_PER_RADIAN[self.kind]))


class JointMap(StrictModel):
    """One joint. Its angle is zero + gain * (sum of weight * coefficient), the other way round with `inverted`."""

    weights: dict[str, float] = Field(min_length=1)
    """Weight of each coefficient that moves it, by ARKit name."""
    zero: float = 0.0
    """Radians at rest."""
    gain: float = 1.0
    """Radians per unit of the weighted sum."""
    inverted: bool = False
    """Whether the joint turns the other way."""
    limits: Annotated[tuple[float, float], Field(strict=False)]
    """Lowest and highest angle in radians."""
    speed: Positive = 6.0
    """Largest speed in rad/s."""
    acceleration: Positive = 120.0
    """Largest acceleration in rad/s^2."""
    dead_band: float = Field(0.0, ge=0)
    """Radians by which the target has to move before the joint follows: spares servos the tremor."""
    units: PositionUnits | None = None
    """How the servo counts positions, where counts are published."""

    @field_validator("weights")
    @classmethod
    def _coefficients(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in weights if name not in INDEX]
        if unknown:
            raise ValueError(f"no coefficient is called {', '.join(map(repr, unknown))} (ARKit names, like 'jawOpen')")
        return weights

    @model_validator(mode="after")
    def _ordered(self) -> JointMap:
        low, high = self.limits
        if not low < high:
            raise ValueError(f"limits {low:g} to {high:g} must rise")
        if not low <= self.zero <= high:
            raise ValueError(f"zero {self.zero:g} must lie within the limits {low:g} to {high:g}")
        return self

    def row(self) -> NDArray[np.float64]:
        """(52,) radians per coefficient."""
        row = np.zeros(COUNT)
        for name, weight in self.weights.items():
            row[INDEX[name]] = weight * self.gain * (-1.0 if self.inverted else 1.0)
        return row


class ServoMap(StrictModel):
    """All joints of a face, in the order in which they are published."""

    rate: float = Field(50.0, ge=1, le=1000)
    """Commands per second."""
    joints: dict[str, JointMap] = Field(min_length=1, max_length=256)
    """By joint name."""

    def targets(self, coefficients: ArrayLike) -> NDArray[np.float64]:
        """Angles (joints,) in radians that a face (52,) asks for, within the limits."""
        values = np.asarray(coefficients, dtype=np.float64)
        if values.shape != (COUNT,):
            raise ValueError(f"expected {COUNT} coefficients, got shape {values.shape}")
        joints = list(self.joints.values())
        angles = np.array([joint.zero for joint in joints]) + np.stack([joint.row() for joint in joints]) @ values
        return np.clip(angles, *np.array([joint.limits for joint in joints]).T)

    def motions(self, positions: Mapping[str, float] | None = None) -> list[JointMotion]:
        """The motion of each joint, from where it is (radians by name; others start at their zero)."""
        known = positions or {}
        return [
            JointMotion(known.get(name, joint.zero), *joint.limits, joint.speed, joint.acceleration, joint.dead_band)
            for name, joint in self.joints.items()
        ]


def load_servo_map(path: str | PathLike[str]) -> ServoMap:
    """Read a map. Raises ServoMapError that names the file, the key and what is wrong."""
    source = Path(path)
    return check(ServoMap, read_yaml(source, ServoMapError), ServoMapError, source)
