"""Slow automatic levelling: a quiet microphone is amplified until its speech is as loud as that of others.

Only quiet speech is amplified; at ordinary levels samples pass unchanged. Levels are those of 50 ms (mean square, dB
re full scale), on a grid counted from the first sample, and the gain moves linearly within each 50 ms: the output
depends on the samples alone, not on how they were cut, and is never later than its input.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.units import SAMPLE_RATE

BLOCK = SAMPLE_RATE // 20
QUIET_DB = -42.0
"""Speech whose loud moments lie below is quiet."""
TARGET_DB = -24.0
"""Its loud moments are brought up to here."""
MOST_DB = 45.0
"""Largest gain."""
_OVER_NOISE = 10.0  # dB over the noise floor from which on a moment may be speech
_FAINTEST = -90.0  # dB; below lies the noise of the converter itself
_PATIENCE = 12  # such moments (0.6 s) before the gain rises
_UP_DB, _DOWN_DB = 1.5, 12.0  # per 50 ms
_MEMORY = 200  # blocks (10 s) whose noise floor and loudest moment count


@dataclass(frozen=True)
class Level:
    """What a leveller heard lately, dB re full scale."""

    loudest: float
    """Mean square of the loudest 50 ms of the last 10 s."""
    noise: float
    gain: float
    """dB."""


class Leveller:
    """Feed samples, get them back amplified.

    Args:
        on: False measures and warns only.
    """

    def __init__(self, on: bool = True) -> None:
        self.on = on
        self.warning = ""
        """What was noticed, once; the caller takes it away."""
        self._told = False
        self._gain_db = 0.0
        self._goal_db = 0.0
        self._at = 0
        self._energy = 0.0
        self._levels: deque[float] = deque()
        self._sorted: list[float] = []
        self._speech: deque[float] = deque(maxlen=_MEMORY)  # levels of moments that may be speech

    @property
    def level(self) -> Level:
        """Of the last 10 s."""
        return Level(self._sorted[-1] if self._sorted else -120.0, self._noise, self._gain_db)

    @property
    def _noise(self) -> float:
        return self._sorted[len(self._sorted) // 5] if self._sorted else -120.0

    def __call__(self, samples: Samples) -> Samples:
        """(n,) samples at 16 kHz, the next of the stream, amplified."""
        out: Samples | None = None
        at = 0
        while at < len(samples):
            part = samples[at : at + BLOCK - self._at]
            if self.on and (self._gain_db or self._goal_db):
                out = samples.copy() if out is None else out
                steps = (self._at + np.arange(1, len(part) + 1)) / BLOCK
                gain = 10 ** ((self._gain_db + (self._goal_db - self._gain_db) * steps) / 20)
                out[at : at + len(part)] = np.clip(part * gain, -1.0, 1.0)
            self._energy += float(np.dot(part.astype(np.float64), part.astype(np.float64)))
            at += len(part)
            self._at += len(part)
            if self._at == BLOCK:
                self._judge(10 * math.log10(self._energy / BLOCK + 1e-12))
        return samples if out is None else out

    def _judge(self, level: float) -> None:
        """At the end of 50 ms: where the gain goes within the next."""
        self._at, self._energy, self._gain_db = 0, 0.0, self._goal_db
        self._levels.append(level)
        insort(self._sorted, level)
        if len(self._levels) > _MEMORY:
            del self._sorted[bisect_left(self._sorted, self._levels.popleft())]
        if level > max(self._noise + _OVER_NOISE, _FAINTEST):
            self._speech.append(level)
        if len(self._speech) < _PATIENCE:
            return
        loud = sorted(self._speech)[(9 * len(self._speech)) // 10]
        wanted = min(MOST_DB, TARGET_DB - loud) if loud < QUIET_DB else 0.0
        if level + self._gain_db > -3.0 or self._sorted[-1] > QUIET_DB + 6.0:  # something loud: no gain
            wanted = 0.0
        if self.on:
            self._goal_db = self._gain_db + max(-_DOWN_DB, min(_UP_DB, wanted - self._gain_db))
        if loud < QUIET_DB and not self._told:
            self._told = True
            what = f"it is amplified, by up to {wanted:.0f} dB" if self.on else "the face may hardly move"
            self.warning = f"the sound is quiet, its speech lies at {loud:.0f} dBFS (ordinary: {TARGET_DB:.0f}): {what}"


@dataclass(frozen=True)
class ClipLevel:
    """How loud a whole recording is, dB re full scale."""

    loud: float
    """Mean square of its loud moments (95 % of its 50 ms are less loud); -120 for silence."""
    noise: float
    """20 % of its 50 ms are quieter."""
    peak: float
    """Of single samples."""

    @property
    def quiet(self) -> bool:
        """Whether it holds something like speech, and that is quiet."""
        return _FAINTEST < self.loud < QUIET_DB and self.loud >= self.noise + _OVER_NOISE

    @property
    def gain(self) -> float:
        """Factor that brings its loud moments to the level of ordinary speech without clipping; 1 where not quiet."""
        if not self.quiet:
            return 1.0
        return float(10 ** (max(0.0, min(MOST_DB, TARGET_DB - self.loud, -0.2 - self.peak)) / 20))


def clip_level(pieces: Iterable[Samples]) -> ClipLevel:
    """The level of a recording, given as consecutive pieces (n,) at 16 kHz."""
    levels: list[float] = []
    kept, peak = np.zeros(0, np.float32), 0.0
    for piece in pieces:
        peak = max(peak, float(np.abs(piece).max(initial=0.0)))
        joined = np.concatenate([kept, piece])
        count = len(joined) // BLOCK
        kept = joined[count * BLOCK :]
        blocks = joined[: count * BLOCK].reshape(count, BLOCK).astype(np.float64)
        levels += (10 * np.log10((blocks**2).mean(axis=1) + 1e-12)).tolist()
    levels.sort()
    if not levels:
        return ClipLevel(-120.0, -120.0, -120.0)
    loud, noise = levels[(19 * (len(levels) - 1)) // 20], levels[len(levels) // 5]
    return ClipLevel(loud, noise, 20 * math.log10(peak + 1e-6))
