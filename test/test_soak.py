"""How the soak counts: frames of what was published, in the order in which they came."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

NS = 1_000_000_000
CHUNK = 320


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", Path(__file__).resolve().parents[1] / "scripts" / "soak.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["soak"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def diary(begin_s, seconds, at_s):
    """Chunks of 20 ms published in real time."""
    return [(round((begin_s + k * 0.02) * NS), at_s + 0.02 * (k + 1), CHUNK) for k in range(round(seconds / 0.02))]


def grid(begin_s, count):
    return [round(begin_s * NS + k * NS / 30) for k in range(count)]


def count(soak, entries, stamps):
    found = soak.count_frames(soak.pieces_of(entries), stamps)
    return found.expected, found.seen, found.doubled, len(found.missing)


def test_every_frame_is_there(soak):
    assert count(soak, diary(100, 10, 0), grid(100, 300)) == (300, 300, 0, 0)


@pytest.mark.parametrize("lost", [slice(0, 1), slice(100, 103), slice(299, 300), slice(0, 300)])
def test_a_missing_frame_is_found_wherever_it_is(soak, lost):
    stamps = grid(100, 300)
    gone = len(stamps[lost])
    del stamps[lost]
    assert count(soak, diary(100, 10, 0), stamps) == (300, 300 - gone, 0, gone)


def test_the_time_of_a_loss_is_that_of_its_audio(soak):
    stamps = grid(100, 300)
    del stamps[150]
    missing = soak.count_frames(soak.pieces_of(diary(100, 10, 7)), stamps).missing
    assert missing == pytest.approx([7 + 5.02], abs=0.03)


def test_a_doubled_frame_is_found(soak):
    assert count(soak, diary(100, 10, 0), grid(100, 51) + grid(100, 300)[50:]) == (300, 301, 1, 0)


def test_a_clock_set_back_makes_another_piece(soak):
    entries = diary(100, 10, 0) + diary(109, 2, 10) + diary(5000, 1, 12) + diary(20, 1, 13)
    stamps = grid(100, 300) + grid(109, 60) + grid(5000, 30) + grid(20, 30)
    assert count(soak, entries, stamps) == (420, 420, 0, 0)
    del stamps[310:315]
    assert count(soak, entries, stamps) == (420, 415, 0, 5)


def test_where_a_stream_ends_and_the_next_begins_no_frame_is_lost(soak):
    """The grid begins anew in the middle of a piece, as after a pause of the publisher."""
    stamps = grid(100, 137) + grid(104.56, 164)
    assert count(soak, diary(100, 10, 0), stamps)[2:] == (0, 0)


def test_memory_is_told_without_the_beginning(soak):
    at = np.arange(0.0, 3600.0, 10.0)
    size = 500 + 40 * (1 - np.exp(-at / 100)) + 3 * at / 3600
    start, end, slope = soak.Memory(list(zip(at, size, strict=True))).summary()
    assert (
        start == pytest.approx(541, abs=1) and end == pytest.approx(543, abs=1) and slope == pytest.approx(3, abs=0.2)
    )


def test_all_faults_can_be_chosen(soak):
    assert {"publisher_killed", "node_stopped", "clock_back", "burst", "disk_full", "model_swapped"} <= set(soak.FAULTS)
    assert not {"run", "figures"} & set(soak.FAULTS)
