"""Timing of frames, on hand-made stamps."""

from __future__ import annotations

import numpy as np
import pytest

from emotalk_ros.evaluation.replay_timing import (
    frame_timing,
    interpolate_at,
    nearest_frames,
    percentiles,
    streams,
)
from emotalk_ros.units import NS

FPS = 30.0


def grid(count: int, start_s: float = 5.0) -> np.ndarray:
    return np.array([round((start_s + n / FPS) * NS) for n in range(count)], np.int64)


def test_whole_stream() -> None:
    stamps = grid(90)
    timing = frame_timing(stamps, stamps + NS // 5, np.arange(90), FPS, late_limit_s=0.25)
    assert (timing.frames, timing.expected, timing.missing, timing.doubled, timing.out_of_order) == (90, 90, 0, 0, 0)
    assert (timing.off_grid, timing.late, timing.streams, timing.gaps) == (0, 0, 1, ())
    assert timing.latency["p95_s"] == pytest.approx(0.2)


def test_missing_doubled_late_and_off_grid_are_counted_apart() -> None:
    keep = np.array([0, 1, 2, 2, 5, 6, 7, 9])  # 2 doubled; 3, 4 and 8 missing
    stamps = grid(10)[keep].copy()
    stamps[4] += 2_000_000  # 2 ms off the grid
    logs = stamps + NS // 10
    logs[-1] += NS
    timing = frame_timing(stamps, logs, keep, FPS, late_limit_s=0.5)
    assert (timing.missing, timing.doubled, timing.off_grid, timing.late) == (3, 1, 1, 1)
    assert timing.expected == 10
    assert [(gap.frames, gap.start_s) for gap in timing.gaps] == [
        (2, pytest.approx(2 / FPS, abs=1e-6)),
        (1, pytest.approx(7 / FPS, abs=1e-6)),
    ]


def test_a_swapped_pair_is_out_of_order_and_a_restart_is_a_new_stream() -> None:
    order = np.array([0, 2, 1, 3])
    timing = frame_timing(grid(4)[order], grid(4)[order], order, FPS)
    assert (timing.out_of_order, timing.missing, timing.streams) == (1, 0, 1)
    stamps = np.concatenate([grid(10), grid(10, start_s=60.0)])
    numbers = np.concatenate([np.arange(10), np.arange(10)])
    timing = frame_timing(stamps, stamps, numbers, FPS)
    assert (timing.streams, timing.missing, timing.expected) == (2, 0, 20)


def test_streams_without_sequence_numbers_split_at_a_jump_back() -> None:
    stamps = np.concatenate([grid(5, 100.0), grid(5, 0.0)])
    assert streams(stamps, np.full(10, -1)) == [slice(0, 5), slice(5, 10)]


def test_percentiles_of_nothing_and_of_known_values() -> None:
    assert percentiles([]) == {}
    assert percentiles(np.arange(101) / 100)["p95_s"] == pytest.approx(0.95)


def test_interpolation_is_linear_and_refuses_gaps_and_outside() -> None:
    track = np.array([0, 100, 200, 1200], np.int64) * 1_000_000
    values = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    wanted = np.array([-10, 0, 50, 150, 200, 700, 1200, 1300]) * 1_000_000
    matched = interpolate_at(wanted, track, values, max_gap_s=0.5)
    assert matched.valid.tolist() == [False, True, True, True, True, False, True, False]
    assert matched.values[matched.valid, 0] == pytest.approx([0.0, 0.5, 2.0, 3.0, 7.0])


def test_interpolation_in_a_single_frame() -> None:
    matched = interpolate_at(np.array([0, 5]), np.array([0]), np.ones((1, 2), np.float32))
    assert matched.valid.tolist() == [True, False]


def test_nearest_pairs_within_tolerance() -> None:
    first, second = nearest_frames(np.array([0, 10, 25]) * NS, np.array([1, 24, 40]) * NS, tolerance_s=1.5)
    assert (first.tolist(), second.tolist()) == ([0, 2], [0, 1])
