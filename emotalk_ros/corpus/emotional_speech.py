"""Emotion for voices: how eight emotions at two levels change the sound of speech, applied to WORLD parameters.

`recolour` turns one recording into any emotion without moving time: same content, same speaker, same phone times. The
table is `PROSODY`; where its figures come from is told there and in `docs/corpus.md`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from emotalk_ros.corpus.world import HOP, VoiceFrames, analyse, synthesise, warp_formants
from emotalk_ros.emotions import EMOTIONS, canonical

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ProsodyChange:
    """A way of speaking, relative to the same speaker's neutral voice.

    `shift` of the F0 median in semitones; `range` of F0 about its median, a factor; `slope` of F0 in semitones per
    second added to the contour; `rise` of the last 0.35 s in semitones; `loudness` in dB; `dynamics`, factor on
    loudness differences within speech; `tilt` in dB, 2-4 kHz against 0.1-0.5 kHz; `breath` -1 (pressed) to 1
    (whispery); `tremor` depth in semitones at 5-8 Hz; `jitter` of F0 in semitones from frame to frame; `creak`, share
    of the softest voiced speech that creaks; `formants`, a factor; `duration` and `pauses`, factors.
    """

    shift: float = 0.0
    range: float = 1.0
    slope: float = 0.0
    rise: float = 0.0
    loudness: float = 0.0
    dynamics: float = 1.0
    tilt: float = 0.0
    breath: float = 0.0
    tremor: float = 0.0
    jitter: float = 0.0
    creak: float = 0.0
    formants: float = 1.0
    duration: float = 1.0
    pauses: float = 1.0


PROSODY: dict[str, tuple[ProsodyChange, ProsodyChange]] = {
    "neutral": (ProsodyChange(), ProsodyChange()),
    "calm": (
        ProsodyChange(-0.8, 0.9, 0.4, 0.5, -2.0, 0.92, -3.5, 0.10, formants=0.995, duration=1.2, pauses=1.2),
        ProsodyChange(-0.8, 0.9, 1.0, 0.8, -2.5, 0.92, -4.5, 0.12, formants=0.99, duration=1.4, pauses=1.5),
    ),
    "happy": (
        ProsodyChange(2.6, 1.2, 1.2, -0.5, 5.0, 1.0, 2.0, -0.05, 0.05, 0.12, formants=1.02, duration=1.03),
        ProsodyChange(7.0, 1.45, 2.6, -0.5, 12.5, 1.08, 4.8, -0.1, 0.1, 0.38, formants=1.035, duration=1.15),
    ),
    "sad": (
        ProsodyChange(1.5, 1.0, 1.6, 0.8, -1.0, 0.95, -1.5, 0.10, 0.2, 0.15, 0.08, 0.99, 1.15, 1.3),
        ProsodyChange(5.0, 1.3, 3.0, 0.5, 4.0, 1.12, 0.5, 0.12, 0.5, 0.45, 0.10, 0.99, 1.3, 1.6),
    ),
    "angry": (
        ProsodyChange(2.6, 1.2, 1.0, -1.5, 7.0, 1.1, 4.0, 0.15, 0.0, 0.35, 0.0, 1.01, 1.12, 1.2),
        ProsodyChange(9.5, 1.75, 4.2, -2.0, 19.0, 1.2, 10.0, 0.15, 0.0, 0.6, 0.0, 1.025, 1.25, 1.4),
    ),
    "fearful": (
        ProsodyChange(4.0, 1.1, 3.0, 0.5, 5.0, 1.1, 1.0, 0.10, 0.3, 0.35, 0.0, 1.01, 1.08, 1.4),
        ProsodyChange(11.0, 1.9, 6.5, 0.0, 14.5, 1.25, 4.5, 0.08, 0.5, 0.6, 0.0, 1.02, 1.25, 1.8),
    ),
    "disgust": (
        ProsodyChange(0.8, 0.95, 1.5, -0.5, 1.0, 1.18, -1.0, 0.08, 0.0, 0.15, 0.22, 0.975, 1.35, 1.4),
        ProsodyChange(3.6, 1.1, 2.6, -0.5, 6.5, 1.3, 1.0, 0.05, 0.0, 0.2, 0.25, 0.965, 1.5, 1.6),
    ),
    "surprised": (
        ProsodyChange(3.2, 1.55, 3.0, 3.0, 5.0, 1.0, 2.5, 0.20, 0.1, 0.42, 0.0, 1.015, 1.0),
        ProsodyChange(5.6, 1.85, 4.5, 4.0, 11.0, 1.05, 5.0, 0.22, 0.1, 0.55, 0.0, 1.025, 1.05),
    ),
}
"""Normal and strong portrayal of each emotion (RAVDESS intensities 01 and 02).

F0, its range and 2-4 kHz against 0.1-0.5 kHz of the strong ones: after the actors of EMO-DB (Burkhardt et al. 2005)
relative to their own neutral. Directions of voice quality, dynamics, tremor, contour and pauses: Juslin and Laukka
(2003, table 11) and Scherer (2003, table 2). Loudness goes with F0 at about half a semitone per dB (Gramming et al.
1988). How far normal portrayals fall short of strong ones, loudness, durations and the ends of phrases: set so that
the means lie where those of four RAVDESS actors lie (Livingstone and Russo 2018). `docs/corpus.md` tells figure by
figure.
"""

_SPREAD = ProsodyChange(1.8, 0.2, 1.6, 1.7, 2.4, 0.08, 1.7, 0.13, 0.06, 0.04, 0.06, 0.012, 0.12, 0.25)
"""Standard deviation from clip to clip about the table; with what voices and microphones add, features of clips vary
within an emotion as much as those of RAVDESS do (F0 5.6 semitones, its slope 2.6 a second, tilt 5.3 dB)."""
_OF_ACTOR = ProsodyChange(1.2, 0.12, 0.6, 0.8, 1.6, 0.04, 1.2, 0.05, 0.05, 0.01, 0.03, 0.006, 0.06, 0.1)
"""Standard deviation from actor to actor of how one emotion is played."""
_LOWEST = ProsodyChange(-8.0, 0.25, -8.0, -8.0, -14.0, 0.6, -14.0, -0.6, 0.0, 0.0, 0.0, 0.92, 0.75, 0.5)
_HIGHEST = ProsodyChange(16.0, 2.4, 10.0, 10.0, 26.0, 1.6, 18.0, 0.8, 1.0, 0.7, 0.5, 1.08, 1.8, 2.5)


def draw_prosody(emotion: str, level: float, actor: int | str = 0, seed: int = 0, spread: float = 1.0) -> ProsodyChange:
    """One portrayal of `emotion` at `level` (0 normal, 1 strong) by `actor`, varied by `seed`.

    Actors differ in how they play each emotion and in how far they go (0.75 to 1.3 of the table); `spread` scales all
    of the variation (0: the bare table).
    """
    name = canonical(emotion)
    if not 0.0 <= level <= 1.0:
        raise ValueError(f"level must lie in 0 (normal) to 1 (strong), got {level}")
    base = ProsodyChange()
    normal, strong = (np.array(astuple(row)) for row in PROSODY[name])
    rest = np.array(astuple(base))
    of_actor = np.random.default_rng([crc32(f"actor {actor}".encode()), EMOTIONS.index(name)])
    of_clip = np.random.default_rng([seed, crc32(f"{actor} {name} {level}".encode())])
    reach = np.exp(spread * (of_actor.normal(0.0, 0.12) + of_clip.normal(0.0, 0.12)))
    values = rest + (normal + (strong - normal) * level - rest) * reach
    count = len(rest)
    values = values + spread * np.array(astuple(_OF_ACTOR)) * of_actor.normal(0.0, 1.0, count)
    values = values + spread * np.array(astuple(_SPREAD)) * of_clip.normal(0.0, 1.0, count)
    values = np.clip(values, astuple(_LOWEST), astuple(_HIGHEST))
    return ProsodyChange(**{field.name: float(v) for field, v in zip(fields(ProsodyChange), values, strict=True)})


def recolour(
    samples: NDArray[np.floating] | VoiceFrames,
    sample_rate: int = 16000,
    emotion: str = "neutral",
    level: float = 0.0,
    seed: int = 0,
    actor: int | str = 0,
    spread: float = 1.0,
) -> NDArray[np.float32]:
    """A neutral voice made emotional without moving time: (n,) mono in, (n,) out.

    `samples` are audio of a neutral voice or, cheaper when several emotions are wanted, its `world.analyse`.
    `emotion` is a home label, `level` 0 (normal) to 1 (strong), `actor` whoever plays (each plays in his own way),
    `seed` varies the portrayal. Loudness is part of the portrayal (strong anger about +19 dB): scale afterwards where
    it must not clip. Levels relative to the source are kept, so background noise stays as it was. Raises ValueError
    for an unknown emotion or a level outside 0..1.
    """
    voice = samples if isinstance(samples, VoiceFrames) else analyse(samples, sample_rate)
    return synthesise(apply_prosody(voice, draw_prosody(emotion, level, actor, seed, spread), seed))


def apply_prosody(voice: VoiceFrames, prosody: ProsodyChange, seed: int = 0) -> VoiceFrames:
    """`voice` spoken as `prosody` says, except for its durations (see `world.stretch`)."""
    rng = np.random.default_rng([seed, 7])
    activity = voice.activity()
    f0 = _contour(voice, prosody, activity, rng)
    f0, creaky = _creak(voice, f0, prosody.creak)
    voice = warp_formants(voice, prosody.formants)
    envelope = voice.envelope * _spectral_gain(voice, prosody, activity)
    envelope *= np.exp(_DB * _loudness_gain(voice, prosody, activity, rng))[:, None]
    return replace(voice, f0=f0, envelope=envelope, aperiodicity=_breath(voice, prosody.breath, creaky))


_DB = np.log(10.0) / 10.0


def _contour(voice: VoiceFrames, prosody: ProsodyChange, activity: FloatArray, rng: np.random.Generator) -> FloatArray:
    """F0 with its new median, range, slope, final rise, tremor and jitter."""
    voiced = voice.f0 > 0
    if not voiced.any():
        return voice.f0
    semitones = 12.0 * np.log2(np.where(voiced, voice.f0, 1.0))
    spoken = np.flatnonzero(voiced & (activity > 0.5))
    spoken = spoken if len(spoken) else np.flatnonzero(voiced)
    middle = float(np.median(semitones[spoken]))
    time = np.arange(len(semitones)) * HOP
    begin, end = time[spoken[0]], time[spoken[-1]]
    # The slope belongs to a phrase of some two seconds: in longer speech it starts again.
    phase = np.mod(time - begin, max(1.0, (end - begin) / max(1, round((end - begin) / 2.2))))
    span = min(end - begin, 2.2)
    change = prosody.shift + prosody.slope * (phase - span / 2.0)
    change = change + prosody.rise * np.clip(1.0 - (end - time) / 0.35, 0.0, 1.0) ** 1.5
    change = change + _tremor(time, prosody.tremor, rng)
    if prosody.jitter > 0:
        change = change + uniform_filter1d(rng.normal(0.0, prosody.jitter * np.sqrt(3.0), len(time)), 3)
    wanted = middle + (semitones - middle) * prosody.range + change
    # Throats have limits: about an octave and a half above this speaker's median, half an octave below.
    wanted = middle + _soft_limit(wanted - middle, -9.0, 21.0)
    return np.where(voiced, np.clip(2.0 ** (wanted / 12.0), 55.0, 700.0), 0.0)


def _soft_limit(values: FloatArray, low: float, high: float) -> FloatArray:
    return np.where(values > 0, high * np.tanh(values / high), low * np.tanh(values / low))


def _tremor(time: FloatArray, depth: float, rng: np.random.Generator) -> FloatArray:
    """A waver of 5 to 8 Hz whose depth comes and goes."""
    if depth <= 0:
        return np.zeros_like(time)
    rate = rng.uniform(5.0, 8.0) + 0.6 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time + rng.uniform(0, 6.3))
    phase = np.cumsum(rate) * HOP * 2 * np.pi + rng.uniform(0, 6.3)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * time + rng.uniform(0, 6.3))
    return depth * swell * np.sin(phase)


def _creak(voice: VoiceFrames, f0: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """F0 with its softest voiced frames lowered to a creak, and where that is (0..1)."""
    voiced = f0 > 0
    creaky = np.zeros(len(f0))
    if share > 0.01 and voiced.sum() > 10:
        threshold = np.quantile(voice.energy_db[voiced], share)
        creaky = uniform_filter1d((voiced & (voice.energy_db < threshold)).astype(float), 9)
    lowered = np.where(voiced, np.maximum(f0 * 2.0 ** (-0.6 * creaky), 50.0), 0.0)
    return lowered, creaky


def _spectral_gain(voice: VoiceFrames, prosody: ProsodyChange, activity: FloatArray) -> FloatArray:
    """Power gain (T, bins) that tilts voiced spectra by `tilt` dB between 0.3 and 3 kHz, unvoiced ones half as
    much.
    """
    frequency = np.linspace(0.0, voice.sample_rate / 2.0, voice.envelope.shape[1])
    curve = np.interp(
        np.log2(np.maximum(frequency, 50.0)),
        np.log2([50.0, 250.0, 900.0, 1800.0, 2600.0, 3500.0, 5000.0, 8000.0]),
        [-0.15, -0.1, 0.35, 0.35, 0.6, 0.95, 1.1, 0.7],
    )
    voiced = uniform_filter1d((voice.f0 > 0).astype(float), 5)
    amount = prosody.tilt * activity * (0.45 + 0.55 * voiced)
    return np.asarray(np.exp(_DB * amount[:, None] * curve[None, :]))


def _loudness_gain(
    voice: VoiceFrames, prosody: ProsodyChange, activity: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Gain in dB of each frame; the background keeps its level."""
    level = voice.energy_db
    speech = level[activity > 0.5]
    middle = float(np.median(speech)) if len(speech) else 0.0
    time = np.arange(len(level)) * HOP
    gain = prosody.loudness + np.clip((level - middle) * (prosody.dynamics - 1.0), -8.0, 8.0)
    gain = gain + _tremor(time, 2.0 * prosody.tremor, rng)
    # Louder speech lifts the energy of the whole envelope by the tilt already; take that part back below.
    return np.asarray((gain - 0.15 * max(prosody.tilt, 0.0)) * activity)


def _breath(voice: VoiceFrames, amount: float, creaky: FloatArray) -> FloatArray:
    """Aperiodicity with more noise (`amount` > 0, most in the high bands) or less (< 0)."""
    bins = voice.aperiodicity.shape[1]
    shape = np.clip(np.linspace(0.2, 1.6, bins), 0.0, 1.0)
    periodic = 1.0 - voice.aperiodicity
    if amount >= 0:
        periodic = periodic * (1.0 - np.minimum(amount * shape, 0.9))
    else:
        periodic = 1.0 - voice.aperiodicity * (1.0 + np.maximum(amount * shape, -0.8))
    periodic *= (1.0 - 0.35 * creaky)[:, None]
    return np.clip(1.0 - periodic, 1e-6, 1.0)
