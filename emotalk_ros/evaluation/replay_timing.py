"""When frames came: latency, and which are missing, doubled, out of order, late or off the grid n / fps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.units import NS

GRID_TOLERANCE_S = 0.001
"""How far a stamp may lie off the grid n / fps before it is counted."""


@dataclass(frozen=True)
class Gap:
    """Frames that are missing in a row: from the last frame before (s after the first stamp), and how many."""

    start_s: float
    frames: int


@dataclass(frozen=True)
class Timing:
    """What the stamps and arrival times of a topic's frames tell. `expected` = distinct frames + missing ones."""

    frames: int
    expected: int
    missing: int
    doubled: int
    out_of_order: int
    off_grid: int
    late: int
    late_limit_s: float | None
    streams: int
    gaps: tuple[Gap, ...]
    latency: dict[str, float]

    def findings(self) -> dict[str, Any]:
        """For the report."""
        gaps = [{"start_s": gap.start_s, "frames": gap.frames} for gap in self.gaps]
        return {**self.__dict__, "gaps": gaps}


def percentiles(seconds: ArrayLike) -> dict[str, float]:
    """p50, p95, p99, mean, min and max of latencies in seconds; empty for none."""
    values = np.asarray(seconds, np.float64)
    if not values.size:
        return {}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "p50_s": float(p50),
        "p95_s": float(p95),
        "p99_s": float(p99),
        "mean_s": float(values.mean()),
        "min_s": float(values.min()),
        "max_s": float(values.max()),
    }


def streams(stamp_ns: NDArray[np.int64], sequence: NDArray[np.int64]) -> list[slice]:
    """Where one stream of frames ends and the next begins, in order of arrival.

    A new stream: the sequence number falls back while the stamp goes on or jumps back by more than a second. (A smaller
    step back of both is a frame out of order.) Without sequence numbers (-1) only such a jump of the stamps tells.
    """
    stamps, numbers = np.asarray(stamp_ns, np.int64), np.asarray(sequence, np.int64)
    step = np.diff(stamps)
    far_back = step < -NS
    fell = (np.diff(numbers) < 0) & ((step > 0) | far_back)
    starts = np.flatnonzero(np.where(numbers[1:] < 0, far_back, fell)) + 1
    edges = [0, *starts.tolist(), len(stamps)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def frame_timing(
    stamp_ns: ArrayLike,
    log_ns: ArrayLike,
    sequence: ArrayLike,
    fps: float,
    late_limit_s: float | None = None,
) -> Timing:
    """Judge frames in the order in which they arrived.

    Args:
        stamp_ns: (T,) audio time each frame shows.
        log_ns: (T,) when it arrived, on the same clock.
        sequence: (T,) frame numbers, -1 where the type has none.
        fps: of the grid.
        late_limit_s: frames that arrive later than this after their stamp count as late; None counts none.
    """
    stamps, logs = np.asarray(stamp_ns, np.int64), np.asarray(log_ns, np.int64)
    numbers = np.asarray(sequence, np.int64)
    missing = doubled = out_of_order = off_grid = distinct = 0
    gaps: list[Gap] = []
    parts = streams(stamps, numbers)
    for part in parts:
        origin = int(stamps[part].min())
        exact = (stamps[part] - origin) * fps / NS
        slots = np.rint(exact).astype(np.int64)
        unique = np.unique(slots)
        steps = np.diff(unique)
        offset_s = (origin - int(stamps[0])) / NS
        gaps += [Gap(round(offset_s + float(unique[k]) / fps, 6), int(steps[k]) - 1) for k in np.flatnonzero(steps > 1)]
        missing += int((steps - 1).sum())
        distinct += len(unique)
        doubled += len(slots) - len(unique)
        out_of_order += int((np.diff(slots) < 0).sum())
        off_grid += int((np.abs(exact - slots) / fps > GRID_TOLERANCE_S).sum())
    latency = (logs - stamps) / NS
    late = 0 if late_limit_s is None else int((latency > late_limit_s).sum())
    return Timing(
        frames=len(stamps),
        expected=distinct + missing,
        missing=missing,
        doubled=doubled,
        out_of_order=out_of_order,
        off_grid=off_grid,
        late=late,
        late_limit_s=late_limit_s,
        streams=len(parts),
        gaps=tuple(gaps),
        latency=percentiles(latency),
    )


@dataclass(frozen=True)
class Matched:
    """Values of one track at the stamps of another: (T, K) rows and which of them are valid (T,)."""

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


def interpolate_at(
    stamp_ns: ArrayLike, track_ns: NDArray[np.int64], values: NDArray[np.float32], max_gap_s: float = 0.1
) -> Matched:
    """Linear interpolation of a track (sorted, unique stamps) at `stamp_ns`.

    Not valid: outside of the track, or between two of its frames that lie more than `max_gap_s` apart.
    """
    wanted = np.asarray(stamp_ns, np.int64)
    origin = int(track_ns[0])
    x, grid = (wanted - origin) / NS, (track_ns - origin) / NS
    right = np.clip(np.searchsorted(track_ns, wanted), 1, max(len(track_ns) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(track_ns) - 1)
    span = grid[right] - grid[left]
    share = np.clip(np.divide(x - grid[left], span, out=np.zeros_like(x), where=span > 0), 0, 1)[:, None]
    mixed = values[left] * (1 - share) + values[right] * share
    on_frame = np.isin(wanted, track_ns)
    inside = (x >= -1e-9) & (x <= grid[-1] + 1e-9) & (span <= max_gap_s)
    return Matched(mixed.astype(np.float32), inside | on_frame)


def nearest_frames(
    stamp_ns: ArrayLike, track_ns: NDArray[np.int64], tolerance_s: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (i, j) of equal stamps within `tolerance_s`: indices into both; each of `stamp_ns` at most once."""
    wanted = np.asarray(stamp_ns, np.int64)
    right = np.clip(np.searchsorted(track_ns, wanted), 0, len(track_ns) - 1)
    left = np.maximum(right - 1, 0)
    closer = np.where(np.abs(track_ns[left] - wanted) <= np.abs(track_ns[right] - wanted), left, right)
    near = np.abs(track_ns[closer] - wanted) <= tolerance_s * NS
    return np.flatnonzero(near), closer[near]


def state_of(value: float | None, good: float, warn: float) -> str:
    """ "good" up to `good`, "warn" up to `warn`, else "bad"; "" when unknown. Absolute values are compared."""
    if value is None or not math.isfinite(value):
        return ""
    return "good" if abs(value) <= good else "warn" if abs(value) <= warn else "bad"
