"""The bounded queue between callbacks and the worker: audio in seconds, with the instant at which each piece is due."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from emotalk_ros.audio import PcmChunk


@dataclass(frozen=True)
class Waiting:
    """A chunk in the queue: when it arrived and when it is due, monotonic seconds, and its length in seconds."""

    chunk: PcmChunk
    arrived: float
    due: float
    seconds: float


class Backlog:
    """Chunks waiting for the worker. `put` never blocks.

    A chunk is *due* when it arrives, or, when audio comes faster than real time (a synthesiser that sends a sentence
    at once), when the audio before it would have been played: being early is no reason to skip anything.
    So `lag`, which decides on skipping, measures only how far the worker is behind.

    Args:
        limit: seconds of audio beyond which the queue drops its oldest chunk; a last resort.
        ready: notified when there is something to do; shared where one thread serves several queues.
    """

    def __init__(self, limit: float, ready: threading.Condition | None = None) -> None:
        self._limit = limit
        self._ready = threading.Condition() if ready is None else ready
        self._chunks: deque[Waiting] = deque()
        self._seconds = 0.0
        self._played_until = float("-inf")
        self.dropped = 0

    @property
    def empty(self) -> bool:
        """Whether no chunk waits."""
        return not self._chunks

    @property
    def seconds(self) -> float:
        """Seconds of audio that wait."""
        return self._seconds

    def put(self, chunk: PcmChunk, seconds: float, now: float) -> None:
        """Append a chunk of `seconds`."""
        with self._ready:
            due = max(now, self._played_until)
            self._played_until = due + seconds
            self._chunks.append(Waiting(chunk, now, due, seconds))
            self._seconds += seconds
            while self._seconds > self._limit and len(self._chunks) > 1:
                self._seconds -= self._chunks.popleft().seconds
                self.dropped += 1
            self._ready.notify()

    def get(self, timeout: float) -> Waiting | None:
        """The oldest chunk, or None when none came within `timeout` seconds or `wake` was called."""
        with self._ready:
            if not self._chunks:
                self._ready.wait(timeout)
            if not self._chunks:
                return None
            waiting = self._chunks.popleft()
            self._seconds -= waiting.seconds
            return waiting

    def wake(self) -> None:
        """End a waiting `get`."""
        with self._ready:
            self._ready.notify_all()

    def clear(self) -> None:
        """Forget everything that waits."""
        with self._ready:
            self._chunks.clear()
            self._seconds = 0.0
            self._played_until = float("-inf")
