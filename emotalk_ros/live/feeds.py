"""Faces that move elsewhere (a robot's topics), shown on the page beside the visitors' own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from emotalk_ros.live.frames import LiveFrame, write_frames

_QUEUE = 90
"""Messages that a slow page may be behind before the oldest are dropped."""


class Feed:
    """One face, by name. `publish` may be called from any thread; each page that watches has a queue of its own."""

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.frames = 0
        self._lock = threading.Lock()
        self._watchers: dict[asyncio.Queue[bytes], asyncio.AbstractEventLoop] = {}

    def publish(self, frames: Sequence[LiveFrame]) -> None:
        """Show frames on every page that watches this feed."""
        if not frames:
            return
        self.frames += len(frames)
        self.send(write_frames(frames))

    def send(self, message: bytes) -> None:
        """Send a binary message (see `frames`) to every page that watches."""
        with self._lock:
            watchers = list(self._watchers.items())
        for queue, loop in watchers:
            loop.call_soon_threadsafe(_put, queue, message)

    def watch(self) -> asyncio.Queue[bytes]:
        """A queue of messages from now on, in the running event loop."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        with self._lock:
            self._watchers[queue] = asyncio.get_running_loop()
        return queue

    def leave(self, queue: asyncio.Queue[bytes]) -> None:
        """No more messages to `queue`."""
        with self._lock:
            self._watchers.pop(queue, None)

    @property
    def watchers(self) -> int:
        """Pages that watch at the moment."""
        return len(self._watchers)


def _put(queue: asyncio.Queue[bytes], message: bytes) -> None:
    while True:
        try:
            queue.put_nowait(message)
            return
        except asyncio.QueueFull:
            queue.get_nowait()
