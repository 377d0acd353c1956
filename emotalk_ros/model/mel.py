"""Log-mel front end on the frame grid: a few spectra per coefficient frame, then strided convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config

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


def pitch_cosines(pitches: int, fft: int) -> Tensor:
    """(bins below 2 kHz, pitches) cosines that turn a spectrum into its autocorrelation at the periods of log-spaced
    pitches from 65 to 520 Hz.
    """
    bins = torch.arange(fft // 8, dtype=torch.float64)[:, None] * (SAMPLE_RATE / fft)
    frequency = 65.0 * 2.0 ** torch.linspace(0, 3, pitches, dtype=torch.float64)
    return torch.cos(2 * math.pi * bins / frequency).float()


class LogMel(nn.Module):
    """Log-mel spectra at `rate` per second, centred on the instants i / rate (rounded to samples).

    The rate need not divide 16000: at 120 per second windows start at round(i * 400 / 3), so that a stream cut at
    multiples of 1600 samples keeps every window where it was. Always in float32, whatever the model's type.
    """

    window: Tensor
    filters: Tensor
    cosines: Tensor

    def __init__(
        self, bands: int, window: int, fft: int, floor: float, mean: float, std: float, rate: int, pitch: int = 0
    ) -> None:
        super().__init__()
        self.bands, self.length, self.fft, self.pitch = bands, window, fft, pitch
        self.floor, self.mean, self.std, self.rate = floor, mean, std, rate
        self.register_buffer("window", torch.empty(window), persistent=False)
        self.register_buffer("filters", torch.empty(fft // 2 + 1, bands), persistent=False)
        self.register_buffer("cosines", torch.empty(0), persistent=False)
        self.reset_constants()

    @property
    def channels(self) -> int:
        """Values per spectrum: mel bands, then pitch bands."""
        return self.bands + self.pitch

    def reset_constants(self) -> None:
        """Compute window and filters anew (they are not part of a checkpoint)."""
        if self.window.is_meta:
            return
        device = self.window.device
        window = torch.hann_window(self.length, dtype=torch.float64)
        # Unit energy: the power of full-scale white noise is 1 per bin, whatever the window.
        self.window = (window / window.square().sum().sqrt()).float().to(device)
        self.filters = mel_filters(self.bands, self.fft).to(device)
        if self.pitch:
            self.cosines = pitch_cosines(self.pitch, self.fft).to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LogMel:
        super()._apply(fn, recurse)
        self.reset_constants()  # a cast to bfloat16 must not reach the filters
        return self

    def forward(self, values: Tensor, first: int, count: int) -> Tensor:
        """Spectra first .. first + count - 1 of each clip; the clip is silent before 0 and after its end.

        Args:
            values: (B, N) samples.
            first: index of the first spectrum, may be negative.
            count: how many.

        Returns:
            (B, count, channels) float32, normalised by the constants.
        """
        index = torch.arange(first, first + count, device=values.device)
        starts = torch.div(2 * index * SAMPLE_RATE + self.rate, 2 * self.rate, rounding_mode="floor")
        left = self.length // 2 - (2 * first * SAMPLE_RATE + self.rate) // (2 * self.rate)
        end = (2 * (first + count - 1) * SAMPLE_RATE + self.rate) // (2 * self.rate) + self.length - self.length // 2
        padded = functional.pad(values.float(), (left, max(0, end - values.shape[1])))
        where = (starts + (left - self.length // 2))[:, None] + torch.arange(self.length, device=values.device)
        with torch.autocast(values.device.type, enabled=False):
            spectrum = torch.fft.rfft(padded[:, where] * self.window, n=self.fft)
            power = spectrum.real.square() + spectrum.imag.square()
            mel = (torch.log(power @ self.filters + self.floor) - self.mean) / self.std
            return torch.cat([mel, self._pitchgram(power)], dim=-1) if self.pitch else mel

    def _pitchgram(self, power: Tensor) -> Tensor:
        """How periodic each spectrum is at each of the pitches, about 0..2 (B, count, pitch): its autocorrelation at
        log-spaced lags, of the compressed spectrum below 2 kHz (Tolonen and Karjalainen 2000), so that formants,
        loudness and the microphone matter little.
        """
        compressed = (power[..., : self.cosines.shape[0]] + self.floor).pow(1 / 3)
        return 4.0 * (compressed @ self.cosines) / compressed.sum(-1, keepdim=True)


class MelFrontEnd(nn.Module):
    """Log-mel spectra and convolutions (with layer norm and GELU, as wav2vec2's) straight to coefficient frames.

    The product of the strides is the number of spectra per frame (4: 120 per second at 30 fps), so nothing is
    averaged away: the closures of p, b, m, 50 to 80 ms long, cover several spectra. The features of frame t see
    spectra up to the one centred at t / fps, and none later.
    """

    def __init__(self, config: Wav2Vec2Config, log_mel: LogMel) -> None:
        super().__init__()
        self.log_mel = log_mel
        self.kernels, self.strides = list(config.conv_kernel), list(config.conv_stride)
        self.step = math.prod(self.strides)
        self.field = conv_extent(self.kernels, self.strides)
        widths = [log_mel.channels, *config.conv_dim]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, stride, bias=config.conv_bias)
            for i, (kernel, stride) in enumerate(zip(self.kernels, self.strides, strict=True))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:])

    def forward(self, values: Tensor, positions: int) -> Tensor:
        """(B, N) samples to (B, positions, channels) features at the instants t / fps."""
        spectra = self.log_mel(values, 1 - self.field, self.field + self.step * (positions - 1))
        hidden = spectra.to(self.convolutions[0].weight.dtype).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = functional.gelu(norm(convolution(hidden).transpose(1, 2)).transpose(1, 2))
        return hidden.transpose(1, 2)
