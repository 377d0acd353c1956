"""Log-mel front end on the frame grid: a few spectra per coefficient frame, then strided convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config

from emotalk_ros.model.analysis import FrameAnalysis
from emotalk_ros.model.timing import SAMPLE_RATE, conv_extent


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


class FrameFrontEnd(nn.Module):
    """An analysis of windows and convolutions (with layer norm and GELU, as wav2vec2's) straight to coefficient frames.

    The product of the strides is the number of windows per frame (4: 120 per second at 30 fps), so nothing is
    averaged away: the closures of p, b, m, 50 to 80 ms long, cover several spectra. The features of frame t see
    windows up to the one centred at t / fps, and none later.
    """

    def __init__(self, config: Wav2Vec2Config, analysis: FrameAnalysis) -> None:
        super().__init__()
        self.analysis = analysis
        self.kernels, self.strides = list(config.conv_kernel), list(config.conv_stride)
        self.step = math.prod(self.strides)
        self.field = conv_extent(self.kernels, self.strides)
        widths = [analysis.channels, *config.conv_dim]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, stride, bias=config.conv_bias)
            for i, (kernel, stride) in enumerate(zip(self.kernels, self.strides, strict=True))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:])

    def forward(self, values: Tensor, positions: int) -> Tensor:
        """(B, N) samples to (B, positions, channels) features at the instants t / fps."""
        windows = self.analysis(values, 1 - self.field, self.field + self.step * (positions - 1))
        hidden = windows.to(self.convolutions[0].weight.dtype).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = functional.gelu(norm(convolution(hidden).transpose(1, 2)).transpose(1, 2))
        return hidden.transpose(1, 2)
