"""Where a stamped chunk belongs on the time line of the audio before it: in line, after a gap, doubled, or elsewhere.

Stamps say when the first sample was captured; the count of samples says how much audio there is. The two never agree
exactly. `StampTracker` decides, chunk by chunk, from both::

    stamp - expected end of the audio so far
    ------------------------------------------------------------------------------------------------
      < -max_gap           a jump back: a new time line begins           (see "two lines at once")
      < -tolerance         overlap: what is already there is dropped
      within +-tolerance   in line; a lasting offset is followed by slipping single samples
      > +tolerance         a gap: filled with silence
      > +max_gap           a gap too long to fill: a new time line begins (see "two lines at once")

**Drift.** A sound card's clock runs up to some 100 ppm off the stamps' clock. The offset is smoothed over about a
second, so that jitter cancels; once it passes `drift_start` it is worn down to `drift_stop` by stretching or shrinking
chunks by at most one sample in 128, which no ear and no network notices. Stamps of the output therefore stay true for
days, without a click and without a jump of the frame grid. Exact stamps are never touched.

**Two lines at once.** A jump is followed at once: a publisher that speaks after a pause must not wait. But when a chunk
then continues the line that was just left, two publishers share the topic. From then on the line in use keeps its
place, and another one takes over only after `takeover` seconds of its own audio with none of the first in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

NS = 1_000_000_000


@dataclass(frozen=True)
class TimelineSettings:
    """All in seconds: how far stamps may stray, and what counts as a gap."""

    max_gap: float = 2.0
    """Gaps up to here are filled with silence; longer ones start a new time line."""
    tolerance: float = 0.015
    """Stamps may jitter by this much around the sample count before a gap or overlap is seen."""
    drift_start: float = 0.003
    drift_stop: float = 0.0005
    smoothing: float = 1.0
    """Time constant over which the offset of the stamps is averaged."""
    takeover: float = 0.5
    """How long a second line must be alone before it takes over from a contested first one."""
    contest: float = 5.0
    """How long after the last sign of a second publisher the caution lasts."""

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < self.max_gap:
            raise ValueError(f"tolerance {self.tolerance} s must be above 0 and below max_gap ({self.max_gap} s)")
        if not 0 < self.drift_stop < self.drift_start <= self.tolerance:
            raise ValueError(
                f"drift_start {self.drift_start} s must lie above drift_stop ({self.drift_stop} s) "
                f"and not above tolerance ({self.tolerance} s)"
            )
        for name in ("smoothing", "takeover", "contest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} s: must be above 0")


class Verdict(Enum):
    """What to do with a chunk."""

    APPEND = "append"
    RESTART = "restart"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Placement:
    """What to do with a chunk, in samples of its own rate: skip `drop`, put `fill` zeros before, stretch by `slip`."""

    verdict: Verdict
    offset_ns: int = 0
    fill: int = 0
    drop: int = 0
    slip: int = 0


class StampTracker:
    """Keeps the expected end of the audio so far, and places each chunk against it."""

    def __init__(self, settings: TimelineSettings | None = None) -> None:
        self.settings = settings or TimelineSettings()
        self.clear()

    def clear(self) -> None:
        """Forget the time line; the next chunk starts one."""
        self._rate = 0
        self._anchor_ns = 0
        self._count = 0
        self._drift = 0.0
        self._following = False
        self._allowance = 0.0
        self._left_ns: int | None = None
        self._since_left = 0.0
        self._contested = 0.0
        self._rival_ns: int | None = None
        self._rival_seconds = 0.0

    @property
    def started(self) -> bool:
        """Whether there is a time line."""
        return self._rate > 0

    @property
    def end_ns(self) -> int:
        """Stamp at which the next sample is expected."""
        return self._anchor_ns + (self._count * NS) // self._rate if self._rate else self._anchor_ns

    @property
    def drift(self) -> float:
        """Smoothed offset of the stamps against the sample count, seconds; positive when stamps run ahead."""
        return self._drift

    def place(self, stamp_ns: int | None, count: int, rate: int) -> Placement:
        """Where `count` samples at `rate` Hz stamped `stamp_ns` (None: in line with what came before) belong."""
        seconds = count / rate
        if not self.started:
            self._restart(stamp_ns or 0, count, rate)
            return Placement(Verdict.RESTART)
        offset = 0 if stamp_ns is None else stamp_ns - self.end_ns
        begin = self.end_ns + offset
        if abs(offset) > self.settings.max_gap * NS:
            if self._may_jump(begin, seconds):
                self._left_ns, self._since_left = self.end_ns, 0.0
                self._restart(begin, count, rate)
                return Placement(Verdict.RESTART, offset)
            return Placement(Verdict.FOREIGN, offset)
        if stamp_ns is not None and offset + count * NS / rate < -self.settings.tolerance * NS:
            return self._doubled(begin, offset, count, rate)
        return self._append(offset, count, rate, stamp_ns is not None)

    def _restart(self, begin_ns: int, count: int, rate: int) -> None:
        self._anchor_ns, self._count, self._rate = begin_ns, count, rate
        self._drift, self._following, self._allowance = 0.0, False, 0.0
        self._rival_ns = None

    def _append(self, offset: int, count: int, rate: int, stamped: bool) -> Placement:
        if rate != self._rate:
            self._anchor_ns, self._count, self._rate = self.end_ns, 0, rate
        seconds = count / rate
        self._rival_ns = None
        self._contested = max(0.0, self._contested - seconds)
        self._since_left += seconds
        fill = drop = slip = 0
        if abs(offset) > self.settings.tolerance * NS:
            samples = round(offset * rate / NS)
            fill, drop = max(samples, 0), min(max(-samples, 0), count)
            self._drift, self._following = 0.0, False
        elif stamped:
            slip = self._follow(offset / NS, count, rate)
        self._count += fill + count - drop + slip
        return Placement(Verdict.APPEND, offset, fill, drop, slip)

    def _follow(self, offset: float, count: int, rate: int) -> int:
        """Samples to insert (or remove, negative) in this chunk to wear down a lasting offset."""
        weight = -math.expm1(-count / rate / self.settings.smoothing)
        self._drift += (offset - self._drift) * weight
        limit = self.settings.drift_stop if self._following else self.settings.drift_start
        self._following = abs(self._drift) > limit
        if not self._following:
            return 0
        self._allowance = min(self._allowance + count / 128, max(1.0, count / 128))
        slip = max(-int(self._allowance), min(int(self._allowance), round(self._drift * rate)))
        self._allowance -= abs(slip)
        self._drift -= slip / rate
        return slip

    def _may_jump(self, begin_ns: int, seconds: float) -> bool:
        settings = self.settings
        if self._left_ns is not None and self._since_left < settings.contest:
            returned = abs(begin_ns - self._left_ns) < 0.25 * NS
            if returned and not self._contested:
                self._contested = settings.contest
        if not self._contested:
            return True
        self._contested = settings.contest
        return self._rival_grown(begin_ns, seconds)

    def _rival_grown(self, begin_ns: int, seconds: float) -> bool:
        """Whether chunks apart from the time line have formed one of their own, and long enough."""
        near = self._rival_ns is not None and abs(begin_ns - self._rival_ns) <= self.settings.tolerance * NS
        self._rival_seconds = (self._rival_seconds if near else 0.0) + seconds
        self._rival_ns = begin_ns + round(seconds * NS)
        return self._rival_seconds > self.settings.takeover

    def _doubled(self, begin: int, offset: int, count: int, rate: int) -> Placement:
        """A chunk that lies wholly before the end: a duplicate, unless more and more of them show a jump back."""
        if self._rival_grown(begin, count / rate):
            self._left_ns, self._since_left = self.end_ns, 0.0
            self._restart(begin, count, rate)
            return Placement(Verdict.RESTART, offset)
        return Placement(Verdict.APPEND, offset, drop=count)
