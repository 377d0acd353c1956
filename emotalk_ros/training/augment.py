"""Changes of the waveform that leave the labels true: gain, coloured noise, a dull microphone; and shots of stillness.

Everything is drawn from a generator that the caller seeds per window, so a step's data are the same in every run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from emotalk_ros.corpus.augment import equalise
from emotalk_ros.training.recipe import AugmentRecipe
from emotalk_ros.units import SAMPLE_RATE

Floats = NDArray[np.float32]

_BANK_SECONDS = 20
_ROOM_DB = 6.0
"""Standard deviation of the random response of noise without speech."""
_MOST_TAPS = 16
"""Length of the longest average that noise without speech passes."""


def coloured_noise(seed: int = 0, seconds: float = _BANK_SECONDS) -> dict[str, Floats]:
    """A bank of noises with RMS 1, (n,) each: white, pink, brown and mains hum; drawn from at random offsets."""
    rng = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    frequency = np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE)
    spectrum = rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))
    bank = {}
    for name, power in (("white", 0.0), ("pink", 0.5), ("brown", 1.0)):
        shaped = spectrum / np.maximum(frequency, 40.0) ** power
        shaped[frequency < 20.0] = 0.0
        bank[name] = np.fft.irfft(shaped, count)
    time = np.arange(count) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time + k) / k for k in (1, 2, 3, 4, 5))
    bank["hum"] = hum + 0.1 * bank["white"] / bank["white"].std()
    return {name: (values / values.std()).astype(np.float32) for name, values in bank.items()}


class Augmenter:
    """Applies a recipe's augmentation to windows of audio (n,) at 16 kHz."""

    def __init__(self, recipe: AugmentRecipe) -> None:
        self.recipe = recipe
        self._bank = coloured_noise()
        self._names = sorted(self._bank)

    def noise(self, count: int, rng: np.random.Generator) -> Floats:
        """`count` samples of a random colour, RMS about 1."""
        bank = self._bank[self._names[rng.integers(len(self._names))]]
        start = int(rng.integers(len(bank)))
        return np.take(bank, np.arange(start, start + count), mode="wrap")

    def __call__(self, audio: Floats, rng: np.random.Generator) -> Floats:
        """The window changed by chance; the result stays within full scale (clipped as a microphone would)."""
        r = self.recipe
        # Every draw happens whether it is used or not: one switch then never changes what the others draw.
        gain, chance_noise, snr, chance_low, cut = rng.random(5)
        noise = self.noise(len(audio), rng)
        if chance_low < r.lowpass_probability:
            audio = _low_pass(audio, _between(r.lowpass_hz, cut))
        if chance_noise < r.noise_probability:
            level = float(np.sqrt(np.mean(audio**2))) * 10 ** (-_between(r.noise_snr_db, snr) / 20)
            audio = audio + np.float32(level) * noise
        if r.equalizer_db > 0:
            audio = equalise(audio, tuple(rng.normal(0.0, r.equalizer_db, 5))).astype(np.float32)
        if r.gain_db > 0:
            audio = audio * np.float32(10 ** ((2 * gain - 1) * r.gain_db / 20))
        return np.clip(audio, -1.0, 1.0)

    def still(self, count: int, rng: np.random.Generator) -> Floats:
        """A window without speech: digital silence one time in four, else room noise at the recipe's level.

        Rooms and microphones colour their noise in any way: half of it loses its treble above 0.3 to 6 kHz, one time in
        four a short average cuts notches into it, all of it passes a random response, and one time in four it sets in
        somewhere in the window.
        """
        silent, level, dull, cut, late, onset, notched = rng.random(7)
        noise = self.noise(count, rng)
        taps = rng.random(rng.integers(2, _MOST_TAPS + 1)) ** 0.5
        response = tuple(rng.normal(0.0, _ROOM_DB, 5))
        if silent < 0.25:
            return np.zeros(count, np.float32)
        if dull < 0.5:
            noise = _low_pass(noise, 300.0 * 20.0**cut)
        if notched < 0.25:
            noise = lfilter(taps, [1.0], noise)
        noise = equalise(noise, response).astype(np.float32)
        noise *= np.float32(10 ** (_between(self.recipe.still_level_db, level) / 20) / (noise.std() + 1e-9))
        if late < 0.25:
            noise[: int(onset * count)] = 0.0
        return np.clip(noise, -1.0, 1.0)


def _low_pass(audio: Floats, hertz: float) -> Floats:
    """One pole, twice."""
    pole = np.exp(-2 * np.pi * hertz / SAMPLE_RATE)
    return np.asarray(lfilter([(1 - pole) ** 2], [1.0, -2 * pole, pole**2], audio), dtype=np.float32)


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * share
