"""Log-mel spectra on the frame grid: what the content encoder hears."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from emotalk_ros.model.frontend import FrameAnalysis
from emotalk_ros.units import SAMPLE_RATE


def mel_filters(bands: int, fft: int) -> Tensor:
    """Triangular filters of unit peak on the mel scale 2595 log10(1 + f / 700) (O'Shaughnessy), 0 Hz to 8 kHz.

    Returns:
        (fft // 2 + 1, bands) float32.
    """
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(FrameAnalysis):
    """Log-mel spectra, (log(power + floor) - mean) / std by constants."""

    filters: Tensor

    def __init__(self, bands: int, window: int, fft: int, floor: float, mean: float, std: float, rate: int) -> None:
        super().__init__(window, fft, rate)
        self.channels = bands
        self.floor, self.mean, self.std = floor, mean, std
        self.register_buffer("filters", torch.empty(fft // 2 + 1, bands), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Compute window and filters anew (they are not part of a checkpoint)."""
        super().reset_constants()
        if not self.window.is_meta:
            self.filters = mel_filters(self.channels, self.fft).to(self.window.device)

    def forward(self, values: Tensor, first: int, count: int) -> Tensor:
        """Spectra first .. first + count - 1 of each clip (B, N): (B, count, bands) float32."""
        power = self.power(values, first, count)
        with torch.autocast(values.device.type, enabled=False):
            return (torch.log(power @ self.filters + self.floor) - self.mean) / self.std
