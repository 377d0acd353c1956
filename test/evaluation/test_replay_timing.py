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
from emotalk_ros.motion.frame import FrameKind
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


def test_closing_and_idle_frames_are_neither_missing_nor_late() -> None:
    """As the node publishes them: 2 s after the audio broke off the mouth closes, then the face idles."""
    numbers = np.concatenate([np.arange(60), np.arange(135, 144), np.arange(300, 310)])
    stamps = np.array([round((5.0 + n / FPS) * NS) for n in numbers], np.int64)
    kind = np.repeat([FrameKind.SPEECH, FrameKind.CLOSING, FrameKind.IDLE], [60, 9, 10])
    logs = stamps + np.where(kind == FrameKind.SPEECH, NS // 5, 3 * NS)
    timing = frame_timing(stamps, logs, numbers, FPS, late_limit_s=0.25, kind=kind)
    assert (timing.frames, timing.unheard, timing.expected, timing.missing, timing.late) == (60, 19, 60, 0, 0)
    assert timing.latency["p99_s"] == pytest.approx(0.2) and timing.problems() == []


def test_the_end_of_a_stream_waits_for_a_pause_and_is_not_late() -> None:
    stamps = grid(60)
    logs = stamps + NS // 5
    logs[54:] = logs[-1] + NS // 2  # their look-ahead never came: the node sent them when no more audio came
    timing = frame_timing(stamps, logs, np.arange(60), FPS, late_limit_s=0.25, end_s=0.19)
    assert (timing.at_end, timing.late, timing.missing) == (6, 0, 0)
    assert timing.latency["max_s"] == pytest.approx(0.2)
    assert frame_timing(stamps, logs, np.arange(60), FPS, late_limit_s=0.25).late == 6


def test_no_latency_is_told_from_another_clock() -> None:
    stamps = grid(60)
    logs = stamps + NS // 5
    logs[40:] -= 1800 * NS  # the clock was set half an hour back while recording
    timing = frame_timing(stamps, logs, np.arange(60), FPS, late_limit_s=0.25)
    assert timing.latency["p50_s"] == pytest.approx(0.2) and timing.latency["min_s"] == pytest.approx(0.2)
    assert (timing.other_clock, timing.other_clock_offset_s, timing.late) == (20, pytest.approx(-1799.8), 0)
    elsewhere = frame_timing(stamps, stamps + 10**6 * NS, np.arange(60), FPS)
    assert elsewhere.latency == {} and elsewhere.other_clock == 60


def test_against_the_audio_missing_ends_and_frames_too_many_show() -> None:
    origin = int(grid(1)[0])
    keep = np.array([*range(3, 20), 22, 23, 30])
    timing = frame_timing(grid(31)[keep], grid(31)[keep], keep, FPS, line=(origin, 28))
    assert (timing.expected, timing.missing, timing.extra) == (28, 9, 1)
    assert [(gap.start_s, gap.frames) for gap in timing.gaps] == [
        (0.0, 3),
        (pytest.approx(19 / FPS, abs=1e-6), 2),
        (pytest.approx(23 / FPS, abs=1e-6), 4),
    ]
    assert timing.problems() == [
        "9 of 28 frames are missing (3 after 0.00 s, 2 after 0.63 s, 4 after 0.77 s)",
        "1 frames are too many",
    ]
    nothing = frame_timing([], [], [], FPS, line=(origin, 28))
    assert (nothing.expected, nothing.missing, nothing.gaps[0].frames) == (28, 28, 28)


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
