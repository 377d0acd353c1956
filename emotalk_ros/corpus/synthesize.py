"""A corpus of emotional speech with faces: who says what in which emotions, made in parallel and resumable.

`plan` decides everything from the settings and the seed before anything sounds; `perform` makes the clips of one job,
in any process, in any order, always the same; `synthesize` does all jobs and writes the corpus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from zlib import crc32

import numpy as np

from emotalk_ros.corpus.augment import augment, draw_augmentation
from emotalk_ros.corpus.kokoro import LANGUAGES, shared_kokoro
from emotalk_ros.corpus.kokoro import SOURCE as KOKORO
from emotalk_ros.corpus.real_speech import SpeechFile, load_speech, read_speech_folder, speech_source
from emotalk_ros.corpus.sentences import ENGLISH, default_sentences, known_languages, other_languages
from emotalk_ros.corpus.store import Clip, CorpusError, CorpusWriter, Record, Source, write_clip
from emotalk_ros.corpus.voices import PORTRAYALS, Recording, emotional_variants, made_up_speaker, phrase_spans, phrases
from emotalk_ros.files import LEFTOVERS, write_text
from emotalk_ros.units import SAMPLE_RATE
from emotalk_ros.workers import deaf_workers

SETTINGS_FILE = "synthesis.json"

_MEAN_STRETCH = 1.2  # emotions take this much longer than neutral speech, on average over the fifteen portrayals
_SECONDS_PER_LETTER = 0.066
_SILENCE = (0.1, 0.7)  # seconds before and after the speech
_KOKORO_SPEED = 0.9  # its voices read fast
_SHARED = 2  # contents that an actor says in all fifteen portrayals
_SHORTEST_PHRASE = 0.6


@dataclass(frozen=True)
class SynthesisSettings:
    """What to synthesise.

    `hours` of audio, about; `actors`, speakers; `seed`; `real`, folders with recordings and phones (`real_speech`);
    `real_share` of the actors that are real voices, where there are any; `engines` for the others; `languages` that
    espeak-ng's and Kokoro's speak in turn; `portrayals` of each sentence that is not said in all fifteen;
    `augmentation` 0 (clean)
    to 1; `speech_db`, mean level of neutral speech in dB full scale.
    """

    hours: float = 1.0
    actors: int = 24
    seed: int = 0
    real: tuple[str, ...] = ()
    real_share: float = 0.7
    engines: tuple[str, ...] = ("espeak",)
    languages: tuple[str, ...] = (ENGLISH,)
    portrayals: int = 5
    augmentation: float = 1.0
    speech_db: float = -33.0
    fps: float = 30.0
    sentences: tuple[str, ...] = field(default_factory=default_sentences)

    def __post_init__(self) -> None:
        if not self.hours > 0 or not self.actors >= 1:
            raise ValueError(f"hours and actors must be positive, got {self.hours} and {self.actors}")
        if not self.real and not self.engines:
            raise ValueError("nothing to speak with: give folders of real recordings or install espeak-ng")
        unknown = sorted(set(self.languages) - set(known_languages()))
        if unknown or not self.languages:
            raise ValueError(
                f"unknown language {', '.join(unknown) or '(none)'}; known: {', '.join(known_languages())}"
            )
        if not 1 <= self.portrayals <= len(PORTRAYALS):
            raise ValueError(f"portrayals must lie in 1..{len(PORTRAYALS)}, got {self.portrayals}")


@dataclass(frozen=True)
class Content:
    """Something to say: a phrase of a recording, or a text for a synthetic voice."""

    text: str
    seconds: float
    file: SpeechFile | None = None
    phrase: int = 0


@dataclass(frozen=True)
class Actor:
    """A speaker: `engine` "real", "espeak", "kokoro", "flite" or "festival"; `voice` its name there; `made_up` changes
    it by that seed; `language` of espeak-ng's and Kokoro's.
    """

    number: int
    engine: str
    voice: str
    contents: tuple[Content, ...]
    made_up: int | None = None
    language: str = ENGLISH


@dataclass(frozen=True)
class SynthesisJob:
    """One content of one actor in several portrayals."""

    actor: Actor
    number: int
    content: Content
    portrayals: tuple[tuple[str, float], ...]
    settings: SynthesisSettings

    @property
    def name(self) -> str:
        """Beginning of the ids of its clips."""
        return f"{self.actor.number:04d}-{self.number:04d}"

    def ids(self) -> list[str]:
        """Ids of the clips it makes, as `emotional_variants` names them."""
        return [f"{self.name}-{e}-{'strong' if level > 0.5 else 'normal'}" for e, level in self.portrayals]

    @property
    def seconds(self) -> float:
        """Expected audio, about."""
        return len(self.portrayals) * (self.content.seconds * _MEAN_STRETCH + sum(_SILENCE))


def plan(settings: SynthesisSettings) -> list[SynthesisJob]:
    """All jobs, in rounds over the actors: the first rounds are the contents that each says in all fifteen portrayals.

    Raises CorpusError when a folder of real recordings is unusable.
    """
    cast, light = list(_cast(settings)), replace(settings, sentences=())
    jobs: list[SynthesisJob] = []
    wanted, round_ = settings.hours * 3600.0, 0
    while wanted > 0:
        for actor in cast:
            content = actor.contents[round_ % len(actor.contents)]
            rng = np.random.default_rng([settings.seed, actor.number, round_])
            # A job travels to another process: leave the lists behind.
            job = SynthesisJob(replace(actor, contents=()), round_, content, _portrayals(settings, round_, rng), light)
            jobs.append(job)
            wanted -= job.seconds
            if wanted <= 0:
                break
        round_ += 1
    return jobs


def _portrayals(settings: SynthesisSettings, round_: int, rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    if round_ < _SHARED:
        return PORTRAYALS
    chosen = rng.permutation(len(PORTRAYALS))[: settings.portrayals]
    return tuple(PORTRAYALS[k] for k in sorted(chosen))


def _cast(settings: SynthesisSettings) -> Iterator[Actor]:
    rng = np.random.default_rng([settings.seed, 3])
    spoken = _real_contents(settings)
    names = [sorted(spoken)[k] for k in rng.permutation(len(spoken))]
    share = settings.real_share if settings.engines else 1.0
    count = round(settings.actors * share) if names else 0
    order = {name: rng.permutation(len(said)).tolist() for name, said in _said(settings).items()}
    for number in range(settings.actors):
        if number < count:
            name = names[number % len(names)]
            # A voice that is used again becomes somebody else's.
            made_up = number if number >= len(names) else None
            yield Actor(number, "real", name, spoken[name], made_up)
        else:
            yield _synthetic_actor(settings, number, number - count, order)


def _said(settings: SynthesisSettings) -> dict[str, tuple[str, ...]]:
    """The sentences of each language of the settings."""
    return {
        name: settings.sentences if name == ENGLISH else other_languages()[name].sentences
        for name in dict.fromkeys((ENGLISH, *settings.languages))
    }


def _contents(said: Sequence[str], order: Sequence[int], rng: np.random.Generator) -> tuple[Content, ...]:
    """What one actor says: the first sentences of `order` as everybody, then the others in an order of his own."""
    shared = [said[k] for k in order[:_SHARED]]
    others = [s for s in said if s not in shared]
    texts = [*shared, *(others[k] for k in rng.permutation(len(others)))]
    return tuple(Content(text, 0.3 + _SECONDS_PER_LETTER * _letters(text)) for text in texts)


def _letters(text: str) -> int:
    """Letters as an alphabet would have them: signs of Chinese, Japanese and Korean stand for syllables."""
    return sum(3 if ord(sign) >= 0x3000 else 1 for sign in text)


def _synthetic_actor(settings: SynthesisSettings, number: int, rank: int, order: Mapping[str, Sequence[int]]) -> Actor:
    rng = np.random.default_rng([settings.seed, number, 29])
    said, voices = _said(settings), _engine_voices(settings.engines)
    if "kokoro" in settings.engines:
        if rank % 2 == 0 or len(settings.engines) == 1:  # half of the voices, where there are others
            return _natural_actor(settings, number, rank // 2 if len(settings.engines) > 1 else rank, order, rng)
        rank //= 2
    # Every third synthetic actor is one of the few voices of flite and festival, the others are made-up voices.
    if "espeak" in settings.engines and (rank % 3 != 2 or not voices):
        language = settings.languages[(rank if not voices else rank - rank // 3) % len(settings.languages)]
        contents = _contents(said[language], order[language], rng)
        return Actor(number, "espeak", str(settings.seed * 100_003 + number), contents, language=language)
    contents = _contents(said[ENGLISH], order[ENGLISH], rng)
    turn = (rank // 3 if "espeak" in settings.engines else rank) % len(voices)
    engine, voice = voices[turn]
    again = rank // (3 if "espeak" in settings.engines else 1) >= len(voices)
    return Actor(number, engine, voice, contents, number if again else None)


def _natural_actor(
    settings: SynthesisSettings, number: int, rank: int, order: Mapping[str, Sequence[int]], rng: np.random.Generator
) -> Actor:
    """One of Kokoro's voices; when all of its language have had their turn, they come again as somebody else's."""
    spoken = [name for name in settings.languages if name in LANGUAGES]
    if not spoken:
        raise ValueError(f"Kokoro speaks none of {', '.join(settings.languages)}; it knows {', '.join(LANGUAGES)}")
    language = spoken[rank % len(spoken)]
    voices = shared_kokoro().voices_of(language)
    turn = rank // len(spoken)
    contents = _contents(_said(settings)[language], order[language], rng)
    again = number if turn >= len(voices) else None
    return Actor(number, "kokoro", voices[turn % len(voices)], contents, again, language)


def _engine_voices(engines: Sequence[str]) -> list[tuple[str, str]]:
    from emotalk_ros.corpus.speech_engines import festival_voices, flite_voices

    found = [("flite", voice) for voice in flite_voices()] if "flite" in engines else []
    return found + ([("festival", voice) for voice in festival_voices()] if "festival" in engines else [])


def _real_contents(settings: SynthesisSettings) -> dict[str, tuple[Content, ...]]:
    """Contents of each real speaker."""
    contents: dict[str, list[Content]] = {}
    for folder in settings.real:
        for file in read_speech_folder(folder):
            for k, piece in enumerate(phrase_spans(file.phones, _SHORTEST_PHRASE)):
                name = f"{file.stem}.{k}"
                contents.setdefault(file.speaker, []).append(Content(name, piece[-1][2] - piece[0][1], file, k))
    return {speaker: tuple(found) for speaker, found in contents.items()}


def perform(job: SynthesisJob) -> list[Clip]:
    """The clips of `job`, augmented. Deterministic. Raises ValueError (CorpusError too) when its voice or file
    fails.
    """
    settings = job.settings
    seed = crc32(f"{settings.seed} {job.name}".encode())
    rng = np.random.default_rng([seed, 5])
    recording = _with_silence(_spoken(job), rng)
    speaker = made_up_speaker(job.actor.made_up) if job.actor.made_up is not None else None
    clips = emotional_variants(
        recording.audio,
        recording.phones,
        job.portrayals,
        actor=job.actor.number,
        seed=seed,
        speaker=speaker,
        speech_db=settings.speech_db + float(np.clip(rng.normal(0.0, 4.0), -10.0, 8.0)),
        fps=settings.fps,
        name=job.name,
        sentence=recording.sentence,
        source=recording.source,
    )
    done = []
    for clip in clips:
        own = crc32(f"{settings.seed} {clip.id}".encode())
        done.append(replace(clip, audio=augment(clip.audio, draw_augmentation(own, settings.augmentation), own)))
    return done


def _spoken(job: SynthesisJob) -> Recording:
    content, actor = job.content, job.actor
    if content.file is not None:
        file = content.file
        whole = Recording(file.stem, load_speech(file), file.phones, file.speaker, content.text, file.source)
        return phrases(whole, _SHORTEST_PHRASE)[content.phrase]
    if actor.engine == "espeak":
        from emotalk_ros.corpus.espeak import Espeak, made_up_voice

        return Espeak.instance().speak(content.text, made_up_voice(int(actor.voice), actor.language))
    if actor.engine == "kokoro":
        return shared_kokoro().speak(content.text, actor.voice, actor.language, _KOKORO_SPEED)
    from emotalk_ros.corpus.speech_engines import speak_festival, speak_flite

    return (speak_flite if actor.engine == "flite" else speak_festival)(content.text, actor.voice)


def _with_silence(recording: Recording, rng: np.random.Generator) -> Recording:
    """`recording` with quiet before and after it: faces must learn to rest."""
    before, after = (int(t * SAMPLE_RATE) for t in rng.uniform(*_SILENCE, 2))
    audio = np.pad(recording.audio, (before, after)) + rng.normal(0.0, 2e-5, len(recording.audio) + before + after)
    shift = before / SAMPLE_RATE
    moved = tuple((name, start + shift, end + shift) for name, start, end in recording.phones)
    return replace(recording, audio=audio.astype(np.float32), phones=moved)


def _write(job: SynthesisJob, folder: str) -> tuple[list[Record], str]:
    """Worker: the records of a job's clips, or what went wrong."""
    try:
        return [write_clip(folder, clip) for clip in perform(job)], ""
    except ValueError as error:
        return [], f"{job.actor.engine} {job.actor.voice}, {job.content.text!r}: {error}"


@dataclass(frozen=True)
class SynthesisResult:
    """What came of it: clips and seconds in the corpus, and the jobs that failed."""

    clips: int
    seconds: float
    problems: tuple[str, ...]


def synthesize(
    folder: str | os.PathLike[str],
    settings: SynthesisSettings,
    workers: int = 1,
    on_job: Callable[[int, int, float], None] | None = None,
    overwrite: bool = False,
) -> SynthesisResult:
    """Make the corpus `folder`, with `workers` processes; the result does not depend on how many.

    A run that was interrupted goes on where it stopped when called again with the same settings. `on_job(done, total,
    seconds)` is told of every finished job. Raises CorpusError when `folder` holds something else, or when every job
    failed.
    """
    jobs = plan(settings)
    _claim(Path(folder), settings, overwrite)
    _clear(Path(folder))
    problems: list[str] = []
    with CorpusWriter(folder, _sources(jobs, settings), mode="overwrite" if overwrite else "append") as writer:
        left = [job for job in jobs if not set(job.ids()) <= writer.done]
        done = len(jobs) - len(left)
        seconds = sum(record.duration for record in writer.records)
        if on_job is not None:
            on_job(done, len(jobs), seconds)
        for records, problem in _all_done(left, str(folder), workers):
            for record in records:
                if record.id not in writer.done:
                    writer.add_record(record)
                    seconds += record.duration
            if problem:
                problems.append(problem)
            done += 1
            if on_job is not None:
                on_job(done, len(jobs), seconds)
        if not writer.records:
            raise CorpusError(f"none of the {len(jobs)} jobs made a clip; the first said: {problems[0]}")
        return SynthesisResult(len(writer.records), seconds, tuple(problems))


def _all_done(jobs: Sequence[SynthesisJob], folder: str, workers: int) -> Iterator[tuple[list[Record], str]]:
    """Results of all jobs as they come; few are under way at a time, so that stopping is quick."""
    if workers <= 1:
        yield from (_write(job, folder) for job in jobs)
        return
    others = set(active_children())
    with _SingleThreaded():
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        try:
            under_way: set[Future[tuple[list[Record], str]]] = set()
            queue = iter(jobs)
            while True:
                for job in queue:
                    with deaf_workers():  # they start with the first submission
                        under_way.add(pool.submit(_write, job, folder))
                    if len(under_way) >= 3 * workers:
                        break
                if not under_way:
                    return
                finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BaseException:
            # Every file is written whole or not at all: no need to wait for what is under way.
            for process in set(active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            _clear(Path(folder))


def _clear(folder: Path) -> None:
    """Takes away what workers that were stopped while writing have left."""
    for leftover in folder.glob(f"*/{LEFTOVERS}"):
        leftover.unlink(missing_ok=True)


class _SingleThreaded:
    """While it lasts, processes that are started keep numpy to one thread."""

    _NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._NAMES}
        os.environ.update(dict.fromkeys(self._NAMES, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _claim(folder: Path, settings: SynthesisSettings, overwrite: bool) -> None:
    """Writes the settings into `folder`, or checks that it was begun with the same ones."""
    path = folder / SETTINGS_FILE
    text = json.dumps({**asdict(settings), "sentences": crc32("\n".join(settings.sentences).encode())}, indent=2)
    if not overwrite and path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
            raise CorpusError(
                f"{folder} was begun with other settings (see {path.name}): overwrite it or choose another"
            )
        return
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise CorpusError(f"{folder} is not empty and holds no synthesised corpus: choose another folder")
    write_text(path, text)


_ENGINE_SOURCES: dict[str, Source] = {
    "kokoro": KOKORO,
    "espeak": Source("espeak-ng", "own synthesis", "espeak-ng (GPL-3.0-or-later program; its speech is not covered)"),
    "flite": Source("flite", "own synthesis", "Flite, Carnegie Mellon University (BSD-like)"),
    "festival": Source("festival", "own synthesis", "Festival, University of Edinburgh (BSD-like)"),
}


def _sources(jobs: Sequence[SynthesisJob], settings: SynthesisSettings) -> list[Source]:
    engines = sorted({job.actor.engine for job in jobs} - {"real"})
    return [*(speech_source(folder) for folder in settings.real), *(_ENGINE_SOURCES[engine] for engine in engines)]
