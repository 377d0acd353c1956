"""Build the two corpora that the shipped network is trained on, from real voices with phone times.

    emotalk prepare shipped-corpora SOURCE OUT --jobs 2

SOURCE holds one folder per collection: `<collection>/audio/<stem>.<any libsndfile suffix>` and
`<collection>/phones.json` ({stem: [[ARPAbet, start s, end s], ...]}). OUT/real gets every recording as it is, its face
labelled from its phones, without an emotion; OUT/emotional gets phrases of them recoloured into several emotions in
step, so that pseudo pairs have one time line: by their own voice and by others made of it (--voices: another tract and
pitch, another personal style of the face, the same actor to splits). Deterministic by --seed; resumes where it was
interrupted.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from emotalk_ros.audio import load_audio
from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.readers.base import leave_interrupts_to_the_parent
from emotalk_ros.corpus.store import Clip, CorpusError, CorpusWriter, Record, Source, write_clip
from emotalk_ros.corpus.visemes import loudness_curve
from emotalk_ros.corpus.voices import PORTRAYALS, Recording, emotional_variants, made_up_speaker, phrases
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import ARKIT_NAMES

FPS = 30.0
# Nobody noted how the readers felt: their recordings teach the mouth only, not that a real voice means a neutral face.
UNKNOWN = tuple(
    name
    for name in ARKIT_NAMES
    if not name.startswith(("jaw", "mouth"))
    or name.startswith(("mouthSmile", "mouthFrown", "mouthDimple", "mouthLeft", "mouthRight"))
)
SOURCES: dict[str, Source] = {
    "librispeech": Source(
        "librispeech",
        "CC BY 4.0",
        "LibriSpeech (c) 2014 by Vassil Panayotov, from LibriVox readers",
        "https://www.openslr.org/12",
    ),
    "ljspeech": Source(
        "ljspeech",
        "public domain",
        "The LJ Speech Dataset, Keith Ito and Linda Johnson",
        "https://keithito.com/LJ-Speech-Dataset",
    ),
    "picovoice_barista": Source(
        "picovoice_barista",
        "Apache-2.0",
        "Picovoice speech-to-intent-benchmark, crowd-sourced coffee orders",
        "https://github.com/Picovoice/speech-to-intent-benchmark",
    ),
    "picovoice_wakewords": Source(
        "picovoice_wakewords",
        "Apache-2.0",
        "Picovoice wake-word-benchmark, crowd-sourced keywords",
        "https://github.com/Picovoice/wake-word-benchmark",
    ),
    "precise_community": Source(
        "precise_community",
        "public domain waivers",
        "Mycroft Precise-Community-Data",
        "https://github.com/MycroftAI/Precise-Community-Data",
    ),
}


@dataclass(frozen=True)
class Item:
    """One recording to work on."""

    collection: str
    stem: str
    audio: Path
    phones: tuple[tuple[str, float, float], ...]
    actor: int
    phrases: int
    """How many of its phrases are recoloured."""
    portrayals: int
    """In how many emotions."""


def speaker_of(collection: str, stem: str) -> str:
    """LibriSpeech names its reader first; LJ Speech has one; the crowd-sourced ones give no names: each its own."""
    if collection == "librispeech":
        return f"librispeech {stem.split('-')[0]}"
    return collection if collection == "ljspeech" else f"{collection} {stem}"


def items(source: Path, per_actor: int, portrayals: int, seed: int) -> Iterator[Item]:
    """Every recording with phones below `source`."""
    for phones_file in sorted(source.glob("*/phones.json")):
        collection = phones_file.parent.name
        files = {p.stem: p for p in (phones_file.parent / "audio").iterdir()}
        phones = json.loads(phones_file.read_text(encoding="utf-8"))
        stems = [s for s in sorted(phones) if s in files]
        recordings: dict[str, int] = defaultdict(int)
        for stem in stems:
            recordings[speaker_of(collection, stem)] += 1
        for stem in stems:
            speaker = speaker_of(collection, stem)
            many = recordings[speaker]
            rng = np.random.default_rng([seed, crc32(stem.encode())])
            named = collection in ("librispeech", "ljspeech")
            wanted = max(1, round(per_actor / many)) if named else 1
            if many > 10 * per_actor or not named:  # one voice in many recordings, or single phrases: a third will do
                wanted *= int(rng.random() < 0.33)
            yield Item(
                collection,
                stem,
                files[stem],
                tuple((str(p), float(a), float(b)) for p, a, b in phones[stem] if float(b) > float(a)),
                crc32(speaker.encode()) % 1_000_000,
                wanted,
                portrayals if named else max(1, portrayals // 2),
            )


def portrayals(item: Item, seed: int, voice: int = 0) -> list[tuple[str, float]]:
    """The same emotions, each at one level, for every phrase of one voice: pairs need that."""
    rng = np.random.default_rng([seed, item.actor, 5, voice] if voice else [seed, item.actor, 5])
    chosen = rng.permutation(EMOTIONS)[: item.portrayals]
    return [pick[rng.integers(len(pick))] for label in chosen if (pick := [p for p in PORTRAYALS if p[0] == label])]


def work(job: tuple[Item, Path, int, int, float]) -> tuple[list[Record], list[Record], str]:
    """Write all clips of one recording: records of the real and of the emotional corpus, and what went wrong."""
    item, out, seed, voices, speech_db = job
    try:
        audio = load_audio(item.audio)
        name = f"{item.collection}.{item.stem}"
        recording = Recording(name, audio, item.phones, sentence=name, source=item.collection)
        real = [write_clip(out / "real", plain(item, recording))]
        emotional = [write_clip(out / "emotional", c) for c in recoloured(item, recording, seed, voices, speech_db)]
    except ValueError as error:
        return [], [], f"{item.audio.name}: {error}"
    return real, emotional, ""


def plain(item: Item, recording: Recording) -> Clip:
    """The recording as it is, with the average face."""
    frames = max(1, int(len(recording.audio) / 16000 * FPS))
    loudness = loudness_curve(recording.audio, frames, FPS)
    face = labels_from_phones(item.phones, frames, FPS, loudness=loudness, blinks=False)
    return Clip(
        recording.name, recording.audio, face, FPS, item.actor, None, 1.0, recording.sentence, item.phones,
        item.collection, person=0, blind=UNKNOWN,
    )  # fmt: skip


def recoloured(item: Item, recording: Recording, seed: int, voices: int, speech_db: float) -> Iterator[Clip]:
    """Some phrases of the recording with silence around them, in the emotions of each voice."""
    if not item.phrases:
        return
    cut = phrases(recording)
    rng = np.random.default_rng([seed, crc32(recording.name.encode()), 3])
    for index in rng.permutation(len(cut))[: item.phrases]:
        phrase = cut[index]
        before, after = (int(t * 16000) for t in rng.uniform((0.25, 0.3), (0.7, 0.7)))
        padded = np.pad(phrase.audio, (before, after)) + rng.normal(0.0, 2e-5, len(phrase.audio) + before + after)
        moved = [(p, a + before / 16000, b + before / 16000) for p, a, b in phrase.phones]
        for voice in range(voices):
            # A made-up voice plays and moves its face as somebody else does; splits still know it as the same actor.
            other = item.actor if voice == 0 else crc32(f"{item.actor} {voice}".encode())
            clips = emotional_variants(
                padded,
                moved,
                portrayals(item, seed, voice),
                actor=other,
                seed=seed,
                speaker=made_up_speaker(other) if voice else None,
                keep_time=item.collection in ("librispeech", "ljspeech"),
                speech_db=speech_db,
                name=f"{phrase.name}.v{voice}" if voice else phrase.name,
                sentence=phrase.name,
                source=item.collection,
            )
            yield from (replace(clip, actor=item.actor) for clip in clips)


@dataclass(frozen=True)
class Choices:
    """How the corpora are built."""

    jobs: int = 2
    seed: int = 0
    per_actor: int = 2
    """Phrases of a named speaker that are recoloured."""
    portrayals: int = 6
    """Emotions of a named speaker; the others get half."""
    voices: int = 1
    """Voices that are recoloured: the speaker's own, and made-up ones of it."""
    speech_db: float = -40.0
    """Level of neutral speech, dB re full scale RMS."""


def build_corpora(
    source: Path, out: Path, choices: Choices, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[tuple[float, float], list[str]]:
    """Writes OUT/real and OUT/emotional: hours of both, and the recordings that were left out, with the reason.

    `progress` is called with the number of recordings done and in all. Raises CorpusError. Interrupted, the same call
    goes on.
    """
    every = list(items(source, choices.per_actor, choices.portrayals, choices.seed))
    if not every:
        raise CorpusError(f"{source}: no */phones.json with recordings beside it; make them: prepare shipped-sources")
    problems = []
    with (
        CorpusWriter(out / "real", SOURCES.values(), mode="append") as real,
        CorpusWriter(out / "emotional", SOURCES.values(), mode="append") as emotional,
        multiprocessing.get_context("spawn").Pool(choices.jobs, leave_interrupts_to_the_parent) as pool,
    ):
        left = [item for item in every if f"{item.collection}.{item.stem}" not in real.done]
        jobs = [(item, out, choices.seed, choices.voices, choices.speech_db) for item in left]
        for done, (plain_records, recoloured_records, problem) in enumerate(pool.imap_unordered(work, jobs), 1):
            for record in recoloured_records:
                emotional.add_record(record)
            for record in plain_records:
                real.add_record(record)
            if problem:
                problems.append(problem)
            progress(done, len(left))
        hours = [sum(r.duration for r in w.records) / 3600 for w in (real, emotional)]
    return (hours[0], hours[1]), problems
