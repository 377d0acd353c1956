"""Sounds made by rule: noise, a keyboard, drums, music, and vowels that a voice detector takes for a voice.

16 kHz unless asked otherwise, the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 16000
Samples = NDArray[np.float32]


def noise(seconds: float, exponent: float, decibels: float, seed: int = 0) -> Samples:
    """Steady noise whose power falls by f^-exponent (0 white, 1 pink, 2 brown), level in dB re full scale (rms)."""
    rng, count = np.random.default_rng(seed), round(seconds * RATE)
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 30.0)
    spectrum = rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))
    samples = np.fft.irfft(spectrum / frequency ** (exponent / 2), count)
    return (samples / samples.std() * 10 ** (decibels / 20)).clip(-1, 1).astype(np.float32)


def gusts(seconds: float, seed: int = 0) -> Samples:
    """Pink noise that swells and ebbs a few times a second, as wind or cloth on a microphone."""
    rng, base = np.random.default_rng(seed), noise(seconds, 1.0, -25.0, seed)
    steps = np.repeat(rng.random(len(base) // 1600 + 1) < 0.4, 1600)[: len(base)]
    return (base * np.convolve(steps, np.hanning(3200) / 1600, "same")).astype(np.float32)


def keyboard(seconds: float, seed: int = 0) -> Samples:
    """Key clicks, six a second: two short bursts of a resonance each (down and up)."""
    rng = np.random.default_rng(seed)
    out, at = _room(seconds, rng), 0.3
    while at < seconds - 0.3:
        for delay, force in ((0.0, 0.3), (rng.uniform(0.06, 0.11), 0.12)):
            pitch, decay = rng.uniform(1200, 4500), rng.uniform(0.003, 0.012)
            time = np.arange(round(0.05 * RATE)) / RATE
            tone = np.sin(2 * np.pi * pitch * time) + 0.8 * rng.standard_normal(len(time))
            _add(out, at + delay, force * rng.uniform(0.5, 1) * np.exp(-time / decay) * tone)
        at += 0.05 + rng.exponential(0.12)
    return out.clip(-1, 1).astype(np.float32)


def drums(seconds: float, seed: int = 0) -> Samples:
    """Bass drum, snare and hi-hat, 110 beats a minute."""
    rng = np.random.default_rng(seed)
    out, step = _room(seconds, rng), 60 / 110 / 4
    for k in range(int((seconds - 0.5) / step)):
        time = np.arange(round(0.3 * RATE)) / RATE
        if k % 8 in (0, 5) or rng.random() < 0.05:
            sweep = 2 * np.pi * (50 * time + 100 * 0.03 * (1 - np.exp(-time / 0.03)))
            _add(out, k * step, 0.6 * np.exp(-time / 0.09) * np.sin(sweep))
        if k % 8 == 4:
            body = 0.5 * np.sin(2 * np.pi * 190 * time) + rng.standard_normal(len(time))
            _add(out, k * step, 0.25 * np.exp(-time / 0.06) * body)
        if k % 2 == 0:
            hiss = np.diff(rng.standard_normal(len(time) + 1))
            _add(out, k * step, 0.1 * np.exp(-time / 0.025) * hiss)
    return out.clip(-1, 1).astype(np.float32)


def music(seconds: float, seed: int = 0) -> Samples:
    """Plucked chords and a melody over them, no voice."""
    rng = np.random.default_rng(seed)
    out, beat = _room(seconds, rng), 60 / 96
    chords = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
    scale = (0, 2, 4, 5, 7, 9, 11, 12)
    for k in range(int((seconds - 1.5) / beat)):
        notes = [48 + n for n in chords[k // 4 % 4]] if k % 2 == 0 else []
        notes.append(60 + int(rng.choice(scale)))
        for note in notes:
            time = np.arange(round(1.2 * RATE)) / RATE
            pitch = 440 * 2 ** ((note - 69) / 12)
            tone = sum(np.sin(2 * np.pi * h * pitch * time) / h**1.3 * np.exp(-time * h / 1.2) for h in range(1, 9))
            _add(out, k * beat, 0.12 * np.minimum(1, time / 0.004) * np.exp(-time / 0.5) * tone)
    return out.clip(-1, 1).astype(np.float32)


def hum(seconds: float, seed: int = 0) -> Samples:
    """Mains hum of 50 Hz with its harmonics."""
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5))
    return (0.04 * tones + _room(seconds, np.random.default_rng(seed))).astype(np.float32)


def vowels(seconds: float, seed: int = 0, rate: int = RATE) -> Samples:
    """A voice that sings syllables of gliding vowels, four a second with short rests: pulses through three formants."""
    rng, count = np.random.default_rng(seed), round(seconds * rate)
    time = np.arange(count) / rate
    pitch = (110 + 25 * seed) * 2 ** (0.25 * np.sin(2 * np.pi * 0.7 * time) + 0.02 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    glide = 0.5 + 0.5 * np.sin(2 * np.pi * 1.9 * time + seed)
    places = [(750 - 450 * glide, 90), (1200 + 900 * glide, 110), (2550 + 300 * glide, 160)]
    voice = np.zeros(count)
    for k in range(1, 40):
        strength = sum(1 / (1 + ((k * pitch - centre) / width) ** 2) for centre, width in places) + 0.3 / k
        voice += np.where(k * pitch < 5000, strength, 0) * np.sin(k * phase)
    syllables = np.clip(1.6 * np.sin(2 * np.pi * 2 * time) ** 2 - 0.15, 0, 1)
    both = 0.3 * voice / np.abs(voice).max() * syllables + 0.002 * rng.standard_normal(count)
    return both.astype(np.float32)


SOUNDS: dict[str, Callable[[float], Samples]] = {
    "white noise": lambda seconds: noise(seconds, 0.0, -30.0),
    "pink noise": lambda seconds: noise(seconds, 1.0, -30.0),
    "brown noise": lambda seconds: noise(seconds, 2.0, -30.0),
    "gusts": gusts,
    "hum": hum,
    "keyboard": keyboard,
    "drums": drums,
    "music": music,
}
"""What is no voice, by name: a function of the length in seconds."""


def _room(seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return 1e-4 * rng.standard_normal(round(seconds * RATE))


def _add(out: NDArray[np.float64], at: float, sound: NDArray[np.float64]) -> None:
    first = round(at * RATE)
    sound = sound[: max(0, len(out) - first)]
    out[first : first + len(sound)] += sound
