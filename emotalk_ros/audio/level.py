"""Level of a band in decibels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.units import SAMPLE_RATE


def mean_power(samples: ArrayLike, centres: ArrayLike, half: float) -> NDArray[np.float64]:
    """Mean square of `samples` (n,) from `half` samples before to `half` samples after each centre, (frames,).

    Outside the clip nothing counts; where all of a window lies outside, the power is 0.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(samples, dtype=np.float64) ** 2)])
    middle = np.asarray(centres)
    first = np.clip(np.round(middle - half), 0, len(energy) - 1).astype(np.int64)
    last = np.clip(np.round(middle + half), 0, len(energy) - 1).astype(np.int64)
    return np.asarray((energy[last] - energy[first]) / np.maximum(last - first, 1))


class BandLevel:
    """Level of a band of Hann windows, dB re full scale (a full-scale sine within the band: about -3 dB).

    Args:
        band: lowest and highest frequency in Hz.
        length: samples of a window.
        fft: points of the transform; None: as many as samples.
    """

    def __init__(self, band: tuple[float, float], length: int, fft: int | None = None) -> None:
        self._fft = fft or length
        frequency = np.fft.rfftfreq(self._fft, 1 / SAMPLE_RATE)
        window = np.hanning(length + 1)[:-1]
        self._window = window.astype(np.float32)
        self._bins = (frequency >= band[0]) & (frequency <= band[1])
        self._scale = 2.0 / (np.sum(window**2) * self._fft)

    def __call__(self, windows: Samples) -> NDArray[np.float64]:
        """(n, length) samples to (n,) dB; silence is -120."""
        spectrum = np.fft.rfft(windows * self._window, n=self._fft, axis=1)[:, self._bins]
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1) * self._scale
        return 10 * np.log10(power + 1e-12)
