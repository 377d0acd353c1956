"""The figures that diagnostics show: latency, real-time factor, rates. Fed by the worker, read by the node."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np


class Figures:
    """Counts and windows; safe to feed from one thread and to read from another.

    Args:
        window: seconds over which rates are taken.
        frames: how many frames the latency percentiles look back.
    """

    def __init__(self, window: float = 10.0, frames: int = 1800) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=frames)
        self._arrivals: deque[tuple[float, float]] = deque()
        self._work: deque[tuple[float, float, float]] = deque()
        self.chunks = 0
        self.frames = 0
        self.skipped_hops = 0
        self.streams = 0
        self.failures = 0
        self.last_arrival: float | None = None
        self._reported: dict[str, int] = {}

    def arrived(self, now: float, seconds: float) -> None:
        """A chunk of `seconds` arrived."""
        with self._lock:
            self.chunks += 1
            self.last_arrival = now
            self._arrivals.append((now, seconds))

    def worked(self, now: float, busy: float, audio: float) -> None:
        """The worker was busy for `busy` seconds with `audio` seconds."""
        with self._lock:
            self._work.append((now, busy, audio))

    def published(self, latencies: list[float]) -> None:
        """Frames went out this long after the arrival of their audio."""
        with self._lock:
            self.frames += len(latencies)
            self._latencies.extend(latencies)

    def new_faults(self, **losses: int) -> dict[str, int]:
        """How many hops were skipped and inferences failed since the last call.

        Args:
            losses: counts since the beginning of what else is lost; _ in the names becomes a space.
        """
        counts = {"skipped hops": self.skipped_hops, "failures": self.failures}
        counts.update({name.replace("_", " "): count for name, count in losses.items()})
        fresh = {name: count - self._reported.get(name, 0) for name, count in counts.items()}
        self._reported = counts
        return fresh

    def reading(self, now: float) -> dict[str, object]:
        """Everything as key values; None where there is nothing to tell."""
        with self._lock:
            for entries in (self._arrivals, self._work):
                while entries and now - entries[0][0] > self._window:
                    entries.popleft()
            busy, audio = sum(e[1] for e in self._work), sum(e[2] for e in self._work)
            span = max(now - self._arrivals[0][0], 1e-3) if self._arrivals else 1.0
            p50, p95, p99 = np.percentile(self._latencies, (50, 95, 99)) if self._latencies else (None,) * 3
            return {
                "input_chunks_per_s": len(self._arrivals) / span if self._arrivals else 0.0,
                "input_audio_s_per_s": sum(e[1] for e in self._arrivals) / span if self._arrivals else 0.0,
                "real_time_factor": busy / audio if audio else None,
                "latency_p50_ms": None if p50 is None else float(p50) * 1e3,
                "latency_p95_ms": None if p95 is None else float(p95) * 1e3,
                "latency_p99_ms": None if p99 is None else float(p99) * 1e3,
                "chunks": self.chunks,
                "frames": self.frames,
                "streams": self.streams,
                "skipped_hops": self.skipped_hops,
                "failures": self.failures,
            }
