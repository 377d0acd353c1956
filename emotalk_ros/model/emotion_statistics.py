"""Running statistics of how something is said: the emotion embedding goes by what was heard so far, not by a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BLOCK = 256
"""Frames summed up by one matrix product."""
_FLOOR = 1e-4


@dataclass
class StatisticsState:
    """Weighted sums (B, 2 C + 1) over the frames so far: of values, of squares, of weights."""

    sums: Tensor | None = None

    def reset(self) -> None:
        """Forget the stream."""
        self.sums = None


class RunningStatistics(nn.Module):
    """Weighted mean and deviation of the frames so far, older ones fading; pulled towards 0 while little was heard.

    Args:
        memory: frames after which a frame counts 1/e.
        prior: frames of full weight after which what was heard counts half.
    """

    def __init__(self, memory: float, prior: float) -> None:
        super().__init__()
        self.decay, self.prior = math.exp(-1.0 / memory), prior

    def forward(self, values: Tensor, weight: Tensor, state: StatisticsState | None = None) -> Tensor:
        """(B, T, C) values and (B, T) weights 0..1 to (B, T, 2 C): mean and deviation up to each frame."""
        state = StatisticsState() if state is None else state
        with torch.autocast(values.device.type, enabled=False):
            values, weight = values.float(), weight.float()[..., None]
            summed = self._sums(torch.cat([weight * values, weight * values.square(), weight], -1), state)
            first, second, total = summed.split([values.shape[-1], values.shape[-1], 1], -1)
            total = total.clamp(min=1e-6)
            mean = first / total
            deviation = (second / total - mean.square()).clamp(min=_FLOOR).sqrt()
            trust = total / (total + self.prior)
            return torch.cat([trust * mean, trust * deviation], -1)

    def _sums(self, terms: Tensor, state: StatisticsState) -> Tensor:
        batch, frames, width = terms.shape
        if state.sums is None:
            state.sums = terms.new_zeros(batch, width)
        pieces = []
        for start in range(0, frames, _BLOCK):
            block = terms[:, start : start + _BLOCK]
            age = torch.arange(block.shape[1], device=terms.device)
            weights = (self.decay ** (age[:, None] - age).clamp(min=0)).tril()
            old = self.decay ** (age + 1.0)
            pieces.append(weights @ block + old[:, None] * state.sums[:, None])
            state.sums = pieces[-1][:, -1]
        return torch.cat(pieces, 1) if pieces else terms
