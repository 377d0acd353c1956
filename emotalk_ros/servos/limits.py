"""Motion of one joint within its limits of position, speed and acceleration, step by step."""

from __future__ import annotations

import math


class JointMotion:
    """Follows a target; never leaves the limits, whatever the target does.

    The speed of each step is such that the joint can still stop at the target, and at the limits, by braking with
    no more than `acceleration`. A start outside of the limits is allowed: the joint moves back inside.

    Args:
        position: where the joint is.
        low, high: limits of the position.
        speed: largest speed, units per second.
        acceleration: largest change of the speed, units per second squared.
        dead_band: the target has to move by more than this before the joint follows.
    """

    def __init__(
        self, position: float, low: float, high: float, speed: float, acceleration: float, dead_band: float = 0.0
    ) -> None:
        if not low < high or speed <= 0 or acceleration <= 0 or dead_band < 0:
            raise ValueError(
                f"limits {low:g} to {high:g}, speed {speed:g}, acceleration {acceleration:g}, dead band {dead_band:g}: "
                "limits must rise, speed and acceleration must be above 0, the dead band must not be negative"
            )
        self._low, self._high = low, high
        self._speed, self._acceleration, self._dead_band = speed, acceleration, dead_band
        self.position = position
        self.velocity = 0.0
        self._target = position

    @property
    def settled(self) -> bool:
        """Whether the joint stands where it was told to."""
        return self.velocity == 0.0 and self.position == self._target

    def step(self, target: float, seconds: float, exact: bool = False) -> float:
        """Move for `seconds` towards `target` (NaN: stay on the way to the one before); returns the position.

        `exact` goes to the target itself, whatever the dead band: a face at rest leaves no joint a little off.
        """
        if math.isfinite(target):
            target = min(max(target, self._low), self._high)
            if exact or abs(target - self._target) > self._dead_band:
                self._target = target
        change = self._acceleration * seconds
        distance = self._target - self.position
        wanted = math.copysign(min(self._speed, self._stopping(abs(distance), seconds)), distance)
        velocity = min(max(wanted, self.velocity - change), self.velocity + change)
        if self.position <= self._high:
            velocity = min(velocity, self._stopping(self._high - self.position, seconds))
        if self.position >= self._low:
            velocity = max(velocity, -self._stopping(self.position - self._low, seconds))
        self.velocity = velocity
        self.position += velocity * seconds
        if self._low <= self.position <= self._high:
            return self.position
        # Rounding at the limit itself.
        near = min(max(self.position, self._low), self._high)
        if abs(near - self.position) < 1e-9:
            self.position = near
        return self.position

    def _stopping(self, distance: float, seconds: float) -> float:
        """Largest speed from which steps of `seconds`, each slower by the acceleration, end within `distance`.

        With speeds v, v - c, v - 2 c, ... (c the change in a step) of k + 1 steps, distance = (k + 1) (v - c k / 2) t.
        """
        change = self._acceleration * seconds
        units = distance / (change * seconds)
        steps = math.floor((math.sqrt(1.0 + 8.0 * units) - 1.0) / 2.0)
        return change * (units + steps * (steps + 1) / 2.0) / (steps + 1)
