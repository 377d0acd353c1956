"""When frames came: latency, and which are missing, doubled, out of order, late or off the grid n / fps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.units import NS

GRID_TOLERANCE_S = 0.001
"""How far a stamp may lie off the grid n / fps before it is counted."""
OTHER_CLOCK_S = 60.0
"""Stamps this far from the time of arrival are of another clock: no latency can be told from them."""


@dataclass(frozen=True)
class Gap:
    """Frames that are missing in a row: from the last frame before (s after the first stamp), and how many."""

    start_s: float
    frames: int


@dataclass(frozen=True)
class Timing:
    """What the stamps and arrival times of a topic's frames tell.

    Only frames made from audio are judged. Frames that close a mouth or idle are counted in `unheard`: no audio asks
    for them, so none of them can be missing or late.
    """

    frames: int
    """Frames made from audio."""
    unheard: int
    """Closing and idle frames."""
    expected: int
    missing: int
    doubled: int
    extra: int
    """Frames outside of what was expected."""
    out_of_order: int
    off_grid: int
    late: int
    late_limit_s: float | None
    streams: int
    gaps: tuple[Gap, ...]
    at_end: int
    """Frames at the end of a stream, which wait for a pause instead of their look-ahead: not late, without latency."""
    latency: dict[str, float]
    other_clock: int
    """Frames whose arrival and stamp lie more than a minute apart: another clock, or one that was set meanwhile."""
    other_clock_offset_s: float | None
    """Arrival minus stamp of those frames, median; None where there are none."""

    def findings(self) -> dict[str, Any]:
        """For the report."""
        gaps = [{"start_s": gap.start_s, "frames": gap.frames} for gap in self.gaps]
        return {**self.__dict__, "gaps": gaps}

    def problems(self) -> list[str]:
        """What is wrong, in words; empty when every frame is there, once, in order, on the grid."""
        missing = f"{self.missing} of {self.expected} frames are missing"
        if self.gaps:
            places = ", ".join(f"{gap.frames} after {gap.start_s:.2f} s" for gap in self.gaps[:4])
            missing += f" ({places}{', ...' if len(self.gaps) > 4 else ''})"
        counted = (
            (self.missing, missing),
            (self.extra, f"{self.extra} frames are too many"),
            (self.doubled, f"{self.doubled} frames came twice"),
            (self.out_of_order, f"{self.out_of_order} frames are out of order"),
            (self.off_grid, f"{self.off_grid} frames are more than {GRID_TOLERANCE_S * 1000:g} ms off the grid"),
        )
        return [text for count, text in counted if count]


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
    *,
    kind: ArrayLike | None = None,
    line: tuple[int, int] | None = None,
    end_s: float = 0.0,
) -> Timing:
    """Judge frames in the order in which they arrived.

    Args:
        stamp_ns: (T,) audio time each frame shows.
        log_ns: (T,) when it arrived, on the same clock.
        sequence: (T,) frame numbers, -1 where the type has none.
        fps: of the grid.
        late_limit_s: frames that arrive later than this after their stamp count as late; None counts none.
        kind: (T,) what each frame is, see `FrameKind`; None: all are made from audio.
        line: stamp of the first sample and number of frames that the audio asks for; None: each stream of frames
            is expected from its first to its last.
        end_s: how much audio behind itself a frame waits for; there is none at the end of a stream.
    """
    spoken = np.ones(np.shape(stamp_ns), bool) if kind is None else np.asarray(kind) == FrameKind.SPEECH
    stamps, logs = np.asarray(stamp_ns, np.int64)[spoken], np.asarray(log_ns, np.int64)[spoken]
    numbers = np.asarray(sequence, np.int64)[spoken]
    parts = streams(stamps, numbers) if line is None else [slice(0, len(stamps))]
    expected = missing = doubled = extra = out_of_order = off_grid = 0
    gaps: list[Gap] = []
    at_end = np.zeros(len(stamps), bool)
    for part in parts:
        at_end[part] = stamps[part] > stamps[part].max(initial=0) - round(end_s * NS)
        origin = int(stamps[part].min()) if line is None else line[0]
        exact = (stamps[part] - origin) * fps / NS
        slots = np.rint(exact).astype(np.int64)
        there = np.unique(slots)
        count = int(there[-1]) + 1 if line is None else line[1]
        wanted = there[(there >= 0) & (there < count)]
        steps = np.diff(wanted, prepend=-1, append=count)
        offset_s = (origin - int(stamps[0])) / NS if line is None else 0.0
        for k in np.flatnonzero(steps > 1):
            before = max(int(wanted[k - 1]) if k else -1, 0)
            gaps.append(Gap(round(offset_s + before / fps, 6), int(steps[k]) - 1))
        expected += count
        missing += count - len(wanted)
        extra += len(there) - len(wanted)
        doubled += len(slots) - len(there)
        out_of_order += int((np.diff(slots) < 0).sum())
        off_grid += int((np.abs(exact - slots) / fps > GRID_TOLERANCE_S).sum())
    latency = (logs - stamps) / NS
    other = np.abs(latency) > OTHER_CLOCK_S
    judged = latency[~other & ~at_end]
    return Timing(
        frames=len(stamps),
        unheard=int((~spoken).sum()),
        expected=expected,
        missing=missing,
        doubled=doubled,
        extra=extra,
        out_of_order=out_of_order,
        off_grid=off_grid,
        late=0 if late_limit_s is None else int((judged > late_limit_s).sum()),
        late_limit_s=late_limit_s,
        streams=len(parts),
        gaps=tuple(gaps),
        at_end=int(at_end.sum()),
        latency=percentiles(judged),
        other_clock=int(other.sum()),
        other_clock_offset_s=float(np.median(latency[other])) if other.any() else None,
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
