"""Build the corpora that the shipped network is trained on.

    emotalk prepare shipped-corpora SOURCE OUT --jobs 2 --kokoro-hours 0.5 --kokoro-voices VOICES --packed

SOURCE is what `emotalk prepare shipped-sources` wrote: one folder per collection of real voices, with
`<collection>/audio/<stem>.<any libsndfile suffix>` and `<collection>/phones.json` ({stem: [[ARPAbet, start s, end s],
...]}), and the studio takes of `facegood`.

* OUT/real: every recording, most of the silence at its ends cut off, its mouth labelled from its phones. Nobody knows
  how the readers felt: those coefficients are blind.
* OUT/kokoro: the same of Kokoro's natural synthetic voices in eight languages (`corpus.kokoro`).
* OUT/emotional: phrases of both recoloured into several emotions in step, so that pseudo pairs have one time line: by
  their own voice and by others made of it (--voices: another tract and pitch, another personal style of the face, the
  same actor to splits).
* OUT/facegood: the studio takes, real faces.

Deterministic by --seed; resumes where it was interrupted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from emotalk_ros.audio import load_audio
from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.corpus.kokoro import SOURCE as KOKORO
from emotalk_ros.corpus.kokoro import Kokoro, Utterance, shared_kokoro, utterances
from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.readers.base import prepare
from emotalk_ros.corpus.readers.facegood import SOURCE as FACEGOOD
from emotalk_ros.corpus.readers.facegood import read_facegood
from emotalk_ros.corpus.store import Clip, CorpusError, CorpusWriter, Phone, Record, Source, write_clip
from emotalk_ros.corpus.visemes import loudness_curve
from emotalk_ros.corpus.voices import PORTRAYALS, Recording, emotional_variants, made_up_speaker, phrases
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.units import SAMPLE_RATE
from emotalk_ros.workers import worker_pool

FPS = 30.0
_MARGIN = (0.3, 0.7)
_SHARES = {"picovoice_barista": 0.7, "picovoice_wakewords": 0.3, "precise_community": 0.5}
"""Of collections with few words, only a share is taken."""
_FIRST_KOKORO = 900_000
"""Actor of the first voice of Kokoro."""
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
    source: Path | Utterance
    """A recording, or what a voice of Kokoro says."""
    phones: tuple[Phone, ...]
    """Of a recording; a synthetic voice brings its own."""
    actor: int
    phrases: int
    """How many of its phrases are recoloured."""
    portrayals: int
    """In how many emotions."""

    @property
    def name(self) -> str:
        """Id of its clip."""
        return f"{self.collection}.{self.stem}"

    @property
    def named(self) -> bool:
        """Whether it is known who speaks; crowd-sourced phrases have no names."""
        return self.collection in ("librispeech", "ljspeech", KOKORO.name)


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
            if rng.random() > _SHARES.get(collection, 1.0):
                continue
            yield Item(
                collection,
                stem,
                files[stem],
                tuple((str(p), float(a), float(b)) for p, a, b in phones[stem] if float(b) > float(a)),
                crc32(speaker.encode()) % 1_000_000,
                wanted,
                portrayals if named else max(1, portrayals // 2),
            )


def natural_items(hours: float, voices: Path | None, per_actor: int, portrayals: int) -> Iterator[Item]:
    """Utterances of Kokoro for about so many hours; of each voice, the first are recoloured too.

    Raises SynthesizerUnavailableError naming what is missing.
    """
    if hours <= 0:
        return
    names = sorted(Kokoro(voices).styles)
    left, heard = hours * 3600.0, dict.fromkeys(names, 0)
    for utterance in utterances(names):
        if left <= 0:
            break
        left -= _seconds(utterance)
        heard[utterance.voice] += 1
        stem = f"{utterance.number:04d}.{utterance.voice}.{utterance.language}"
        wanted = int(heard[utterance.voice] <= per_actor)
        actor = _FIRST_KOKORO + names.index(utterance.voice)
        yield Item(KOKORO.name, stem, utterance, (), actor, wanted, portrayals)


def _seconds(utterance: Utterance) -> float:
    """How long it takes, about."""
    letters = sum(3 if ord(sign) >= 0x3000 else 1 for sign in utterance.text)
    return 0.8 + 0.062 * letters / utterance.speed


def portrayals(item: Item, seed: int, voice: int = 0) -> list[tuple[str, float]]:
    """The same emotions, each at one level, for every phrase of one voice: pairs need that."""
    rng = np.random.default_rng([seed, item.actor, 5, voice] if voice else [seed, item.actor, 5])
    chosen = rng.permutation(EMOTIONS)[: item.portrayals]
    return [pick[rng.integers(len(pick))] for label in chosen if (pick := [p for p in PORTRAYALS if p[0] == label])]


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
    kokoro_hours: float = 0.0
    """Natural synthetic speech, about."""
    kokoro_voices: Path | None = None
    """Folder of its voices; by default what the environment names (`corpus.kokoro`)."""
    packed: bool = False
    """Small files: Opus, coefficients in 1/255 steps."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to know besides its item."""

    out: Path
    choices: Choices


def work(job: tuple[Item, Order]) -> tuple[Item, list[Record], list[Record], str]:
    """Write all clips of one item: records as it is and recoloured, and what went wrong."""
    item, (out, choices) = job[0], (job[1].out, job[1].choices)
    folder = out / (KOKORO.name if item.collection == KOKORO.name else "real")
    try:
        recording = recorded(item, choices)
        plainly = [write_clip(folder, plain(item, recording, choices.seed), packed=choices.packed)]
        emotional = [
            write_clip(out / "emotional", clip, packed=choices.packed) for clip in recoloured(item, recording, choices)
        ]
    except ValueError as error:
        return item, [], [], f"{item.name}: {error}"
    return item, plainly, emotional, ""


def recorded(item: Item, choices: Choices) -> Recording:
    """The item's sound with its phones."""
    if isinstance(item.source, Utterance):
        said = item.source
        voices = None if choices.kokoro_voices is None else str(choices.kokoro_voices)
        heard = shared_kokoro(voices).speak(said.text, said.voice, said.language, said.speed)
        return replace(heard, name=item.name)
    return Recording(item.name, load_audio(item.source), item.phones, sentence=item.name, source=item.collection)


def plain(item: Item, recording: Recording, seed: int = 0) -> Clip:
    """The recording with the average face, with 0.3 to 0.7 s of what is quiet before and after its phones."""
    frames = max(1, int(len(recording.audio) / SAMPLE_RATE * FPS))
    loudness = loudness_curve(recording.audio, frames, FPS)
    face = labels_from_phones(recording.phones, frames, FPS, loudness=loudness, blinks=False)
    rng = np.random.default_rng([seed, crc32(item.name.encode()), 7])
    sounding = [phone for phone in recording.phones if not is_silence(phone[0])] or list(recording.phones)
    first = max(0, int((sounding[0][1] - rng.uniform(*_MARGIN)) * FPS))
    last = min(frames, int((sounding[-1][2] + rng.uniform(*_MARGIN)) * FPS))
    samples = [round(frame / FPS * SAMPLE_RATE) for frame in (first, last)]
    start = first / FPS
    moved = [
        (p, max(0.0, a - start), b - start) for p, a, b in recording.phones if a < last / FPS and b > start + 0.005
    ]
    return Clip(
        item.name, recording.audio[samples[0] : samples[1]], face[first:last], FPS, item.actor, None, 1.0,
        recording.sentence, tuple(moved), item.collection, person=0, blind=UNKNOWN,
    )  # fmt: skip


def recoloured(item: Item, recording: Recording, choices: Choices) -> Iterator[Clip]:
    """Some phrases of the recording with silence around them, in the emotions of each voice."""
    if not item.phrases:
        return
    cut, seed = phrases(recording), choices.seed
    rng = np.random.default_rng([seed, crc32(recording.name.encode()), 3])
    for index in rng.permutation(len(cut))[: item.phrases]:
        phrase = cut[index]
        before, after = (int(t * 16000) for t in rng.uniform((0.25, 0.3), (0.7, 0.7)))
        padded = np.pad(phrase.audio, (before, after)) + rng.normal(0.0, 2e-5, len(phrase.audio) + before + after)
        moved = [(p, a + before / 16000, b + before / 16000) for p, a, b in phrase.phones]
        for voice in range(choices.voices):
            # A made-up voice plays and moves its face as somebody else does; splits still know it as the same actor.
            other = item.actor if voice == 0 else crc32(f"{item.actor} {voice}".encode())
            clips = emotional_variants(
                padded,
                moved,
                portrayals(item, seed, voice),
                actor=other,
                seed=seed,
                speaker=made_up_speaker(other) if voice else None,
                keep_time=item.named,
                speech_db=choices.speech_db,
                name=f"{phrase.name}.v{voice}" if voice else phrase.name,
                sentence=phrase.name,
                source=item.collection,
            )
            yield from (replace(clip, actor=item.actor) for clip in clips)


@dataclass(frozen=True)
class Built:
    """Hours of each corpus by name, and what was left out, with the reason."""

    hours: dict[str, float]
    problems: list[str]


def build_corpora(
    source: Path, out: Path, choices: Choices, progress: Callable[[int, int], None] = lambda done, total: None
) -> Built:
    """Writes OUT/real, OUT/emotional, OUT/kokoro (where hours are asked for) and OUT/facegood (where SOURCE has it).

    `progress` is called with the number of recordings done and in all. Raises CorpusError, and
    SynthesizerUnavailableError when Kokoro is asked for and not there. Interrupted, the same call goes on.
    """
    every = [
        *items(source, choices.per_actor, choices.portrayals, choices.seed),
        *natural_items(choices.kokoro_hours, choices.kokoro_voices, choices.per_actor, choices.portrayals),
    ]
    if not every:
        raise CorpusError(f"{source}: no */phones.json with recordings beside it; make them: prepare shipped-sources")
    problems: list[str] = []
    sources = {"real": [*SOURCES.values()], "emotional": [*SOURCES.values(), KOKORO]}
    if choices.kokoro_hours > 0:
        sources[KOKORO.name] = [KOKORO]
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(CorpusWriter(out / name, of, mode="append", packed=choices.packed))
            for name, of in sources.items()
        }
        pool = stack.enter_context(worker_pool(choices.jobs))
        done = set[str]().union(*(writer.done for name, writer in writers.items() if name != "emotional"))
        jobs = [(item, Order(out, choices)) for item in every if item.name not in done]
        for count, (item, plainly, emotional, problem) in enumerate(pool.imap_unordered(work, jobs), 1):
            for record in emotional:
                if record.id not in writers["emotional"].done:
                    writers["emotional"].add_record(record)
            for record in plainly:
                writers[KOKORO.name if item.collection == KOKORO.name else "real"].add_record(record)
            if problem:
                problems.append(problem)
            progress(count, len(jobs))
        hours = {name: sum(r.duration for r in writer.records) / 3600 for name, writer in writers.items()}
    if (source / FACEGOOD.name).is_dir():
        with CorpusWriter(out / FACEGOOD.name, [FACEGOOD], mode="append", packed=choices.packed) as writer:
            summary = prepare(read_facegood(source / FACEGOOD.name), writer)
            problems += [f"{problem.name}: {problem.reason}" for problem in summary.problems]
            hours[FACEGOOD.name] = sum(r.duration for r in writer.records) / 3600
    return Built(hours, problems)
