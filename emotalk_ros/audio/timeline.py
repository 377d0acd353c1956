"""Where a stamped chunk belongs on the time line of the audio before it: in line, after a gap, doubled, or elsewhere.

Stamps say when the first sample was captured; the count of samples says how much audio there is. The two never agree
exactly. `StampTracker` decides, chunk by chunk, from both::

    stamp - expected end of the audio so far
    ------------------------------------------------------------------------------------------------
      < -max_gap           a jump back: a new time line begins           (see "two lines at once")
      < -tolerance         overlap: what is already there is dropped     (but see "late stamps")
      within +-tolerance   in line; a lasting offset is followed by slipping single samples
      > +tolerance         a gap: filled with silence
      > +max_gap           a gap too long to fill: a new time line begins (see "two lines at once")

**Drift.** A sound card's clock runs up to some 100 ppm off the stamps' clock. Offsets are watched over `window`; once
all of them lie more than `drift_start` to one side, they are worn down to `drift_stop` by stretching or shrinking
chunks by at most one sample in 128, which no ear and no network notices. Stamps of the output therefore stay true for
days, without a click and without a jump of the frame grid. Jitter around the line, and exact stamps, are left alone.

**Late stamps.** Many publishers stamp at the time of publishing, and sound cards deliver in bursts: of three chunks at
once the second and third seem to come too early, though their audio is new. So what seems to overlap is compared with
what is there, and new audio is kept, as long as no more than `max_jitter` of it runs ahead of the stamps.

**Sent ahead.** A speech synthesiser that sends a sentence within half a second and stamps each chunk with the time of
sending runs further ahead. With `stamps` "auto" it is recognised (`_Rush`): by a chunk that would end after it arrived,
which no captured one does, or by stamps of which hardly any continues an earlier chunk, as those of several publishers
do. From then on the line counts as one stream that is played at its own rate: stamps only tell of its pauses.

**Two lines at once.** A jump is followed at once: a publisher that speaks after a pause must not wait. But when a chunk
then continues the line that was just left, two publishers share the topic. From then on the line in use keeps its
place, and another one takes over only after `takeover` seconds of its own audio with none of the first in between.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from emotalk_ros.units import NS

STAMPS = ("auto", "capture", "publish", "none")
"""What stamps are good for. capture: they place every chunk. publish: they are times of sending: a chunk that comes
early follows the one before it, and stamps tell of the beginning and of pauses. none: only the beginning and pauses
longer than `max_gap`. auto: capture, and publish from the moment on at which sound comes faster than its stamps allow.
"""


@dataclass(frozen=True)
class TimelineSettings:
    """All in seconds: how far stamps may stray, and what counts as a gap."""

    max_gap: float = 2.0
    """Gaps up to here are filled with silence; longer ones start a new time line."""
    tolerance: float = 0.015
    """Stamps may jitter by this much around the sample count before a gap or overlap is seen."""
    max_jitter: float = 0.25
    """How much new audio may run ahead of its stamps before it is dropped as another publisher's."""
    drift_start: float = 0.003
    drift_stop: float = 0.0005
    window: float = 2.0
    """Offsets of the stamps are watched over this time before they are followed."""
    takeover: float = 0.5
    """How long a second line must be alone before it takes over from a contested first one."""
    contest: float = 5.0
    """How long after the last sign of a second publisher the caution lasts."""
    stamps: str = "auto"
    """One of `STAMPS`."""

    def __post_init__(self) -> None:
        if self.stamps not in STAMPS:
            raise ValueError(f"stamps {self.stamps!r}: use one of {', '.join(STAMPS)}")
        if not 0 < self.tolerance < self.max_gap:
            raise ValueError(f"tolerance {self.tolerance} s must be above 0 and below max_gap ({self.max_gap} s)")
        if not 0 < self.drift_stop < self.drift_start <= self.tolerance:
            raise ValueError(
                f"drift_start {self.drift_start} s must lie above drift_stop ({self.drift_stop} s) "
                f"and not above tolerance ({self.tolerance} s)"
            )
        for name in ("window", "takeover", "contest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} s: must be above 0")
        if self.max_jitter < 0:
            raise ValueError(f"max_jitter {self.max_jitter} s: must not be negative")


_NOTES = 24
"""Chunks whose stamps are looked at together."""
_SURE = 0.004
"""Seconds by which a chunk must end after its arrival: clocks of one machine agree to less."""


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
    late_stamp: bool = False
    """Kept although its stamp lies before the end: the audio was new."""
    sent_ahead: bool = False
    """With this chunk it was recognised that sound comes faster than its stamps allow."""


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
        self._begin_ns = 0
        self._crowded = 0.0
        self._drift = _Drift(self.settings)
        self._rivals = _Rivals(self.settings)
        self._rush = _Rush(self.settings)

    @property
    def started(self) -> bool:
        """Whether there is a time line."""
        return self._rate > 0

    @property
    def end_ns(self) -> int:
        """Stamp at which the next sample is expected."""
        return self._anchor_ns + (self._count * NS) // self._rate if self._rate else self._anchor_ns

    def place(
        self,
        stamp_ns: int | None,
        count: int,
        rate: int,
        repeats: Callable[[int], bool | None] = lambda early: True,
        arrival_ns: int = 0,
    ) -> Placement:
        """Where a chunk belongs.

        Args:
            stamp_ns: of its first sample; None: in line with what came before.
            count: samples per channel.
            rate: Hz.
            repeats: asked with a number of samples: does the chunk begin with what the line's last ones hold? None:
                both are silent, which tells nothing.
            arrival_ns: when the chunk came in, on the clock of the stamps; 0: unknown.
        """
        if not self.started:
            self._restart(stamp_ns or 0, count, rate)
            self._rush.note(stamp_ns, count / rate, arrival_ns)
            return Placement(Verdict.RESTART)
        self._rush.note(stamp_ns, count / rate, arrival_ns)
        offset = 0 if stamp_ns is None else stamp_ns - self.end_ns
        if self.settings.stamps == "none" and offset <= self.settings.max_gap * NS:
            stamp_ns, offset = None, 0
        if stamp_ns is not None and self._sent_ahead and self._in_line(stamp_ns, offset):
            return self._ahead(offset, count, rate)
        if abs(offset) > self.settings.max_gap * NS:
            if self._rivals.may_take_over(self.end_ns, self.end_ns + offset, count / rate):
                self._restart(self.end_ns + offset, count, rate)
                return Placement(Verdict.RESTART, offset)
            return Placement(Verdict.FOREIGN, offset)
        if offset < -self.settings.tolerance * NS:
            return self._early(offset, count, rate, repeats)
        return self._append(offset, count, rate, stamp_ns is not None)

    @property
    def _sent_ahead(self) -> bool:
        return self.settings.stamps == "publish" or self._rush.found

    def _in_line(self, stamp_ns: int, offset: int) -> bool:
        """Whether a chunk that was stamped when it was sent follows without a pause, and without a jump back."""
        newest = stamp_ns - self._begin_ns
        return offset <= self.settings.max_jitter * NS and newest >= -self.settings.max_gap * NS

    def _ahead(self, offset: int, count: int, rate: int, found: bool = False) -> Placement:
        """A chunk that was stamped when it was sent, in line; a lasting delay of the stamps is followed."""
        if offset < 0:
            self._drift.clear()
        placed = self._append(offset, count, rate, stamped=offset >= 0, late=True)
        return replace(placed, late_stamp=False, sent_ahead=found)

    def _restart(self, begin_ns: int, count: int, rate: int) -> None:
        self._anchor_ns, self._count, self._rate = begin_ns, count, rate
        self._begin_ns, self._crowded = begin_ns, 0.0
        self._drift.clear()
        self._rivals.dismiss()
        self._rush.clear()

    def _append(self, offset: int, count: int, rate: int, stamped: bool, late: bool = False) -> Placement:
        if rate != self._rate:
            self._anchor_ns, self._count, self._rate = self.end_ns, 0, rate
        self._begin_ns = max(self._begin_ns, self.end_ns + offset)
        self._rivals.in_line(count / rate)
        if not late:
            self._crowded = max(0.0, self._crowded - count / rate)
        fill = drop = slip = 0
        if abs(offset) > self.settings.tolerance * NS and not late:
            samples = round(offset * rate / NS)
            fill, drop = max(samples, 0), min(max(-samples, 0), count)
            self._drift.clear()
            if fill:
                self._rush.filled(offset)
        elif stamped:
            slip = self._drift.follow(offset / NS, count, rate)
        self._count += fill + count - drop + slip
        return Placement(Verdict.APPEND, offset, fill, drop, slip, late)

    def _early(self, offset: int, count: int, rate: int, repeats: Callable[[int], bool | None]) -> Placement:
        """A chunk stamped before the end: late stamps on new audio, a duplicate, or a jump back in the making."""
        if self.end_ns + offset >= self._begin_ns:
            repeated = repeats(round(-offset * rate / NS))
            if repeated is None:  # a duplicate, unless it cannot have been captured when its stamp says
                repeated = not self._rush.impossible
            if not repeated:
                if -offset <= self.settings.max_jitter * NS and not self._crowded:
                    return self._append(offset, count, rate, True, late=True)
                if self._rush.recognised(offset):
                    return self._ahead(offset, count, rate, found=True)
                self._crowded = self.settings.contest
        if offset + count * NS / rate >= -self.settings.tolerance * NS:
            return self._append(offset, count, rate, True)
        begin = self.end_ns + offset
        if self._rivals.grown(begin, count / rate):
            self._rivals.leave(self.end_ns)
            self._restart(begin, count, rate)
            return Placement(Verdict.RESTART, offset)
        return Placement(Verdict.APPEND, offset, drop=count)


class _Drift:
    """Follows a lasting offset of the stamps by slipping samples."""

    def __init__(self, settings: TimelineSettings) -> None:
        self._settings = settings
        self.clear()

    def clear(self) -> None:
        self._low, self._high = math.inf, -math.inf  # of the half window under way
        self._low_before, self._high_before = -math.inf, math.inf  # of the one before; unknown yet
        self._seconds = 0.0
        self._following = False
        self._allowance = 0.0

    def follow(self, offset: float, count: int, rate: int) -> int:
        """Samples to insert (or remove, negative) in a chunk of `count` samples whose stamp is off by `offset` s."""
        self._low, self._high = min(self._low, offset), max(self._high, offset)
        self._seconds += count / rate
        if self._seconds >= self._settings.window / 2:
            self._low_before, self._high_before = self._low, self._high
            self._low, self._high, self._seconds = math.inf, -math.inf, 0.0
        low, high = min(self._low, self._low_before), max(self._high, self._high_before)
        lasting = low if low > 0 else min(high, 0.0)
        limit = self._settings.drift_stop if self._following else self._settings.drift_start
        self._following = abs(lasting) > limit
        if not self._following:
            return 0
        self._allowance = min(self._allowance + count / 128, max(1.0, count / 128))
        most = int(self._allowance)
        slip = max(-most, min(most, round(lasting * rate)))
        self._allowance -= abs(slip)
        self._low, self._high = self._low - slip / rate, self._high - slip / rate
        self._low_before, self._high_before = self._low_before - slip / rate, self._high_before - slip / rate
        return slip


class _Rush:
    """Whether sound comes faster than its stamps allow: one stream, stamped with the time of sending.

    Only asked about chunks that bring new audio although their stamps lie before the end of what is there. Several
    publishers of live sound bring such chunks too; but theirs are over when they arrive, and each of them begins where
    an earlier one of the same publisher ended.
    """

    def __init__(self, settings: TimelineSettings) -> None:
        self._settings = settings
        self.clear()

    def clear(self) -> None:
        """Another line begins."""
        self.found = False
        self._notes: deque[tuple[int, float]] = deque(maxlen=_NOTES)  # stamp, seconds
        self._impossible = False
        self._filled_ns, self._since_filled = 0, math.inf

    @property
    def impossible(self) -> bool:
        """Whether the chunk noted last would have ended after it arrived."""
        return self._impossible

    def note(self, stamp_ns: int | None, seconds: float, arrival_ns: int) -> None:
        """A chunk came."""
        self._since_filled += seconds
        if stamp_ns is None:
            self._impossible = False
            return
        self._notes.append((stamp_ns, seconds))
        ahead = stamp_ns / NS + seconds - arrival_ns / NS
        self._impossible = arrival_ns > 0 and ahead > max(_SURE, 0.3 * seconds)

    def filled(self, nanoseconds: int) -> None:
        """A gap was filled: chunks that were only held up come early afterwards, and are no rush."""
        self._filled_ns, self._since_filled = nanoseconds, 0.0

    def recognised(self, offset: int) -> bool:
        """Whether the chunk noted last, `offset` ns before the end, shows a rush; it stays `found` for this line."""
        if self._settings.stamps != "auto":
            return False
        held_up = self._since_filled < 2.0 and -offset <= self._filled_ns + self._settings.tolerance * NS
        self.found = not held_up and (self._impossible or self._many_lines())
        return self.found

    def _many_lines(self) -> bool:
        """Whether the stamps would need more publishers than share a topic by mistake: more than three."""
        ends: list[float] = []
        begin = self._notes[0][0]
        stamps = [stamp for stamp, _ in self._notes]
        span = (max(stamps) - min(stamps)) / NS + self._notes[-1][1]
        rate = sum(seconds for _, seconds in self._notes) / max(span, 1e-6)
        for stamp_ns, seconds in self._notes:
            stamp = (stamp_ns - begin) / NS
            errors = [abs(stamp - end) for end in ends]
            if errors and min(errors) <= self._settings.tolerance:
                ends[errors.index(min(errors))] = stamp + seconds
            else:
                ends.append(stamp + seconds)
        return len(ends) > 3 and (rate > 3.5 or 2 * len(ends) > len(self._notes))


class _Rivals:
    """Whether audio apart from the time line may take its place."""

    def __init__(self, settings: TimelineSettings) -> None:
        self._settings = settings
        self._left_ns: int | None = None
        self._since_left = 0.0
        self._contested = 0.0
        self._end_ns: int | None = None
        self._seconds = 0.0

    def in_line(self, seconds: float) -> None:
        """A chunk of the line in use came: rivals begin again."""
        self.dismiss()
        self._contested = max(0.0, self._contested - seconds)
        self._since_left += seconds

    def dismiss(self) -> None:
        """Forget the rival."""
        self._end_ns = None

    def leave(self, end_ns: int) -> None:
        """The line that ended here was left for another."""
        self._left_ns, self._since_left = end_ns, 0.0

    def may_take_over(self, end_ns: int, begin_ns: int, seconds: float) -> bool:
        """Whether a chunk far from the line's end may begin another; if so, the line is left."""
        settings = self._settings
        lately = self._left_ns is not None and self._since_left < settings.contest and not self._contested
        if lately and abs(begin_ns - (self._left_ns or 0)) < 0.25 * NS:
            # The line just left goes on: another publisher interleaved.
            self._contested = settings.contest
            self.leave(end_ns)
            return True
        if self._contested:
            self._contested = settings.contest
            if not self.grown(begin_ns, seconds):
                return False
        self.leave(end_ns)
        return True

    def grown(self, begin_ns: int, seconds: float) -> bool:
        """Whether chunks apart from the time line have formed one of their own, and long enough."""
        near = self._end_ns is not None and abs(begin_ns - self._end_ns) <= self._settings.tolerance * NS
        self._seconds = (self._seconds if near else 0.0) + seconds
        self._end_ns = begin_ns + round(seconds * NS)
        return self._seconds > self._settings.takeover
