"""Log-mel spectra on the frame grid: what the content encoder hears."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from emotalk_ros.model.frontend import FrameAnalysis
from emotalk_ros.units import SAMPLE_RATE


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
            # Triangles of unit peak on the scale 2595 log10(1 + f / 700) (O'Shaughnessy), 0 Hz to half the rate.
            filters = mel_filter_bank(
                self.fft // 2 + 1, self.channels, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm=None, mel_scale="htk"
            )
            self.filters = torch.from_numpy(filters).float().to(self.window.device)

    def forward(self, values: Tensor, first: int, count: int) -> Tensor:
        """Spectra first .. first + count - 1 of each clip (B, N): (B, count, bands) float32."""
        return self.from_power(self.power(values, first, count))

    def from_power(self, power: Tensor) -> Tensor:
        """Power spectra (..., bins) to spectra (..., bands) float32."""
        with torch.autocast(power.device.type, enabled=False):
            return (torch.log(power @ self.filters + self.floor) - self.mean) / self.std
