"""The ring buffer addressed by absolute index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotalk_ros.audio import RingBuffer


@given(capacity=st.integers(1, 20), sizes=st.lists(st.integers(0, 50), max_size=12))
def test_it_always_holds_the_newest_samples_at_their_own_index(capacity, sizes):
    ring, total = RingBuffer(capacity), 0
    for size in sizes:
        ring.append(np.arange(total, total + size, dtype=np.float32))
        total += size
        assert (ring.start, ring.end) == (max(0, total - capacity), total)
        np.testing.assert_array_equal(ring.read(ring.start, ring.end), np.arange(ring.start, total))


def test_what_is_gone_or_to_come_cannot_be_read():
    ring = RingBuffer(4)
    ring.append(np.arange(6, dtype=np.float32))
    for start, stop in ((1, 3), (4, 7), (5, 4)):
        with pytest.raises(IndexError, match="not within 2 to 6"):
            ring.read(start, stop)
    ring.clear()
    assert (ring.start, ring.end) == (0, 0)
    with pytest.raises(ValueError, match="0 samples"):
        RingBuffer(0)
