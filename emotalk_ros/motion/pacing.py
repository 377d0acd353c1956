"""Frames released one by one at an even rate, although the network makes them hop by hop. Knows nothing of ROS.

A hop of 100 ms gives three frames at once, a sentence in one message gives hundreds. `Schedule` decides when each one
is due, `Pacer` is the thread that hands it out then. All frames of a stream keep their distance in audio time::

    due(frame) = frame.stamp + delay

The delay is the longest time from a stamp to the arrival of its frame, measured over the last seconds. It grows at
once when a frame comes too late, and shrinks slowly when all frames come early (2 % of the time that passes, up to 8 %
after a long stall): so late audio never makes the face run ahead, and does not leave it behind for good. No frame is
released before its stamp. Where stamps leap ahead to the present (the face was late, and now idles or rests), the delay
begins anew: nobody waits seconds for a face to come to rest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from emotalk_ros.units import NS

MARGIN = 0.005
"""Seconds that a frame should arrive before it is due."""
WINDOW = 4.0
"""Seconds over which the arrivals are watched before the delay shrinks."""
CATCH_UP = 0.02
"""Share of the time by which the delay shrinks while every frame comes early."""
CATCH_UP_MOST = 0.08
"""The same while much is too long: a face this much faster is not seen to hurry."""
CATCH_UP_TIME = 10.0
"""Seconds in which what is too long would be made up for, within these two bounds."""
LEAP = 0.25
"""Seconds by which a frame behind a hole in the stamps must be early to begin the delay anew."""
LONGEST_DELAY = 10.0
"""Seconds; a larger distance between stamp and arrival means that the stamps belong to another clock."""


class Stamped(Protocol):
    """What is paced: `stamp_ns` is its audio time, `index` its number in its stream (a smaller one: a new stream)."""

    @property
    def stamp_ns(self) -> int:
        """Nanoseconds."""
        ...

    @property
    def index(self) -> int:
        """Number of the frame."""
        ...


T = TypeVar("T", bound=Stamped)


class Schedule:
    """When the frames of one face are due. Times are seconds of one clock, stamps nanoseconds of any clock.

    Args:
        fps: frames per second; two frames are never released closer together than 0.9 of a frame.
    """

    def __init__(self, fps: float) -> None:
        self._interval = 1.0 / fps
        self.reset()

    def reset(self) -> None:
        """The next frame begins anew."""
        self._delay: float | None = None
        self._shortest = 0.0
        self._arrivals: deque[tuple[float, float]] = deque()  # (time, distance from stamp to arrival), falling
        self._last_index = -1
        self._last_time = self._last_stamp = 0.0
        self._last_due = -1.0
        self.late = 0

    @property
    def delay(self) -> float | None:
        """Seconds from a frame's stamp to its release; None before the first frame."""
        return self._delay

    def due(self, frame: Stamped, now: float) -> float:
        """When `frame`, which arrived at `now`, is due; not before the frame that came before it."""
        stamp = frame.stamp_ns / NS
        distance = now - stamp
        if self._delay is None or frame.index <= self._last_index or self._leaps(stamp, distance, self._delay):
            self._begin(distance)
        assert self._delay is not None
        self._watch(now, distance)
        if distance > self._delay:
            self.late += 1
            self._delay = distance + MARGIN
        else:
            wanted = max(self._shortest, self._arrivals[0][1] + MARGIN)
            share = min(CATCH_UP_MOST, max(CATCH_UP, (self._delay - wanted) / CATCH_UP_TIME))
            self._delay = max(wanted, self._delay - share * max(0.0, now - self._last_time))
        self._last_time, self._last_index, self._last_stamp = now, frame.index, stamp
        due = max(stamp + self._delay, now, self._last_due + 0.9 * self._interval)
        self._last_due = due
        return due

    def _leaps(self, stamp: float, distance: float, delay: float) -> bool:
        """Whether the stamps are of another clock, or ahead to the present behind a hole."""
        ahead = stamp - self._last_stamp > 2.5 * self._interval and 0.0 <= distance < delay - LEAP
        return ahead or distance > delay + LONGEST_DELAY

    def _begin(self, distance: float) -> None:
        self._arrivals.clear()
        self._delay = distance + MARGIN
        # Stamps of this clock: never before the sound. Stamps of another clock: never earlier than at the start.
        self._shortest = 0.0 if 0.0 <= distance < LONGEST_DELAY else self._delay

    def _watch(self, now: float, distance: float) -> None:
        """Keep the largest distances of the last seconds, the largest first."""
        while self._arrivals and self._arrivals[-1][1] <= distance:
            self._arrivals.pop()
        self._arrivals.append((now, distance))
        while self._arrivals[0][0] < now - WINDOW:
            self._arrivals.popleft()


class Pacer(Generic[T]):
    """A thread that hands out frames when they are due.

    Args:
        fps: frames per second.
        publish: takes a frame, called from the pacer's thread.
        clock: seconds on the clock of the stamps (ROS time or system time): stamps are compared with it.
        most: frames that wait at most; the oldest give way (ten minutes of a stream by default).
    """

    def __init__(
        self,
        fps: float,
        publish: Callable[[T], None],
        clock: Callable[[], float] = time.time,
        most: int = 18_000,
    ) -> None:
        self._schedule = Schedule(fps)
        self._publish = publish
        self._clock = clock
        self._waiting: deque[tuple[float, T]] = deque(maxlen=most)
        self._changed = threading.Condition()
        self._ending = False
        self._thread: threading.Thread | None = None

    @property
    def delay(self) -> float | None:
        """Seconds from a frame's stamp to its release; None before the first frame."""
        return self._schedule.delay

    @property
    def late(self) -> int:
        """Frames that came after they were due."""
        return self._schedule.late

    @property
    def waiting(self) -> int:
        """Frames that wait for their time."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Drop what waits and end the thread. Raises RuntimeError when it does not end."""
        with self._changed:
            self._ending = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise RuntimeError(f"the pacer's thread did not end within {timeout:g} s")
            self._thread = None

    def put(self, frames: Iterable[T]) -> None:
        """Queue frames in order; returns at once."""
        with self._changed:
            for frame in frames:
                self._waiting.append((self._schedule.due(frame, self._clock()), frame))
            self._changed.notify()

    def drop(self) -> int:
        """Forget the frames that wait (the speaker was interrupted); returns how many."""
        with self._changed:
            count = len(self._waiting)
            self._waiting.clear()
            self._schedule.reset()
            self._changed.notify()
        return count

    def _run(self) -> None:
        while (frame := self._next()) is not None:
            self._publish(frame)

    def _next(self) -> T | None:
        """The next frame when it is due; None at the end."""
        with self._changed:
            while not self._ending:
                if not self._waiting:
                    self._changed.wait()
                    continue
                due, frame = self._waiting[0]
                left = due - self._clock()
                if left <= 0:
                    self._waiting.popleft()
                    return frame
                self._changed.wait(left)
        return None
