"""Prosody front end of the emotion encoder: how something is said, in figures that do not know who says it how loud.

A small network that hears log-mel spectra learns voices instead of emotions. What tells acted emotions apart across
speakers are statistics of pitch, voice quality and rhythm (Banse and Scherer 1996, Juslin and Laukka 2003, eGeMAPS of
Eyben et al. 2016). This front end computes them causally: what each frame is like, and running statistics of all
frames before it. All of it is blind to gain.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from emotalk_ros.model.frontend import FrameAnalysis
from emotalk_ros.model.timing import PROSODY_WINDOW
from emotalk_ros.units import SAMPLE_RATE

_LOWEST, _OCTAVES, _PER_OCTAVE = 65.0, 3, 24
"""The pitches looked for: 65 to 520 Hz, two a semitone."""
_HIGHER_IS_WORSE = 0.001
"""Per semitone: of two equally periodic pitches the lower is taken, else second harmonics win."""
_EDGES = (100, 300, 600, 1000, 1500, 2200, 3000, 4000, 5500, 8000)
"""Hz, of the bands that tell tilt and timbre."""
_FLOOR = 1e-9
_QUIETEST = -3.3
"""Level, log10 of a window's summed power, below which nothing counts as speech: noise at -60 dB full scale."""
_BELOW_LOUD = 2.8
"""How far below the loudest so far speech reaches; levels here are in units of 10 dB."""
_STEEP = 5.0
_SILENT = -10.0
"""A level below that of any window."""
_SUMS = 30
_VOICED, _LEVEL, _PITCH, _RELATIVE, _AWAY = 0, 30, 31, 32, 33
"""Columns of what is kept of a window."""
_RECENT = 0.3
"""Seconds over which the course of the pitch is forgotten (time constant)."""
_PRIOR = 12.0
"""Frames of speech (0.2 s at 60 a second) after which a running statistic counts half."""
# fmt: off
_TYPICAL = (
    0.14, -0.36, -1.00, 0.09, 0.33, 0.46, 0.17, -0.00, 0.00, -0.05, -0.11, -0.31, -0.49, 0.63, 0.91, 0.34, 0.02, 0.00,
    -0.10, -0.23, -0.62, -0.96, 0.92, 0.68, 0.93, 1.02, 0.87, 0.75, 0.66, 0.66, 0.65, 0.25, 0.61, -0.10, -0.01, 0.13,
    1.13, 1.02, 0.66, 1.18,
)
"""Mean of each channel over emotional speech; constants and never a clip's own."""
_SPREAD = (
    0.65, 0.86, 1.33, 0.20, 0.87, 0.76, 0.55, 0.55, 0.47, 0.44, 0.45, 0.62, 0.80, 0.87, 0.61, 0.39, 0.35, 0.32,
    0.34, 0.40, 0.55, 0.65, 0.68, 0.42, 0.56, 0.64, 0.55, 0.48, 0.41, 0.41, 0.41, 0.79, 0.47, 0.32, 0.43, 0.09,
    0.50, 0.52, 0.44, 0.65,
)
"""Standard deviation of each channel there."""
# fmt: on


class ProsodyMatrices(NamedTuple):
    """Sums over the windows of a stream, up to each of its q new ones, as products with R rows of terms."""

    sums: Tensor
    """(3 q, R): the sum; the same times the row's time; times its square."""
    recent: Tensor
    """(q, R): of the last second, older ones fading."""
    outside: Tensor
    """(q, R): 0 for what is summed, a low level for what is not."""
    starts: Tensor
    """(q,) the first row that is summed."""


class _Last(NamedTuple):
    """The terms (B, 1, TERMS) before the first new window, and where (B, 1) the stream begins there instead."""

    terms: Tensor
    begins: Tensor


class _Moments(NamedTuple):
    """What each window (B, T) is like, in double precision."""

    pitch: Tensor
    voiced: Tensor
    glide: Tensor
    relative: Tensor
    bands: Tensor
    """(B, T, 9)."""


class Prosody(FrameAnalysis):
    """Pitch, periodicity, level and band levels of each window, and running statistics of them.

    Channels: 13 of the moment (pitch, voicing, level against the mean so far, change of pitch, nine bands against
    their mean), 9 + 9 running means and deviations of the bands, and 9 more running ones: mean, deviation, slope and
    recent course of the pitch, its mean change, deviation and mean change of the level, share of voiced speech,
    periodicity. Each is standardised by constants: 0 is what emotional speech has on average.
    """

    TERMS: ClassVar[int] = _AWAY + 1
    """Numbers that a stream keeps of a window: 30 that are summed; level, pitch, relative level, distance from the mean
    pitch."""
    cosines: Tensor
    bands: Tensor
    typical: Tensor
    spread: Tensor

    def __init__(self, rate: int, length: int = PROSODY_WINDOW, fft: int = 1024) -> None:
        super().__init__(length, fft, rate)
        self.register_buffer("cosines", torch.empty(0), persistent=False)
        self.register_buffer("bands", torch.empty(0), persistent=False)
        self.register_buffer("typical", torch.empty(0), persistent=False)
        self.register_buffer("spread", torch.empty(0), persistent=False)
        self.channels = len(_TYPICAL)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Window, bands, and the cosines that turn a spectrum into its autocorrelation at the pitches' periods."""
        super().reset_constants()
        if self.window.is_meta:
            return
        device = self.window.device
        hertz = torch.arange(self.fft // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / self.fft)
        pitches = _LOWEST * 2.0 ** torch.linspace(0, _OCTAVES, _OCTAVES * _PER_OCTAVE, dtype=torch.float64)
        low = hertz[: self.fft // 8, None]  # below 2 kHz
        self.cosines = torch.cos(2 * math.pi * low / pitches).float().to(device)
        inside = [(hertz >= a) & (hertz < b) for a, b in pairwise(_EDGES)]
        self.bands = torch.stack(inside, dim=1).float().to(device)
        self.typical, self.spread = torch.tensor(_TYPICAL, device=device), torch.tensor(_SPREAD, device=device)

    def forward(self, values: Tensor, first: int, count: int) -> Tensor:
        """Features of windows first .. first + count - 1 of clips (B, N) full scale +-1: (B, count, channels)
        float32. The statistics begin at `first`.
        """
        with torch.autocast(values.device.type, enabled=False):
            return self.statistics(*self.measure(self.power(values, first, count)))

    def measure(self, power: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Spectra (B, T, bins) to pitch (B, T), periodicity about 0..0.6 (B, T), level (B, T), bands (B, T, 9).

        Pitch: highest peak of the autocorrelation of the compressed spectrum (Tolonen and Karjalainen 2000), refined
        by a parabola; in units of 6 semitones about 184 Hz.
        """
        power = power * (512 / self.fft)
        compressed = (power[..., : self.cosines.shape[0]] + 1e-7).pow(1 / 3)
        periodicity = (compressed @ self.cosines) / compressed.sum(-1, keepdim=True)
        semitones = torch.linspace(0, 12.0 * _OCTAVES, periodicity.shape[-1], device=power.device)
        best = (periodicity - _HIGHER_IS_WORSE * semitones).argmax(-1, keepdim=True)
        best = best.clamp(1, periodicity.shape[-1] - 2)
        left, peak, right = (periodicity.gather(-1, best + step)[..., 0] for step in (-1, 0, 1))
        offset = (0.5 * (left - right) / (left - 2 * peak + right - 1e-9)).clamp(-0.5, 0.5)
        pitch = semitones[best[..., 0]] + offset * semitones[1]
        level = torch.log10(power.sum(-1) + _FLOOR)
        return (pitch - 18.0) / 6.0, peak, level, torch.log10(power @ self.bands + _FLOOR)

    def statistics(self, pitch: Tensor, periodicity: Tensor, level: Tensor, bands: Tensor) -> Tensor:
        """What `measure` gives, as channels (B, T, channels) float32; sums in double precision."""
        loudest = level.double().cummax(1).values
        moments, terms = _terms(pitch, periodicity, level, bands, loudest, None)
        time = torch.arange(pitch.shape[1], device=pitch.device, dtype=torch.float64) / self.rate
        timed = torch.stack([terms[..., _VOICED] * time, terms[..., 3] * time, terms[..., _VOICED] * time.square()], -1)
        sums = terms.cumsum(1)
        away = moments.voiced * (moments.pitch - _mean(sums[..., 3], sums[..., 0]))
        decay = torch.exp(-torch.arange(self.rate, device=away.device).double().flip(0) / (self.rate * _RECENT))
        both = functional.pad(torch.stack([away, moments.voiced], 1).flatten(0, 1)[:, None], (self.rate - 1, 0))
        recent = functional.conv1d(both, decay[None, None])[:, 0].view(away.shape[0], 2, -1).transpose(1, 2)
        return self._channels(moments, sums, timed.cumsum(1), recent)

    def matrices(self, reach: int, count: int) -> ProsodyMatrices:
        """For `count` new windows of streams whose statistics run over `reach` windows, the last one among them."""
        rows, device = reach - 1, self.window.device
        age = (rows + torch.arange(count, device=device))[:, None] - torch.arange(rows + count, device=device)
        summed = ((age >= 0) & (age < reach)).double()
        time = torch.arange(rows + count, device=device).double() / self.rate
        fading = torch.exp(-age.double() / (self.rate * _RECENT)) * ((age >= 0) & (age < min(reach, self.rate)))
        starts = torch.arange(count, device=device)
        sums = torch.cat([summed, summed * time, summed * time.square()])
        return ProsodyMatrices(sums, fading, (summed - 1.0) * 1e3, starts)

    def follow(self, power: Tensor, kept: Tensor, origin: Tensor, matrices: ProsodyMatrices) -> Tensor:
        """The next windows of streams: as `forward`, but the statistics run over the last windows.

        Args:
            power: (B, q, bins) of the new windows.
            kept: (B, reach - 1 + q, TERMS) terms of the windows before, zeros before the first; new ones are written.
            origin: (B,) the row of a stream's first window; `rows` where it is the first new one.
            matrices: of this reach and number.

        Returns:
            channels (B, q, channels) float32.
        """
        pitch, periodicity, level, bands = self.measure(power)
        count = level.shape[1]
        rows = kept.shape[1] - count
        kept[:, rows:, _LEVEL] = level.double() - _SILENT
        kept[:, rows:, _PITCH] = pitch.double()
        loudest = (kept[:, None, :, _LEVEL] + matrices.outside).amax(-1) + _SILENT
        last = _Last(kept[:, rows - 1 : rows], (origin == rows)[:, None])
        moments, terms = _terms(pitch, periodicity, level, bands, loudest, last)
        kept[:, rows:, :_SUMS] = terms
        kept[:, rows:, _RELATIVE] = moments.relative
        sums = (matrices.sums @ kept[..., :_SUMS]).unflatten(1, (3, count))
        start = torch.maximum(matrices.starts[None], origin[:, None]) / self.rate
        plain = sums[:, 0]
        timed = torch.stack(
            [
                sums[:, 1, :, _VOICED] - start * plain[..., _VOICED],
                sums[:, 1, :, 3] - start * plain[..., 3],
                sums[:, 2, :, _VOICED] - 2 * start * sums[:, 1, :, _VOICED] + start.square() * plain[..., _VOICED],
            ],
            -1,
        )
        kept[:, rows:, _AWAY] = moments.voiced * (moments.pitch - _mean(plain[..., 3], plain[..., _VOICED]))
        lately = torch.stack([kept[..., _AWAY], kept[..., _VOICED]], -1)
        return self._channels(moments, plain, timed, matrices.recent @ lately)

    def _channels(self, now: _Moments, sums: Tensor, timed: Tensor, recent: Tensor) -> Tensor:
        """Channels (B, T, channels) float32.

        Args:
            now: each window.
            sums: (B, T, 30) of `_terms` so far.
            timed: (B, T, 3) of voiced speech times time, times time and pitch, times the square of time.
            recent: (B, T, 2) distance from the mean pitch, and voiced speech, of the last second.
        """
        voiced, speech, both = (sums[..., k : k + 1] for k in range(3))
        mean, deviation = _running(sums[..., 3:13], sums[..., 13:23], voiced)
        level, level_deviation = _running(sums[..., 23:25], sums[..., 25:27], speech)
        moment = torch.stack(
            [
                now.pitch * now.voiced,
                2.0 * now.voiced - 1.0,
                now.relative - level[..., 0],
                4.0 * now.glide * now.voiced,
            ],
            -1,
        )
        channels = torch.cat(
            [
                moment,
                now.bands * now.voiced[..., None],
                mean[..., 1:],
                2.0 * deviation[..., 1:],
                mean[..., :1],
                2.0 * deviation[..., :1],
                _slope(sums[..., 3:4], timed, voiced),
                recent[..., :1] / (recent[..., 1:] + 1.0),
                _mean(sums[..., 27:28], both),
                2.0 * level_deviation[..., :1],
                level[..., 1:],
                _mean(sums[..., 28:29], speech),
                _mean(sums[..., 29:30], voiced),
            ],
            -1,
        )
        return (channels.float() - self.typical) / self.spread


def _terms(
    pitch: Tensor, periodicity: Tensor, level: Tensor, bands: Tensor, loudest: Tensor, last: _Last | None
) -> tuple[_Moments, Tensor]:
    """What windows (B, T) are like, and the terms (B, T, 30) of all sums: of voiced frames, of speech, of neighbours
    that are voiced both; of pitch and bands and their squares where voiced; of level, its change and their squares in
    speech; of the change of pitch, of how much speech is voiced, of periodicity.

    `loudest` (B, T) level so far.
    """
    pitch, periodicity, level, bands = (each.double() for each in (pitch, periodicity, level, bands))
    loudest = loudest.clamp(min=_QUIETEST)
    speech = torch.sigmoid((level - loudest + _BELOW_LOUD) * _STEEP)
    voiced = speech * ((periodicity - 0.15) * 4.0).clamp(0.0, 1.0)
    bands = bands - bands.mean(-1, keepdim=True)
    both = voiced * _before(voiced, last, _VOICED)
    glide = (pitch - _before(pitch, last, _PITCH)).abs().clamp(max=0.5)
    relative = (level - loudest + 1.0).clamp(min=-3.0)  # about 0 in speech, whatever the gain
    beat = (relative - _before(relative, last, _RELATIVE)).abs()
    melody = torch.cat([pitch[..., None], bands], -1)
    loud = torch.stack([relative, 5.0 * beat], -1)
    weighted, heavy = melody * voiced[..., None], loud * speech[..., None]
    few = torch.stack([4.0 * glide * both, 2.0 * voiced * speech, 4.0 * periodicity * voiced], -1)
    shares = torch.stack([voiced, speech, both], -1)
    terms = torch.cat([shares, weighted, weighted * melody, heavy, heavy * loud, few], -1)
    return _Moments(pitch, voiced, glide, relative, bands), terms


def _before(values: Tensor, last: _Last | None, column: int) -> Tensor:
    """Each window's predecessor, (B, T); the first of a stream has itself."""
    first = values[:, :1]
    if last is not None:
        first = torch.where(last.begins, first, last.terms[..., column])
    return torch.cat([first, values[:, :-1]], 1)


def _mean(summed: Tensor, total: Tensor) -> Tensor:
    """Weighted mean, shrunk towards 0 while little was heard."""
    return total / (total + _PRIOR) * summed / (total + 1e-3)


def _running(summed: Tensor, squares: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, T, C) from sums of weighted values and their squares (B, T, C) and of weights (B, T, 1),
    both shrunk towards 0 while little was heard.
    """
    mean, square = summed / (total + 1e-3), squares / (total + 1e-3)
    trust = total / (total + _PRIOR)
    return trust * mean, trust * (square - mean.square()).clamp(min=1e-4).sqrt()


def _slope(pitch: Tensor, timed: Tensor, total: Tensor) -> Tensor:
    """Regression slope of the pitch so far, per second, (B, T, 1), shrunk as `_running`'s. From sums over voiced speech
    of the pitch (B, T, 1), of time, pitch and time, the square of time (B, T, 3), and of weights (B, T, 1).
    """
    safe = total + 1e-3
    middle, product, square = (timed / safe).unbind(-1)
    middle, product, square = middle[..., None], product[..., None], square[..., None]
    covariance = product - middle * pitch / safe
    variance = square - middle.square()
    return total / (total + _PRIOR) * (covariance / (variance.clamp(min=0.0) + 0.03)).clamp(-2.0, 2.0)
