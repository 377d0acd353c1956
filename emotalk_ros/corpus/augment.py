"""What rooms, microphones and lines do to a voice, for training: none of it moves time, so labels stay valid.

`draw_augmentation` picks a recording situation, `augment` applies it. Everything is drawn from a seed. About 150 x
real time on one core.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from emotalk_ros.units import SAMPLE_RATE

Floats = NDArray[np.floating]


NOISES: tuple[str, ...] = ("white", "pink", "brown", "hum", "fan", "babble", "clatter")
"""Kinds of background noise that `make_noise` knows."""

CODECS: tuple[str, ...] = ("telephone", "narrow", "opus")
"""Lines: 8-bit mu-law at 8 kHz (ITU-T G.711), a low-pass at 3.5 to 7 kHz, Opus at a low rate."""


@dataclass(frozen=True)
class Augmentation:
    """A recording situation. Neutral defaults change nothing.

    `reverberation` RT60 in seconds and `distance_db` level of the reverberation under the direct sound; `noise` kind
    and `snr_db` against the speech; `equaliser` gains in dB at 100, 400, 1500, 4000 and 7500 Hz; `codec`; `gain_db`
    of the whole recording; `clip_db`, how far the loudest peaks are cut.
    """

    reverberation: float = 0.0
    distance_db: float = 10.0
    noise: str | None = None
    snr_db: float = 30.0
    equaliser: tuple[float, ...] = ()
    codec: str | None = None
    gain_db: float = 0.0
    clip_db: float = 0.0


def draw_augmentation(seed: int, strength: float = 1.0) -> Augmentation:
    """A situation drawn from `seed`: from studio to a robot in a hall. `strength` 0 changes nothing but 1 is usual."""
    rng = np.random.default_rng([seed, 61])
    if strength <= 0:
        return Augmentation()
    room, noise, line, microphone = (bool(v) for v in rng.random(4) < strength * np.array([0.4, 0.6, 0.12, 0.85]))
    return Augmentation(
        reverberation=float(rng.uniform(0.12, 0.7)) if room else 0.0,
        distance_db=float(rng.uniform(2.0, 16.0)),
        noise=str(rng.choice(NOISES)) if noise else None,
        snr_db=float(np.clip(rng.normal(25.0, 9.0), 5.0, 45.0)),
        equaliser=tuple(float(v) for v in rng.normal(0.0, 4.5 * strength, 5)) if microphone else (),
        codec=str(rng.choice(CODECS)) if line else None,
        gain_db=float(np.clip(rng.normal(0.0, 4.0 * strength), -12.0, 10.0)),
        clip_db=float(rng.uniform(1.0, 6.0)) if rng.random() < 0.03 * strength else 0.0,
    )


def augment(samples: Floats, setting: Augmentation, seed: int = 0) -> NDArray[np.float32]:
    """`samples` (n,) mono 16 kHz as recorded in `setting`, (n,), within full scale. Same seed, same noise."""
    audio: Floats = np.asarray(samples, dtype=np.float64)
    if len(audio) == 0:
        return audio.astype(np.float32)
    rng = np.random.default_rng([seed, 67])
    if setting.reverberation > 0:
        audio = reverberate(audio, setting.reverberation, setting.distance_db, rng)
    if setting.noise is not None:
        audio = audio + _at_snr(make_noise(setting.noise, len(audio), rng), audio, setting.snr_db)
    if setting.equaliser:
        audio = equalise(audio, setting.equaliser)
    if setting.codec is not None:
        audio = through_codec(audio, setting.codec, rng)
    audio = audio * 10.0 ** (setting.gain_db / 20.0)
    peak = float(np.abs(audio).max())
    if setting.clip_db > 0 and peak > 0:
        ceiling = peak * 10.0 ** (-setting.clip_db / 20.0)
        audio, peak = np.clip(audio, -ceiling, ceiling), ceiling
    return (audio * (0.99 / peak) if peak > 0.99 else audio).astype(np.float32)


def reverberate(audio: Floats, seconds: float, distance_db: float, rng: np.random.Generator) -> Floats:
    """`audio` in a room whose sound decays by 60 dB in `seconds`; the direct sound keeps its time and level.

    The room is exponentially decaying noise, duller with time (Moorer 1979), `distance_db` under the direct sound.
    """
    length = max(2, int(seconds * SAMPLE_RATE))
    time = np.arange(length) / SAMPLE_RATE
    bright, dull = rng.normal(0.0, 1.0, length), _smooth(rng.normal(0.0, 1.0, length), 4) * 2.0
    share = time / seconds
    tail = (bright * (1.0 - share) + dull * share) * 10.0 ** (-3.0 * share)
    tail[: int(0.003 * SAMPLE_RATE)] = 0.0
    tail *= 10.0 ** (-distance_db / 20.0) / np.sqrt(np.sum(tail**2) + 1e-12)
    return audio + fftconvolve(audio, tail)[: len(audio)]


def make_noise(kind: str, length: int, rng: np.random.Generator) -> Floats:
    """Noise (length,) of unit power. Raises ValueError for an unknown kind."""
    if kind in ("white", "pink", "brown", "fan"):
        noise = _coloured(length, {"white": 0.0, "pink": 1.0, "brown": 2.0, "fan": 1.6}[kind], rng)
        if kind == "fan":
            noise = noise + _tones(length, rng.uniform(60.0, 240.0), 5, rng) * 0.5
    elif kind == "hum":
        noise = _tones(length, float(rng.choice([50.0, 60.0])), 12, rng) + 0.15 * _coloured(length, 1.0, rng)
    elif kind == "babble":
        # Speech-shaped noise in several voices' rhythm of about four syllables a second.
        noise = np.zeros(length)
        for _ in range(4):
            rhythm = np.clip(_smooth(rng.normal(0.0, 1.0, length // 800 + 8), 3), 0.0, None)
            rhythm = np.interp(np.arange(length) / 800.0, np.arange(len(rhythm)), rhythm)
            noise += rhythm * _coloured(length, 1.3, rng)
    elif kind == "clatter":
        noise = 0.1 * _coloured(length, 1.0, rng)
        for start in rng.integers(0, max(1, length), max(1, int(length / SAMPLE_RATE * 1.5))):
            span = min(length - start, int(rng.uniform(0.02, 0.12) * SAMPLE_RATE))
            knock = rng.normal(0.0, 1.0, span) * np.exp(-np.arange(span) / (0.2 * span + 1.0))
            noise[start : start + span] += rng.uniform(0.5, 3.0) * knock
    else:
        raise ValueError(f"unknown noise {kind!r}; known: {', '.join(NOISES)}")
    return np.asarray(noise / (np.sqrt(np.mean(noise**2)) + 1e-12))


def equalise(audio: Floats, gains_db: tuple[float, ...]) -> Floats:
    """`audio` through a smooth response with `gains_db` at 100, 400, 1500, 4000 and 7500 Hz (zero phase: no delay)."""
    size = 1 << int(np.ceil(np.log2(len(audio) + 512)))
    frequency = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    points = np.log2([100.0, 400.0, 1500.0, 4000.0, 7500.0])
    gain = np.interp(np.log2(np.maximum(frequency, 20.0)), points, gains_db)
    spectrum = np.fft.rfft(audio, size) * 10.0 ** (gain / 20.0)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(audio)])


def through_codec(audio: Floats, codec: str, rng: np.random.Generator) -> Floats:
    """`audio` after a line; same length, no delay. Raises ValueError for an unknown codec."""
    if codec == "telephone":
        band = _low_pass(audio, 3400.0, 250.0)
        peak = max(float(np.abs(band).max()), 1e-6)
        magnitude = np.log1p(255.0 * np.abs(band) / peak) / np.log(256.0)
        coded = np.round(magnitude * 127.0) / 127.0
        return np.asarray(np.sign(band) * peak * (np.expm1(coded * np.log(256.0)) / 255.0))
    if codec == "narrow":
        return _low_pass(audio, rng.uniform(3500.0, 7000.0), 40.0)
    if codec == "opus":
        return _opus(audio, rng)
    raise ValueError(f"unknown codec {codec!r}; known: {', '.join(CODECS)}")


def _opus(audio: Floats, rng: np.random.Generator) -> Floats:
    peak = max(float(np.abs(audio).max()), 1e-6)
    file = io.BytesIO()
    level = float(rng.uniform(0.7, 0.98))
    soundfile.write(file, audio * (0.9 / peak), SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=level)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float64")
    decoded = decoded[: len(audio)]
    return np.asarray(np.pad(decoded, (0, len(audio) - len(decoded))) * (peak / 0.9))


def _at_snr(noise: Floats, speech: Floats, snr_db: float) -> Floats:
    """`noise` scaled to lie `snr_db` under the loud parts of `speech` (a tenth of a microvolt under silence)."""
    blocks = speech[: len(speech) // 160 * 160].reshape(-1, 160) if len(speech) >= 160 else speech[None, :]
    power = float(np.percentile(np.mean(blocks**2, axis=1), 80))
    return noise * np.sqrt(max(power, 1e-10) * 10.0 ** (-snr_db / 10.0))


def _coloured(length: int, slope: float, rng: np.random.Generator) -> Floats:
    """Noise whose power falls with frequency to the power of `slope`, unit power."""
    size = 1 << int(np.ceil(np.log2(max(length, 2))))
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE), 40.0)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2.0), size)[:length]
    return np.asarray(noise / (np.sqrt(np.mean(noise**2)) + 1e-12))


def _tones(length: int, fundamental: float, count: int, rng: np.random.Generator) -> Floats:
    time = np.arange(length) / SAMPLE_RATE
    tones = np.zeros(length)
    for k in range(1, count + 1):
        tones += rng.uniform(0.2, 1.0) / k * np.sin(2 * np.pi * k * fundamental * time + rng.uniform(0.0, 6.3))
    return tones


def _smooth(values: Floats, width: int) -> Floats:
    return np.asarray(np.convolve(values, np.ones(width) / width, mode="same"))


def _low_pass(audio: Floats, cutoff: float, low_cut: float) -> Floats:
    size = 1 << int(np.ceil(np.log2(len(audio) + 512)))
    frequency = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    gain = np.clip(1.0 - (frequency - cutoff) / 400.0, 0.0, 1.0) * np.clip(frequency / low_cut, 0.0, 1.0)
    return np.asarray(np.fft.irfft(np.fft.rfft(audio, size) * gain, size)[: len(audio)])
