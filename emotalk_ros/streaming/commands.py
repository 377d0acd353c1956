"""Emotions asked for at an instant of the audio: when each begins, how long it holds, how fast it comes."""

from __future__ import annotations

import threading
from bisect import insort
from dataclasses import dataclass, field
from typing import Any

from emotalk_ros.units import NS


@dataclass(frozen=True, order=True)
class EmotionOrder:
    """One command.

    Attributes:
        at_ns: audio time from which on it holds.
        number: of two for the same instant, the later one counts.
        control: `model.EmotionControl`; None: back to what holds without commands.
        transition: seconds from the emotion before.
        until_ns: audio time at which it ends; None: with the next one.
    """

    at_ns: int
    number: int
    control: Any = field(compare=False)
    transition: float = field(compare=False, default=0.3)
    until_ns: int | None = field(compare=False, default=None)


class EmotionOrders:
    """The commands to one voice, in order of their time; safe to give from one thread and to read from another."""

    MOST = 256
    """Commands that wait for their time; the oldest give way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[EmotionOrder] = []
        self._current: EmotionOrder | None = None
        self._count = 0

    @property
    def current(self) -> EmotionOrder | None:
        """The command in force; None: there is none."""
        return self._current

    def give(self, control: Any, at_ns: int | None, transition: float = 0.3, hold: float = 0.0) -> None:
        """Take a command.

        Args:
            control: `model.EmotionControl`, or None for the end of commands.
            at_ns: audio time; None: at once, before all that wait.
            transition: seconds from the emotion before.
            hold: seconds after which it ends; 0: never.
        """
        with self._lock:
            self._count += 1
            at = -1 if at_ns is None else at_ns
            until = None if hold <= 0 else round(hold * NS) + (0 if at_ns is None else at_ns)
            insort(self._waiting, EmotionOrder(at, self._count, control, transition, until))
            del self._waiting[: -self.MOST]

    def clear(self) -> None:
        """Forget all commands."""
        with self._lock:
            self._waiting, self._current = [], None

    def at(self, stamp_ns: int) -> EmotionOrder | None:
        """The command in force for a frame of this audio time (frames come in order); None: there is none."""
        with self._lock:
            while self._waiting and self._waiting[0].at_ns <= stamp_ns:
                order = self._waiting.pop(0)
                if order.at_ns < 0 and order.until_ns is not None:  # given "at once": it holds from this frame on
                    order = EmotionOrder(
                        stamp_ns, order.number, order.control, order.transition, stamp_ns + order.until_ns
                    )
                self._current = order
            current = self._current
            if current is not None and current.until_ns is not None and stamp_ns >= current.until_ns:
                self._current = current = EmotionOrder(stamp_ns, current.number, None, current.transition)
            return current
