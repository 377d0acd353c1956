"""Fundamental frequency of speech, quick enough to recolour hours of it on one core.

Normalised autocorrelation with a Viterbi path over candidates (Boersma 1993, "Accurate short-term analysis of the
fundamental frequency and the harmonics-to-noise ratio of a sampled sound"): on noisy recordings it keeps the voicing
that WORLD's DIO loses, at about twenty times the speed of WORLD's Harvest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import get_window

FloatArray = NDArray[np.floating]

_CANDIDATES = 6
_VOICING_THRESHOLD = 0.45
_OCTAVE_COST = 0.0  # bonus per octave for the higher of two equally good candidates (none: formants fake high ones)
_JUMP_COST = 0.6  # per octave between neighbouring frames
_SWITCH_COST = 0.14  # voiced to unvoiced and back
_SILENCE_DB = -45.0  # below the loud parts of the clip a frame counts as silence


def track_f0(
    samples: NDArray[np.floating],
    sample_rate: int,
    hop: float = 0.01,
    floor: float = 65.0,
    ceiling: float = 550.0,
) -> tuple[FloatArray, FloatArray]:
    """F0 in Hz (0 where unvoiced) and periodicity 0..1 of each frame.

    Frame k is centred at k * hop seconds; there are floor(n / sample_rate / hop) + 1 of them. `floor` and `ceiling`
    in Hz bound the search; the default ceiling covers screamed speech.
    """
    audio = np.asarray(samples, dtype=np.float64)
    correlation, energy_db = _autocorrelation(audio, sample_rate, hop, floor)
    lags, strengths = _candidates(correlation, sample_rate, floor, ceiling)
    silent = energy_db < np.percentile(energy_db, 98) + _SILENCE_DB
    strengths[silent] *= 0.3
    path = _viterbi(lags, strengths)
    rows = np.arange(len(path))
    voiced = path < _CANDIDATES
    column = np.minimum(path, _CANDIDATES - 1)
    f0 = np.where(voiced, sample_rate / np.maximum(lags[rows, column], 1.0), 0.0)
    return f0, np.clip(strengths.max(axis=1), 0.0, 1.0)


def _autocorrelation(audio: FloatArray, sample_rate: int, hop: float, floor: float) -> tuple[FloatArray, FloatArray]:
    """Window-corrected autocorrelation (frames, lags) and frame energy in dB."""
    length = round(3.0 * sample_rate / floor / 2) * 2
    frames = int(len(audio) / sample_rate / hop + 1e-9) + 1
    padded = np.pad(audio, (length // 2, length))
    starts = np.round(np.arange(frames) * hop * sample_rate).astype(int)
    blocks = padded[starts[:, None] + np.arange(length)[None, :]]
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    energy = np.mean(blocks**2, axis=1)
    window = get_window("hann", length)
    size = 1 << int(np.ceil(np.log2(1.5 * length)))
    power = np.abs(np.fft.rfft(blocks * window, size)) ** 2
    raw = np.fft.irfft(power)[:, : length // 2]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)[: length // 2]
    normalised = raw / np.maximum(raw[:, :1], 1e-12) / (own / own[0])
    return normalised, 10.0 * np.log10(energy + 1e-12)


def _candidates(
    correlation: FloatArray, sample_rate: int, floor: float, ceiling: float
) -> tuple[FloatArray, FloatArray]:
    """The best peaks of each frame: lags in samples (frames, K), strengths (frames, K); strength 0 where there is
    none.
    """
    low = max(2, int(sample_rate / ceiling))
    high = min(correlation.shape[1] - 2, int(sample_rate / floor))
    middle = correlation[:, low : high + 1]
    left, right = correlation[:, low - 1 : high], correlation[:, low + 1 : high + 2]
    peak = (middle > left) & (middle >= right) & (middle > 0.2)
    lag = np.arange(low, high + 1, dtype=np.float64)
    score = np.where(peak, middle + _OCTAVE_COST * np.log2(sample_rate / (floor * lag)), -1.0)
    best = np.argsort(-score, axis=1)[:, :_CANDIDATES]
    rows = np.arange(len(correlation))[:, None]
    curve = left - 2 * middle + right
    shift = np.where(peak, 0.5 * (left - right) / np.where(np.abs(curve) < 1e-9, -1e-9, curve), 0.0)
    lags = (lag[None, :] + np.clip(shift, -0.5, 0.5))[rows, best]
    strengths = np.where(score[rows, best] > -0.5, score[rows, best], 0.0)
    return lags, strengths


def _viterbi(lags: FloatArray, strengths: FloatArray) -> NDArray[np.intp]:
    """Best path through the candidates; state K means unvoiced."""
    frames, count = lags.shape
    octaves = np.log2(np.maximum(lags, 1.0))
    local = np.full((frames, count + 1), _VOICING_THRESHOLD)
    local[:, :count] = np.where(strengths > 0, strengths, -1.0)
    jump = np.full((frames, count + 1, count + 1), _SWITCH_COST)
    jump[0] = 0.0
    jump[1:, :count, :count] = _JUMP_COST * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    jump[:, count, count] = 0.0
    back = np.zeros((frames, count + 1), dtype=np.intp)
    total = local[0].copy()
    columns = np.arange(count + 1)
    for k in range(1, frames):
        scores = total[:, None] - jump[k]
        back[k] = scores.argmax(axis=0)
        total = scores[back[k], columns] + local[k]
    path = np.zeros(frames, dtype=np.intp)
    path[-1] = int(total.argmax())
    for k in range(frames - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path
