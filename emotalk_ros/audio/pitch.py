"""Pitch of a voice at one instant, light enough for every frame: what movements of the head follow."""

from __future__ import annotations

import numpy as np

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.units import SAMPLE_RATE

WINDOW = 640
"""Samples: 40 ms, two periods of the lowest pitch."""
REFERENCE = 100.0
"""Hz of 0 semitones."""
_LAGS = (40, 246)
"""400 to 65 Hz."""
_PERIODIC = 0.55
"""Least normalised autocorrelation of a voiced sound."""
_QUIETEST = 1e-5
"""Mean square below which nothing is heard: -50 dB full scale."""


def pitch(window: Samples) -> float | None:
    """Pitch of the last 640 of 16 kHz samples (n,), in semitones above 100 Hz; None where nothing is voiced.

    The highest peak of the normalised autocorrelation between 65 and 400 Hz (Boersma 1993, without its
    interpolation); of peaks that are nearly as high, the shortest lag, since multiples of a period are as alike.
    """
    if len(window) < WINDOW:
        return None
    values = window[-WINDOW:].astype(np.float64)
    values -= values.mean()
    if float(values @ values) < _QUIETEST * WINDOW:
        return None
    spectrum = np.fft.rfft(values, 1024)  # 640 + 246 < 1024: no wrapping
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: _LAGS[1]]
    sums = np.concatenate([[0.0], np.cumsum(values**2)])
    lags = np.arange(*_LAGS)
    likeness = correlation[lags] / np.maximum(np.sqrt(sums[WINDOW - lags] * (sums[-1] - sums[lags])), 1e-12)
    best = float(likeness.max())
    if best < _PERIODIC:
        return None
    lag = int(np.argmax(likeness >= 0.9 * best))
    while lag + 1 < len(likeness) and likeness[lag + 1] > likeness[lag]:
        lag += 1
    return 12.0 * float(np.log2(SAMPLE_RATE / lags[lag] / REFERENCE))
