"""Whether the lips move with the speech: correlation of the gap, lag, and closures at b, p and m."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.corpus.arpabet import BILABIALS, is_silence

Phone = tuple[str, float, float]
"""An ARPAbet phone, its start and its end in seconds of the clip."""

CLOSED_PERCENTILE = 20.0
"""Lips count as closed when their gap is among the clip's (or its speech's) smallest 20 %."""

MOVES_MM = 1e-3
"""A gap whose range over a clip is below this does not move, so it closes at nothing."""


class Lag(NamedTuple):
    """The shift at which two signals agree best; positive: the prediction comes after the reference."""

    frames: int
    seconds: float
    correlation: float


class Closure(NamedTuple):
    """How many of a clip's b, p and m are closed."""

    closed: int
    total: int

    @property
    def rate(self) -> float:
        """Share of closed ones, NaN where there are none."""
        return self.closed / self.total if self.total else math.nan


def _signal(values: ArrayLike) -> NDArray[np.float64]:
    signal = np.asarray(values, dtype=np.float64)
    if signal.ndim != 1:
        raise ValueError(f"expected one value a frame, got the shape {signal.shape}")
    return signal


def correlation(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Pearson's correlation of two signals over frames; NaN when either is constant or shorter than two frames."""
    a, b = _signal(prediction), _signal(reference)
    if len(a) != len(b):
        raise ValueError(f"prediction has {len(a)} frames, reference {len(b)}")
    if len(a) < 2:
        return math.nan
    # A constant that went through float32 is constant still: the noise of its last digits correlates with nothing.
    moving = all(float(np.ptp(s)) > 1e-5 * max(1.0, float(np.abs(s).max())) for s in (a, b))
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if moving and scale > 1e-12 else math.nan


def best_lag(prediction: ArrayLike, reference: ArrayLike, fps: float, max_lag: float = 0.3) -> Lag:
    """The shift of at most `max_lag` seconds that maximises the correlation of the overlapping parts.

    Of equal ones the smallest shift wins. A constant signal has no lag: 0 frames, correlation NaN. At least half of
    the clip must overlap.
    """
    a, b = _signal(prediction), _signal(reference)
    if len(a) != len(b):
        raise ValueError(f"prediction has {len(a)} frames, reference {len(b)}")
    reach = min(round(max_lag * fps), len(a) // 2)
    best = Lag(0, 0.0, correlation(a, b))
    for shift in sorted(range(-reach, reach + 1), key=abs):
        value = correlation(a[max(shift, 0) : len(a) + min(shift, 0)], b[max(-shift, 0) : len(b) - max(shift, 0)])
        if value > best.correlation + 1e-12 or (math.isnan(best.correlation) and not math.isnan(value)):
            best = Lag(shift, shift / fps, value)
    return best


def bilabial_closure(
    gap: ArrayLike,
    fps: float,
    phones: Iterable[Phone],
    percentile: float = CLOSED_PERCENTILE,
    at_centre: bool = False,
    threshold: float | None = None,
    speech_only: bool = False,
) -> Closure:
    """At how many b, p and m the lips close.

    A phone is closed when the smallest gap among the frames stamped within [start - 1/fps, end + 1/fps] is at or
    below the clip's own `percentile` of the gap (frame n is stamped n/fps). Being relative to the clip, the measure
    works for a small and a large mouth. `speech_only` takes the percentile from the first to the last phone that is no
    silence: in a long silence the lips rest and set a mark that real lips do not reach at b, p and m. `at_centre` is
    stricter: the frame nearest to the phone's centre must be closed. `threshold` (in the gap's unit) replaces the
    percentile. A gap that never moves closes at nothing; phones without a frame in the clip are not counted.
    """
    signal = _signal(gap)
    listed = list(phones)
    if len(signal) == 0:
        return Closure(0, 0)
    speech = _speech(signal, fps, listed) if speech_only else signal
    limit = float(np.percentile(speech, percentile)) if threshold is None else threshold
    moves = threshold is not None or float(np.ptp(speech)) > MOVES_MM
    closed = total = 0
    for name, start, end in listed:
        if name.rstrip("012").upper() not in BILABIALS:
            continue
        if at_centre:
            first = last = math.floor((start + end) / 2 * fps + 0.5)
        else:
            # A tolerance of a thousandth of a frame, so that exact multiples of 1/fps are within.
            first, last = math.ceil(start * fps - 1 - 1e-3), math.floor(end * fps + 1 + 1e-3)
        part = signal[max(first, 0) : max(last + 1, 0)]
        if len(part) == 0:
            continue
        total += 1
        closed += int(moves and bool(part.min() <= limit))
    return Closure(closed, total)


def _speech(signal: NDArray[np.float64], fps: float, phones: list[Phone]) -> NDArray[np.float64]:
    """The frames from the first to the last phone that is no silence; all where there is none."""
    spoken = [(start, end) for name, start, end in phones if not is_silence(name)]
    if not spoken:
        return signal
    first = max(0, math.ceil(min(start for start, _ in spoken) * fps - 1e-3))
    last = math.floor(max(end for _, end in spoken) * fps + 1e-3)
    part = signal[first : last + 1]
    return part if len(part) else signal
