"""How much of a clip is speech: what the running emotion goes by, so that silence is no evidence of calm."""

from __future__ import annotations

import torch
from torch import Tensor

from emotalk_ros.units import SAMPLE_RATE

_BELOW_LOUD = 2.8
"""How far below the loudest so far speech reaches; levels here are in units of 10 dB."""
_STEEP = 5.0
_QUIETEST = -5.5
"""Level re full scale below which nothing counts as loud."""


def speech_share(level: Tensor, loudest: Tensor) -> Tensor:
    """Share of speech 0..1 in what is so loud (log10 of a power), against the loudest so far."""
    return torch.sigmoid((level - loudest + _BELOW_LOUD) * _STEEP)


def presence(values: Tensor, frames: int, fps: int) -> Tensor:
    """Share of speech 0..1 in the time between each frame and the one before it, (B, frames), of samples (B, N).

    By level against the loudest so far, so causal and blind to gain.
    """
    index = torch.arange(-1, frames, device=values.device)
    bounds = torch.div(index * SAMPLE_RATE, fps, rounding_mode="floor").clamp(0, values.shape[1])
    energy = torch.nn.functional.pad(values.double().square().cumsum(1), (1, 0))[:, bounds].diff(dim=1)
    level = torch.log10(energy.clamp(min=0) * (fps / SAMPLE_RATE) + 1e-10)
    return speech_share(level, level.cummax(1).values.clamp(min=_QUIETEST)).to(values.dtype)
