"""Playback for controllers: frames that arrive 30 times a second, read at any rate (servo loops, game engines).

A controller adds each frame when it arrives and asks for the face whenever its own loop runs. Between two frames the
coefficients are interpolated, by the stamps of the frames; so a loop of 50 Hz sees 50 different values a second, and
frames that arrive in bursts, early or a little late are still shown evenly. That costs one frame of delay (1 / fps).
When no frame comes any more, the face goes to rest.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.face.names import COUNT
from emotalk_ros.motion.pacing import Schedule
from emotalk_ros.motion.pipeline import ease

_MOST = 18_000  # frames kept: ten minutes that arrived at once


@dataclass(frozen=True)
class _Place:
    """What the schedule asks of a frame."""

    index: int
    stamp_ns: int


class Playback:
    """Add frames as they arrive; `at(now)` is the face to show.

    Args:
        fps: frames per second of the node that publishes.
        stale: seconds without a new frame after which the face goes to rest.
        rest_time: seconds that it takes to get there.
    """

    def __init__(self, fps: float = 30.0, stale: float = 0.3, rest_time: float = 0.3) -> None:
        if not 1 <= fps <= 1000:
            raise ValueError(f"fps {fps}: must be 1 to 1000")
        if stale < 0 or rest_time < 0:
            raise ValueError(f"stale {stale} s and rest_time {rest_time} s: must not be negative")
        self._interval = 1.0 / fps
        self._stale, self._rest_time = stale, rest_time
        self._schedule = Schedule(fps)
        self._times: list[float] = []
        self._faces: list[NDArray[np.float32]] = []

    def add(self, stamp_ns: int, frame: int, coefficients: ArrayLike, now: float) -> None:
        """Take a frame.

        Args:
            stamp_ns: its audio time (`header.stamp`), in nanoseconds.
            frame: its number in the stream (`frame`).
            coefficients: (52,).
            now: seconds on the clock of the stamps at which it arrived.

        Raises ValueError for another number of coefficients, or values that are not finite.
        """
        values = np.asarray(coefficients, dtype=np.float32)
        if values.shape != (COUNT,) or not np.isfinite(values).all():
            raise ValueError(f"a frame is {COUNT} finite coefficients, got shape {values.shape}")
        self._times.append(self._schedule.due(_Place(frame, stamp_ns), now) + self._interval)
        self._faces.append(values)
        if len(self._times) > _MOST:
            del self._times[0], self._faces[0]

    def at(self, now: float) -> NDArray[np.float32]:
        """The face to show at `now` (seconds, not falling): (52,) float32. Rest before the first frame."""
        after = bisect_right(self._times, now)
        if after > 1:  # the frame before `now` and what follows stay
            del self._times[: after - 1], self._faces[: after - 1]
            after = 1
        if after == 0:
            return self._faces[0].copy() if self._times else np.zeros(COUNT, dtype=np.float32)
        face, begin = self._faces[0], self._times[0]
        if len(self._times) > 1 and self._times[1] - begin <= 2.0 * self._interval:
            share = np.float32((now - begin) / max(self._times[1] - begin, 1e-9))
            return face + min(share, np.float32(1.0)) * (self._faces[1] - face)
        return face * np.float32(1.0 - ease((now - begin - self._stale) / max(self._rest_time, 1e-9)))
