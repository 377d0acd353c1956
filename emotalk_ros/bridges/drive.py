"""Frames to an output at an even rate, with figures of how even it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.bridges.outputs import Output
from emotalk_ros.face.names import COUNT
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.pacing import Pacer
from emotalk_ros.units import NS

_AHEAD = 900
"""Frames that are made before their time: more would only cost memory."""


@dataclass
class DriveFigures:
    """What was sent."""

    frames: int = 0
    lost: int = 0
    errors: list[float] = field(default_factory=list, repr=False)
    """Of each frame: seconds from when it should have been sent, counted from the first, to when it was."""

    def jitter(self, share: float = 0.99) -> float:
        """Quantile of the distance to the even grid, whose offset is the median, seconds."""
        if not self.errors:
            return 0.0
        values = np.array(self.errors)
        return float(np.quantile(np.abs(values - np.median(values)), share))


class Driver:
    """Paces frames and sends them; `put` from any thread.

    Args:
        output: where to.
        fps: frames per second.
        shown: is told of each frame sent.
    """

    def __init__(self, output: Output, fps: float, shown: Callable[[FaceFrame], None] | None = None) -> None:
        self._output, self._shown = output, shown
        self.figures = DriveFigures()
        self._first: tuple[float, int] | None = None
        self._last: FaceFrame | None = None
        self._fps = fps
        self._pacer: Pacer[FaceFrame] = Pacer(fps, self._send)

    def __enter__(self) -> Driver:
        self._pacer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends at once, with a face at rest: an avatar keeps what it was told last."""
        self._pacer.stop()
        if self._last is not None and float(np.abs(self._last.coefficients).max()) > 0.02:
            self._output.send(replace(self._last, coefficients=np.zeros(COUNT, dtype=np.float32)))

    def put(self, frames: Iterable[FaceFrame]) -> None:
        """Queue frames, in order; waits while very many wait already."""
        for frame in frames:
            while self._pacer.waiting > _AHEAD:
                time.sleep(0.05)
            self._pacer.put([frame])

    def finish(self, poll: float = 0.02) -> None:
        """Wait until everything that was put is sent."""
        while self._pacer.waiting:
            time.sleep(poll)
        time.sleep(1.5 / self._fps)

    def _send(self, frame: FaceFrame) -> None:
        now = time.perf_counter()
        if self._first is None or (self._last is not None and frame.index <= self._last.index):
            self._first = (now, frame.stamp_ns)
        self.figures.errors.append(now - self._first[0] - (frame.stamp_ns - self._first[1]) / NS)
        if self._output.send(frame):
            self.figures.frames += 1
        else:
            self.figures.lost += 1
        self._last = frame
        if self._shown is not None:
            self._shown(frame)


def frames_of(coefficients: NDArray[np.float32], fps: float, first: int = 0) -> Iterable[FaceFrame]:
    """A motion (frames, 52) as frames."""
    nothing = np.zeros(0, dtype=np.float32)
    for k, row in enumerate(coefficients):
        index = first + k
        yield FaceFrame(index, round(index * NS / fps), np.asarray(row, dtype=np.float32), 1.0, nothing)


def watch(
    output: Output, tell: Callable[[str], None], ending: threading.Event, period: float = 1.0
) -> threading.Thread:
    """A thread that tells once of each problem of an output, and when it is over."""

    def look() -> None:
        told = ""
        while not ending.wait(period):
            problem = output.target.problem
            if problem and problem != told:
                tell(problem)
            elif told and not problem:
                tell("it arrives now")
            told = problem

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    return thread
