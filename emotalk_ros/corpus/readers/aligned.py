"""Transcribed speech of real people as training data: phones given or found by forced alignment, then rule labels.

Layouts: a folder with `audio/` and `phones.json` ({stem: [[ARPAbet, start, end], ...]}, optionally `transcripts.json`
and `align_status.json`); LibriSpeech (`<speaker>/<chapter>/*.flac` and `*.trans.txt`); LJSpeech (`metadata.csv` and
`wavs/`); any folder of audio files with a `.txt` of the same name; RAVDESS names, whose two sentences are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.align import shared_aligner
from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.readers.base import (
    Item,
    Problem,
    clip_id,
    find_audio,
    numbered,
    read_audio,
    stem_table,
    unmatched,
)
from emotalk_ros.corpus.readers.recorded import RavdessName
from emotalk_ros.corpus.store import Clip, CorpusError, Phone, parse_phones
from emotalk_ros.corpus.visemes import loudness_curve
from emotalk_ros.units import SAMPLE_RATE

LAYOUTS = ("auto", "phones", "librispeech", "ljspeech", "text", "ravdess")

PERSONS = 24
"""Personal styles that are dealt out to the speakers in turn."""


@dataclass(frozen=True)
class Utterance:
    """A recording with its transcript, before its phones are known."""

    stem: str
    audio: Path
    speaker: str
    text: str = ""
    phones: Any = None
    emotion: str | None = None
    level: float = 1.0


def read_aligned(
    source: Path, layout: str = "auto", fps: float = 30.0, name: str | None = None, speaker: str | None = None
) -> Iterator[Item | Problem]:
    """Items whose coefficients are rule labels of the phones, with the speaker's personal style.

    `speaker`: None derives speakers from the layout (unknown ones are told apart by clip, so that splits stay
    disjoint); "one" means one speaker; "folder" one per sub-folder; else a regular expression whose first group in
    the stem is the speaker. Raises CorpusError for a layout that is not there.
    """
    found = find_utterances(source, layout)
    utterances = [_with_speaker(u, source, speaker) for u in found if isinstance(u, Utterance)]
    actors = numbered(u.speaker for u in utterances)
    yield from (p for p in found if isinstance(p, Problem))
    for utterance in utterances:
        yield _item(utterance, actors[utterance.speaker], fps, name or source.resolve().name)


def find_utterances(source: Path, layout: str = "auto", timed: bool = True) -> list[Utterance | Problem]:
    """The transcribed recordings of a folder, none read yet. Raises CorpusError for a layout that is not there.

    `timed`: whether a phones.json that lies there already counts as the layout.
    """
    kind = detect_layout(source, timed) if layout == "auto" else layout
    if kind not in _READERS:
        raise CorpusError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    return list(_READERS[kind](source))


def detect_layout(source: Path, timed: bool = True) -> str:
    """The layout of a folder, "phones" only if `timed`. Raises CorpusError listing what was looked for."""
    if not source.is_dir():
        raise CorpusError(f"no folder {source}")
    if timed and (source / "phones.json").is_file():
        return "phones"
    if (source / "metadata.csv").is_file() and (source / "wavs").is_dir():
        return "ljspeech"
    if next(source.rglob("*.trans.txt"), None) is not None:
        return "librispeech"
    audio = find_audio(source)
    if all(RavdessName.parse(stem) for stem in audio):
        return "ravdess"
    if any(path.with_suffix(".txt").is_file() for path in audio.values()):
        return "text"
    raise CorpusError(
        f"{source}: no phones.json, no *.trans.txt (LibriSpeech), no metadata.csv with wavs/ (LJSpeech) and no .txt "
        "beside the audio: transcripts are needed"
    )


def _read_phones_layout(source: Path) -> Iterator[Utterance | Problem]:
    audio = find_audio(source / "audio" if (source / "audio").is_dir() else source)
    phones, texts = stem_table(source / "phones.json"), stem_table(source / "transcripts.json")
    status = stem_table(source / "align_status.json")
    yield from unmatched(audio, phones, "phones in phones.json")
    for stem in sorted(set(audio) & set(phones)):
        state = str(status.get(stem, "ok"))
        if state.startswith("fail"):
            yield Problem(stem, f"its alignment is marked {state!r}")
        else:
            yield Utterance(stem, audio[stem], _known_speaker(stem), str(texts.get(stem, "")), phones[stem])


def _read_librispeech(source: Path) -> Iterator[Utterance | Problem]:
    audio = find_audio(source)
    texts: dict[str, str] = {}
    for path in sorted(source.rglob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            stem, _, text = line.strip().partition(" ")
            texts[stem] = text
    yield from unmatched(audio, texts, "transcript")
    for stem in sorted(set(audio) & set(texts)):
        yield Utterance(stem, audio[stem], _known_speaker(stem), texts[stem])


def _read_ljspeech(source: Path) -> Iterator[Utterance | Problem]:
    audio = find_audio(source / "wavs")
    texts: dict[str, str] = {}
    for line in (source / "metadata.csv").read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) >= 2:  # id | as written | numbers and abbreviations spoken out
            texts[cells[0]] = cells[-1]
    yield from unmatched(audio, texts, "transcript")
    for stem in sorted(set(audio) & set(texts)):
        yield Utterance(stem, audio[stem], "LJ", texts[stem])


def _read_text(source: Path) -> Iterator[Utterance | Problem]:
    for stem, path in sorted(find_audio(source).items()):
        text = path.with_suffix(".txt")
        if not text.is_file():
            yield Problem(stem, f"has audio but no {text.name}")
        else:
            yield Utterance(stem, path, _known_speaker(stem), text.read_text(encoding="utf-8").strip())


def _read_ravdess(source: Path) -> Iterator[Utterance | Problem]:
    for stem, path in sorted(find_audio(source).items()):
        name = RavdessName.parse(stem)
        if name is None:
            yield Problem(stem, "not a RAVDESS name (modality-channel-emotion-intensity-statement-repetition-actor)")
        elif name.channel == 2:
            yield Problem(stem, "a song, not speech")
        else:
            actor = f"{name.actor:02d}"
            yield Utterance(stem, path, actor, name.statement, emotion=name.emotion, level=name.level)


_READERS = {
    "phones": _read_phones_layout,
    "librispeech": _read_librispeech,
    "ljspeech": _read_ljspeech,
    "text": _read_text,
    "ravdess": _read_ravdess,
}


def _known_speaker(stem: str) -> str:
    """The speaker in well-known namings; else the stem: an unknown voice counts as its own."""
    if match := re.fullmatch(r"(\d+)-\d+-\d+", stem):  # LibriSpeech: speaker-chapter-utterance
        return match.group(1)
    if re.fullmatch(r"LJ\d{3}-\d{4}", stem):
        return "LJ"
    return stem


def _with_speaker(utterance: Utterance, source: Path, rule: str | None) -> Utterance:
    if rule is None:
        return utterance
    if rule == "one":
        who = "one"
    elif rule == "folder":
        who = utterance.audio.parent.relative_to(source).as_posix()
    else:
        match = re.search(rule, utterance.stem)
        if match is None or not match.groups():
            raise CorpusError(f"the speaker rule {rule!r} finds no group in {utterance.stem!r}")
        who = match.group(1)
    return Utterance(**{**utterance.__dict__, "speaker": who})


def _item(utterance: Utterance, actor: int, fps: float, source: str) -> Item:
    def load() -> Clip:
        audio = read_audio(utterance.audio)
        phones = _phones(utterance, audio)
        frames = max(1, int(len(audio) / SAMPLE_RATE * fps + 1e-6))
        coefficients = labels_from_phones(
            phones,
            frames,
            fps,
            emotion=utterance.emotion,
            level=utterance.level,
            person=actor % PERSONS,
            seed=actor,
            loudness=loudness_curve(audio, frames, fps),
        )
        return Clip(
            id=clip_id(utterance.stem),
            audio=audio,
            coefficients=coefficients,
            fps=fps,
            actor=actor,
            person=actor % PERSONS,
            emotion=utterance.emotion,
            level=utterance.level,
            sentence=utterance.text,
            phones=phones,
            source=source,
        )

    return Item(utterance.stem, load)


def _phones(utterance: Utterance, audio: NDArray[np.float32]) -> tuple[Phone, ...]:
    """The given phones, checked against the audio's length, or those of forced alignment."""
    if utterance.phones is None:
        return shared_aligner().align(audio, utterance.text).phones
    try:
        phones = parse_phones(utterance.phones)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"phones are not [[phone, start, end], ...] ({error})") from error
    if not any(name != "SIL" for name, _, _ in phones):
        raise CorpusError("its phones are all silence")
    length = len(audio) / SAMPLE_RATE
    if phones[-1][2] > length + 0.25:
        raise CorpusError(f"phones end at {phones[-1][2]:.2f} s but the audio at {length:.2f} s")
    return phones
