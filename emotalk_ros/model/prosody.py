"""Prosody front end of the emotion encoder: how something is said, in figures that do not know who says it how loud.

A small network that hears log-mel spectra learns voices instead of emotions. What tells acted emotions apart across
speakers are statistics of pitch, voice quality and rhythm (Banse and Scherer 1996, Juslin and Laukka 2003, eGeMAPS of
Eyben et al. 2016). This front end computes them causally: what each frame is like, and running statistics of all
frames before it. All of it is blind to gain.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from emotalk_ros.model.frontend import FrameAnalysis, WindowMemory
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


class Prosody(FrameAnalysis):
    """Pitch, periodicity, level and band levels of each window, and running statistics of them.

    Channels: 13 of the moment (pitch, voicing, level against the mean so far, change of pitch, nine bands against
    their mean), 9 + 9 running means and deviations of the bands, and 9 more running ones: mean, deviation, slope and
    recent course of the pitch, its mean change, deviation and mean change of the level, share of voiced speech,
    periodicity. Each is standardised by constants: 0 is what emotional speech has on average.
    """

    remembers = True
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

    def forward(self, values: Tensor, first: int, count: int, memory: WindowMemory | None = None) -> Tensor:
        """Features of windows first .. first + count - 1 of clips (B, N) full scale +-1: (B, count, channels)
        float32. The statistics begin at `first`, whatever a stream's `memory` holds of single windows.
        """

        def find(begin: int, number: int) -> tuple[Tensor, ...]:
            return self.measure(self.power(values, begin, number))

        with torch.autocast(values.device.type, enabled=False):
            return self.statistics(*(memory.recall(first, count, find) if memory else find(first, count)))

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
        """What `measure` gives, as channels (B, T, channels)."""
        loudest = level.cummax(1).values.clamp(min=_QUIETEST)
        speech = torch.sigmoid((level - loudest + _BELOW_LOUD) * _STEEP)
        voiced = speech * ((periodicity - 0.15) * 4.0).clamp(0.0, 1.0)
        bands = bands - bands.mean(-1, keepdim=True)
        both = voiced * _before(voiced)
        glide = (pitch - _before(pitch)).abs().clamp(max=0.5)
        relative = (level - loudest + 1.0).clamp(min=-3.0)  # about 0 in speech, whatever the gain
        beat = (relative - _before(relative)).abs()
        mean, deviation = _running(torch.cat([pitch[..., None], bands], -1), voiced)
        mean_level, level_deviation = _running(torch.stack([relative, 5.0 * beat], -1), speech)
        (mean_glide, _), (share, _) = _running(4.0 * glide[..., None], both), _running(2.0 * voiced[..., None], speech)
        clear, _ = _running(4.0 * periodicity[..., None], voiced)
        away = voiced * (pitch - mean[..., 0])
        moment = torch.stack(
            [pitch * voiced, 2.0 * voiced - 1.0, relative - mean_level[..., 0], 4.0 * glide * voiced], -1
        )
        channels = torch.cat(
            [
                moment,
                bands * voiced[..., None],
                mean[..., 1:],
                2.0 * deviation[..., 1:],
                mean[..., :1],
                2.0 * deviation[..., :1],
                _slope(pitch, voiced, self.rate)[..., None],
                _recent(away, voiced, self.rate)[..., None],
                mean_glide,
                2.0 * level_deviation[..., :1],
                mean_level[..., 1:],
                share,
                clear,
            ],
            -1,
        )
        return (channels - self.typical) / self.spread


def _before(values: Tensor) -> Tensor:
    """Each frame's predecessor, (B, T); the first has itself."""
    return torch.cat([values[:, :1], values[:, :-1]], 1)


def _running(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, T, C) of `values` (B, T, C) up to each frame, weighted by `weight` (B, T), both shrunk
    towards 0 while little was heard.
    """
    total = weight.cumsum(1)[..., None]
    mean = (weight[..., None] * values).cumsum(1) / (total + 1e-3)
    square = (weight[..., None] * values.square()).cumsum(1) / (total + 1e-3)
    trust = total / (total + _PRIOR)
    return trust * mean, trust * (square - mean.square()).clamp(min=1e-4).sqrt()


def _slope(pitch: Tensor, weight: Tensor, rate: int) -> Tensor:
    """Regression slope of the pitch so far, per second, (B, T), shrunk as `_running`'s."""
    time = (torch.arange(pitch.shape[1], device=pitch.device) / rate)[None].expand_as(pitch)
    total = weight.cumsum(1)
    safe = total + 1e-3
    middle, mean = (weight * time).cumsum(1) / safe, (weight * pitch).cumsum(1) / safe
    covariance = (weight * time * pitch).cumsum(1) / safe - middle * mean
    variance = (weight * time.square()).cumsum(1) / safe - middle.square()
    return total / (total + _PRIOR) * (covariance / (variance.clamp(min=0.0) + 0.03)).clamp(-2.0, 2.0)


def _recent(away: Tensor, weight: Tensor, rate: int, seconds: float = 0.3) -> Tensor:
    """How far the pitch of the last `seconds` lies from its mean: the course of phrase ends, (B, T)."""
    decay = torch.exp(-torch.arange(rate, device=away.device).flip(0) / (rate * seconds))[None, None]
    both = functional.pad(torch.stack([away, weight], 1).flatten(0, 1)[:, None], (rate - 1, 0))
    summed = functional.conv1d(both, decay)[:, 0].view(away.shape[0], 2, -1)
    return summed[:, 0] / (summed[:, 1] + 1.0)
