"""Voices as WORLD vocoder parameters: analysis, resynthesis, and changes that are cheap on the parameters.

WORLD (Morise, Yokomori and Ozawa 2016) splits speech into F0, spectral envelope (CheapTrick) and aperiodicity (D4C).
F0 comes from `pitch.track_f0`. One analysis serves many recolourings; each costs about one resynthesis. Needs the
extra `emotalk_ros[corpus]` (pyworld).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.pitch import track_f0
from emotalk_ros.requirements import install_command

FloatArray = NDArray[np.floating]
Phone = tuple[str, float, float]
"""ARPAbet name (`SIL` for silence), start and end in seconds."""

HOP = 0.005
"""Seconds between frames of an analysis."""

_F0_FLOOR = 65.0
_ACTIVE_DB = 32.0  # frames this far below the loud ones are background, not speech
_STRETCHED = {"SIL": 0.9, "AY": 1.3, "AW": 1.3, "OY": 1.3, "EY": 1.3, "OW": 1.3}
_STOPS = frozenset(["P", "B", "T", "D", "K", "G", "CH", "JH"])
_VOWELS = frozenset(["AA", "AE", "AH", "AO", "EH", "ER", "IH", "IY", "UH", "UW", "AX", "IX"])


@dataclass(frozen=True)
class VoiceFrames:
    """Speech as WORLD parameters; frame k is centred at k * HOP seconds.

    `f0` (T,) Hz, 0 where unvoiced; `envelope` (T, bins) power; `aperiodicity` (T, bins) 0..1; `length` of the audio
    in samples.
    """

    f0: FloatArray
    envelope: FloatArray
    aperiodicity: FloatArray
    sample_rate: int
    length: int

    @property
    def energy_db(self) -> FloatArray:
        """Power of each frame in dB (T,), on an arbitrary zero."""
        return 10.0 * np.log10(self.envelope.mean(axis=1) + 1e-16)

    def activity(self) -> FloatArray:
        """How much each frame is speech rather than background, 0..1 (T,), with soft edges."""
        level = self.energy_db
        loud = np.percentile(level, 95)
        return 1.0 / (1.0 + np.exp(-(level - (loud - _ACTIVE_DB)) / 3.0))


def _pyworld() -> Any:
    try:
        import pyworld
    except ImportError as error:
        raise ImportError(f"recolouring voices needs pyworld: {install_command('corpus')}") from error
    return pyworld


def analyse(samples: NDArray[np.floating], sample_rate: int = 16000) -> VoiceFrames:
    """WORLD parameters of mono `samples` (n,); about 40 x real time on one core.

    Raises ValueError for less than 0.1 s of audio and ImportError where pyworld is missing.
    """
    world = _pyworld()
    audio = np.ascontiguousarray(samples, dtype=np.float64)
    if audio.ndim != 1 or len(audio) < sample_rate // 10:
        raise ValueError(f"need mono audio of at least 0.1 s, got shape {audio.shape} at {sample_rate} Hz")
    # A faint noise keeps CheapTrick finite in digital silence.
    audio = audio + np.random.default_rng(len(audio)).normal(0.0, 1e-5, len(audio))
    coarse, _ = track_f0(audio, sample_rate, hop=2 * HOP, floor=_F0_FLOOR)
    frames = int(len(audio) / sample_rate / HOP) + 1
    times = np.arange(frames) * HOP
    f0 = _refine(coarse, frames)
    envelope = world.cheaptrick(audio, f0, times, sample_rate, f0_floor=71.0)
    # Aperiodicity changes slowly: half the frames do, each used twice.
    half = world.d4c(audio, np.ascontiguousarray(f0[::2]), np.ascontiguousarray(times[::2]), sample_rate)
    aperiodicity = np.repeat(half, 2, axis=0)[:frames]
    return VoiceFrames(f0, envelope, aperiodicity, sample_rate, len(audio))


def _refine(coarse: FloatArray, frames: int) -> FloatArray:
    """F0 at twice the frame rate: between two voiced neighbours the mean in octaves, else as its left neighbour."""
    f0 = np.zeros(2 * len(coarse))
    f0[::2] = coarse
    left, right = coarse, np.append(coarse[1:], 0.0)
    both = (left > 0) & (right > 0)
    f0[1::2] = np.where(both, np.sqrt(left * right), left)
    return np.ascontiguousarray(np.pad(f0, (0, max(0, frames - len(f0))))[:frames])


def synthesise(voice: VoiceFrames) -> NDArray[np.float32]:
    """Audio (length,) of `voice`; about 90 x real time on one core."""
    world = _pyworld()
    audio = world.synthesize(
        np.ascontiguousarray(voice.f0),
        np.ascontiguousarray(voice.envelope),
        np.ascontiguousarray(voice.aperiodicity),
        voice.sample_rate,
        HOP * 1000.0,
    )
    audio = audio[: voice.length]
    return np.pad(audio, (0, voice.length - len(audio))).astype(np.float32)


def warp_formants(voice: VoiceFrames, factor: float) -> VoiceFrames:
    """`voice` with all formants moved by `factor` (1.1: a vocal tract about a tenth shorter)."""
    if abs(factor - 1.0) < 1e-3:
        return voice
    bins = voice.envelope.shape[1]
    position = np.minimum(np.arange(bins) / factor, bins - 1.001)
    low = position.astype(int)
    weight = position - low
    envelope = voice.envelope[:, low] * (1.0 - weight) + voice.envelope[:, low + 1] * weight
    return replace(voice, envelope=envelope)


def shift_f0(voice: VoiceFrames, semitones: float) -> VoiceFrames:
    """`voice` with its F0 moved by `semitones`."""
    return replace(voice, f0=voice.f0 * 2.0 ** (semitones / 12.0))


def stretch(
    voice: VoiceFrames, phones: Sequence[Phone], factor: float, pause_factor: float | None = None
) -> tuple[VoiceFrames, list[Phone]]:
    """`voice` spoken in about `factor` times the time, and the phones where they then lie.

    Vowels take more of the change than stops and fricatives, as in natural slow speech (Gay 1978); pauses are scaled
    by `pause_factor` (default: `factor`). With no phones everything is scaled alike.
    """
    before, after = _time_map(phones, voice.length / voice.sample_rate, factor, pause_factor or factor)
    frames = int(after[-1] / HOP) + 1
    source = np.interp(np.arange(frames) * HOP, after, before) / HOP
    low = np.minimum(source.astype(int), len(voice.f0) - 1)
    high = np.minimum(low + 1, len(voice.f0) - 1)
    weight = source - low
    both = (voice.f0[low] > 0) & (voice.f0[high] > 0)
    f0 = np.where(
        both, voice.f0[low] * (1 - weight) + voice.f0[high] * weight, voice.f0[np.where(weight < 0.5, low, high)]
    )
    column = weight[:, None]
    moved = VoiceFrames(
        f0,
        voice.envelope[low] * (1 - column) + voice.envelope[high] * column,
        voice.aperiodicity[low],
        voice.sample_rate,
        int(after[-1] * voice.sample_rate),
    )
    return moved, [(name, _at(start, before, after), _at(end, before, after)) for name, start, end in phones]


def _at(time: float, before: FloatArray, after: FloatArray) -> float:
    return float(np.interp(time, before, after))


def _elasticity(name: str) -> float:
    base = name.rstrip("012")
    if base in _STRETCHED:
        return _STRETCHED[base]
    return 1.3 if base in _VOWELS else 0.4 if base in _STOPS else 0.75


def _time_map(
    phones: Sequence[Phone], duration: float, factor: float, pause_factor: float
) -> tuple[FloatArray, FloatArray]:
    """Knots of a rising piecewise linear map from old to new time."""
    before, after = [0.0], [0.0]
    for name, start, end in sorted(phones, key=lambda p: p[1]):
        for until, wanted, elasticity in (
            (start, factor, 1.0),
            (end, pause_factor if name == "SIL" else factor, _elasticity(name)),
        ):
            until = min(until, duration)
            if until > before[-1] + 1e-6:
                scale = max(0.3, 1.0 + (wanted - 1.0) * elasticity)
                after.append(after[-1] + (until - before[-1]) * scale)
                before.append(until)
    if duration > before[-1]:
        after.append(after[-1] + (duration - before[-1]) * factor)
        before.append(duration)
    return np.array(before), np.array(after)
