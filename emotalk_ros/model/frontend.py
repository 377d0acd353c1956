"""Front ends on the frame grid: an analysis of windows at the instants i / rate, then strided convolutions.

`mel.LogMel` and `prosody.Prosody` are the analyses.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config

from emotalk_ros.model.timing import conv_extent
from emotalk_ros.units import SAMPLE_RATE


class FrameAnalysis(nn.Module):
    """Analyses `rate` windows per second, centred on the instants i / rate (rounded to samples), always in float32.

    The rate need not divide 16000: at 120 per second windows start at round(i * 400 / 3), so that a stream cut at
    multiples of 1600 samples keeps every window where it was. A subclass has `length` and `fft` (samples), `window`
    (length,), `channels`, computes its constants in `reset_constants` and values in `forward(values, first, count)`.
    """

    window: Tensor
    channels: int

    def __init__(self, length: int, fft: int, rate: int) -> None:
        super().__init__()
        self.length, self.fft, self.rate = length, fft, rate
        self.register_buffer("window", torch.empty(length), persistent=False)

    def reset_constants(self) -> None:
        """Compute window and filters anew (they are not part of a checkpoint)."""
        if self.window.is_meta:
            return
        window = torch.hann_window(self.length, dtype=torch.float64)
        # Unit energy: the power of full-scale white noise is 1 per bin, whatever the window.
        self.window = (window / window.square().sum().sqrt()).float().to(self.window.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrameAnalysis:
        super()._apply(fn, recurse)
        self.reset_constants()  # a cast to bfloat16 must not reach the filters
        return self

    def power(self, values: Tensor, first: int, count: int, step: int = 1) -> Tensor:
        """Power spectra of windows first, first + step, ..., (B, count, fft // 2 + 1) float32, of clips (B, N); each
        clip is silent before 0 (`first` may be negative) and after its end.
        """
        last = first + (count - 1) * step
        index = torch.arange(first, last + 1, step, device=values.device)
        starts = torch.div(2 * index * SAMPLE_RATE + self.rate, 2 * self.rate, rounding_mode="floor")
        left = max(0, self.length // 2 - (2 * first * SAMPLE_RATE + self.rate) // (2 * self.rate))
        end = (2 * last * SAMPLE_RATE + self.rate) // (2 * self.rate) + self.length - self.length // 2
        padded = functional.pad(values.float(), (left, max(0, end - values.shape[1])))
        where = (starts + (left - self.length // 2))[:, None] + torch.arange(self.length, device=values.device)
        return self.power_of(padded[:, where])

    def power_of(self, cut: Tensor) -> Tensor:
        """Power spectra (..., fft // 2 + 1) of the samples (..., length) of windows."""
        with torch.autocast(cut.device.type, enabled=False):
            spectrum = torch.fft.rfft(cut * self.window, n=self.fft)
            return spectrum.real.square() + spectrum.imag.square()


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

    def forward(self, values: Tensor, positions: int, first: int = 0) -> Tensor:
        """(B, N) samples to (B, positions, channels) features at the instants t / fps from t = `first` on."""
        begin, count = 1 - self.field + self.step * first, self.field + self.step * (positions - 1)
        windows = self.analysis(values, begin, count)
        hidden = windows.to(self.convolutions[0].weight.dtype).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = functional.gelu(norm(convolution(hidden).transpose(1, 2)).transpose(1, 2))
        return hidden.transpose(1, 2)
