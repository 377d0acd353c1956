"""Recordings with phone times turned into labelled emotional speech, by their own speaker or by made-up ones.

`emotional_variants` is the short way from a neutral recording to training clips: one WORLD analysis, then one
resynthesis per emotion (together about 50 x real time of the result on one core).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.corpus.emotional_speech import apply_prosody, draw_prosody
from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.store import Clip
from emotalk_ros.corpus.visemes import MouthStyle, loudness_curve
from emotalk_ros.corpus.world import Phone, VoiceFrames, analyse, shift_f0, stretch, synthesise, warp_formants
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.units import SAMPLE_RATE

PORTRAYALS: tuple[tuple[str, float], ...] = (
    ("neutral", 0.0),
    *tuple((label, level) for label in EMOTIONS if label != "neutral" for level in (0.0, 1.0)),
)
"""The fifteen (emotion, level) of RAVDESS: neutral has no strong form."""


@dataclass(frozen=True)
class Recording:
    """Neutral speech (n,) mono 16 kHz with its phones in seconds; `speaker` names the voice, `source` the
    collection.
    """

    name: str
    audio: NDArray[np.float32]
    phones: tuple[Phone, ...]
    speaker: str = ""
    sentence: str = ""
    source: str = ""

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return len(self.audio) / SAMPLE_RATE


@dataclass(frozen=True)
class Speaker:
    """A voice made from another: vocal tract by `formants` (factor), pitch by `shift` (semitones), `range` of F0,
    `breath`.
    """

    formants: float = 1.0
    shift: float = 0.0
    range: float = 1.0
    tilt: float = 0.0
    breath: float = 0.0
    rate: float = 1.0


def made_up_speaker(seed: int, strength: float = 1.0) -> Speaker:
    """A speaker who differs from the source voice by up to a sixth in vocal tract and some semitones in pitch.

    Tract and pitch go together (short tracts, high voices: the slope of Fitch and Giedd 1999 and Peterson and Barney
    1952, about 0.17 in the formants between men and women for 9 semitones), with some scatter. `strength` 0: the
    voice itself.
    """
    rng = np.random.default_rng([seed, 17])
    size = strength * float(np.clip(rng.normal(0.0, 0.07), -0.14, 0.14))
    return Speaker(
        formants=1.0 + size,
        shift=size / 0.17 * 9.0 + strength * float(rng.normal(0.0, 1.2)),
        range=1.0 + strength * float(np.clip(rng.normal(0.0, 0.15), -0.35, 0.35)),
        tilt=strength * float(rng.normal(0.0, 1.5)),
        breath=strength * float(rng.normal(0.0, 0.08)),
        rate=float(np.exp(strength * np.clip(rng.normal(0.0, 0.08), -0.18, 0.18))),
    )


def phrase_spans(phones: Sequence[Phone], shortest: float = 1.2, longest: float = 4.5) -> list[list[Phone]]:
    """`phones` grouped into phrases of `shortest` to about `longest` seconds, cut at pauses; silences are left out.

    Speech that goes on for longer than `longest` without a pause is cut between two phones.
    """
    sounding = [p for p in phones if not is_silence(p[0])]
    if not sounding:
        return []
    pieces: list[list[Phone]] = [[sounding[0]]]
    for previous, phone in pairwise(sounding):
        gap, length = phone[1] - previous[2], phone[2] - pieces[-1][0][1]
        if (gap >= 0.12 and previous[2] - pieces[-1][0][1] >= shortest) or gap >= 0.6 or length > longest:
            pieces.append([phone])
        else:
            pieces[-1].append(phone)
    return [piece for piece in pieces if piece[-1][2] - piece[0][1] >= shortest]


def phrases(recording: Recording, shortest: float = 1.2, longest: float = 4.5) -> list[Recording]:
    """`recording` cut at its pauses into phrases (see `phrase_spans`), 0.15 s of margin kept where there is silence.

    Gives one speaker several contents, which pseudo pairs need.
    """
    kept = phrase_spans(recording.phones, shortest, longest)
    return [_cut(recording, piece, k) for k, piece in enumerate(kept)]


def _cut(recording: Recording, piece: list[Phone], number: int) -> Recording:
    others = [p for p in recording.phones if not is_silence(p[0])]
    before = max((p[2] for p in others if p[2] <= piece[0][1] + 1e-6), default=0.0)
    after = min((p[1] for p in others if p[1] >= piece[-1][2] - 1e-6), default=recording.duration)
    start = max(before, piece[0][1] - 0.15, 0.0)
    end = min(after, piece[-1][2] + 0.15, recording.duration)
    first, last = int(start * SAMPLE_RATE), int(end * SAMPLE_RATE)
    audio = recording.audio[first:last].copy()
    edge = min(len(audio) // 2, SAMPLE_RATE // 200)
    fade = np.linspace(0.0, 1.0, edge, dtype=np.float32)
    audio[:edge] *= fade
    audio[len(audio) - edge :] *= fade[::-1]
    moved = tuple((name, max(0.0, a - start), min(b, end) - start) for name, a, b in piece)
    return replace(recording, name=f"{recording.name}.{number}", audio=audio, phones=moved)


def emotional_variants(
    samples: NDArray[np.floating],
    phones: Sequence[Phone],
    portrayals: Sequence[tuple[str, float]] = PORTRAYALS,
    actor: int = 0,
    person: int | None = None,
    seed: int = 0,
    speaker: Speaker | None = None,
    keep_time: bool = False,
    speech_db: float = -33.0,
    fps: float = 30.0,
    name: str = "clip",
    sentence: str = "",
    source: str = "",
    mouth: MouthStyle | None = None,
) -> list[Clip]:
    """One neutral clip in several emotions, each with its audio, phones and labels.

    `samples` (n,) mono 16 kHz with `phones` [(ARPAbet, start s, end s), ...]; `portrayals` [(emotion, level), ...] to
    make; `actor` decides how each emotion is played, `person` 0..23 (default: actor modulo 24) how the face does it;
    `speaker` makes the voice another's. Slow emotions take longer, their phones moved along, unless `keep_time` is
    true (all variants then run in step). `speech_db`: level of the neutral voice in dB full scale; loud emotions lie
    above it, as they do before one microphone; what would clip is turned down. Same arguments, same result. Raises
    ValueError as `labels_from_phones` does.
    """
    phones = [(str(p), float(a), float(b)) for p, a, b in phones]
    person = actor % 24 if person is None else person
    voice = speak_as(analyse(at_level(samples, phones, speech_db), SAMPLE_RATE), speaker)
    rate = 1.0 / speaker.rate if speaker else 1.0
    clips = []
    for emotion, level in portrayals:
        own = crc32(f"{seed} {name} {emotion} {level}".encode())
        audio, moved = _perform(voice, phones, emotion, level, actor, own, 1.0 if keep_time else rate, keep_time)
        frames = max(1, int(len(audio) / SAMPLE_RATE * fps))
        coefficients = labels_from_phones(
            moved,
            frames,
            fps,
            emotion,
            level,
            person,
            seed=own,
            loudness=loudness_curve(audio, frames, fps),
            mouth=mouth,
        )
        clips.append(
            Clip(
                id=f"{name}-{emotion}-{'strong' if level > 0.5 else 'normal'}",
                audio=audio,
                coefficients=coefficients,
                fps=fps,
                actor=actor,
                emotion=emotion,
                level=level,
                sentence=sentence,
                phones=tuple(moved),
                source=source,
                person=person,
            )
        )
    return clips


def _perform(
    voice: VoiceFrames,
    phones: list[Phone],
    emotion: str,
    level: float,
    actor: int,
    seed: int,
    rate: float,
    keep_time: bool,
) -> tuple[NDArray[np.float32], list[Phone]]:
    prosody = draw_prosody(emotion, level, actor, seed)
    if not keep_time:
        voice, phones = stretch(voice, phones, prosody.duration * rate, prosody.pauses * rate)
    audio = synthesise(apply_prosody(voice, prosody, seed))
    peak = float(np.abs(audio).max(initial=0.0))
    return (audio * np.float32(0.97 / peak) if peak > 0.97 else audio), phones


def speak_as(voice: VoiceFrames, speaker: Speaker | None) -> VoiceFrames:
    """`voice` as `speaker` (tract, pitch, range, tilt, breath; not the rate, which moves time)."""
    if speaker is None:
        return voice
    voice = shift_f0(warp_formants(voice, speaker.formants), speaker.shift)
    neutral = draw_prosody("neutral", 0.0, spread=0.0)
    own = replace(neutral, range=speaker.range, tilt=speaker.tilt, breath=speaker.breath)
    return apply_prosody(voice, own)


def at_level(samples: NDArray[np.floating], phones: Sequence[Phone], level_db: float) -> NDArray[np.float64]:
    """`samples` scaled so that the speech in them (the phones' spans) has `level_db` RMS in dB full scale."""
    audio = np.asarray(samples, dtype=np.float64)
    inside = np.zeros(len(audio), dtype=bool)
    for name, start, end in phones:
        if not is_silence(name):
            inside[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)] = True
    power = float(np.mean(audio[inside] ** 2)) if inside.any() else float(np.mean(audio**2) if len(audio) else 0.0)
    return audio * (10.0 ** (level_db / 20.0) / np.sqrt(power)) if power > 1e-12 else audio
