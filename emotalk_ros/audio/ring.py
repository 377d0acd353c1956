"""A ring buffer addressed by absolute sample index, so that nobody has to keep offsets in step."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emotalk_ros.audio.pcm import Samples


class RingBuffer:
    """The last `capacity` samples of a stream; sample k of the stream is read as index k for as long as it is kept."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity of {capacity} samples: a ring buffer holds at least one")
        self._data: Samples = np.zeros(capacity, dtype=np.float32)
        self._end = 0

    @property
    def capacity(self) -> int:
        """How many samples are kept."""
        return len(self._data)

    @property
    def end(self) -> int:
        """Index one past the newest sample: the number of samples ever appended."""
        return self._end

    @property
    def start(self) -> int:
        """Index of the oldest sample still kept."""
        return max(0, self._end - len(self._data))

    def clear(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._end = 0

    def append(self, samples: Samples) -> None:
        """Add samples (n,) at the end; the oldest give way."""
        count, capacity = len(samples), len(self._data)
        skip = max(0, count - capacity)  # what would be overwritten within this very call
        tail = samples[skip:]
        at = (self._end + skip) % capacity
        first = min(len(tail), capacity - at)
        self._data[at : at + first] = tail[:first]
        self._data[: len(tail) - first] = tail[first:]
        self._end += count

    def read(self, start: int, stop: int) -> Samples:
        """A copy of samples start..stop-1. Raises IndexError when some are not there yet or no longer."""
        if not self.start <= start <= stop <= self._end:
            raise IndexError(f"samples {start} to {stop} are not within {self.start} to {self._end}")
        capacity, count = len(self._data), stop - start
        at = start % capacity
        first = min(count, capacity - at)
        out = np.empty(count, dtype=np.float32)
        out[:first] = self._data[at : at + first]
        out[first:] = self._data[: count - first]
        return out

    def windows(self, starts: NDArray[np.intp], length: int) -> Samples:
        """(n, length) samples from each of the rising `starts` on; silence before the first and after the newest one.

        Raises IndexError when some are no longer there.
        """
        begin, end = int(starts[0]), int(starts[-1]) + length
        first = min(max(begin, 0), self._end)
        there = self.read(first, max(first, min(end, self._end)))
        padded = np.zeros(end - begin, dtype=np.float32)
        padded[first - begin : first - begin + len(there)] = there
        return sliding_window_view(padded, length)[starts - begin]
