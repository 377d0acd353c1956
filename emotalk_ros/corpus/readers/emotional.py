"""Readers of emotional recordings: who speaks in each file and with which emotion. No coefficients are needed.

An ear (`training.ear`) learns from these. Each layout is told by its file names; any other recordings can be listed in
a table.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emotalk_ros.corpus.readers.base import AUDIO_SUFFIXES, find_audio
from emotalk_ros.corpus.readers.recorded import RavdessName
from emotalk_ros.corpus.store import MANIFEST, Corpus, CorpusError
from emotalk_ros.emotions import EMOTIONS, canonical


@dataclass(frozen=True)
class Voice:
    """A recording of one speaker: `emotion` a home label, or None where nobody knows it (plain reading).

    `collection` names where it is from; speakers of different collections are different people. `bursts`: cries and
    laughs without words.
    """

    path: Path
    speaker: str
    emotion: str | None
    collection: str
    bursts: bool = False


@dataclass(frozen=True)
class VoiceSource:
    """What a card says of a collection."""

    name: str
    licence: str
    attribution: str
    free: bool
    """Whether weights taught by it may be given to anyone for any use."""


SOURCES: dict[str, VoiceSource] = {
    "ravdess": VoiceSource(
        "RAVDESS", "CC BY-NC-SA 4.0", "Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391", False
    ),
    "emodb": VoiceSource("EMO-DB", "CC0 1.0", "Burkhardt et al. 2005, Interspeech", True),
    "emogator": VoiceSource("EmoGator", "Apache-2.0", "Buhl 2023, arXiv 2301.00508", True),
    "crema-d": VoiceSource(
        "CREMA-D", "ODbL 1.0, contents DbCL 1.0", "Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244", True
    ),
    "esd": VoiceSource("ESD", "research only", "Zhou et al. 2022, doi 10.1016/j.specom.2021.11.006", False),
    "librispeech": VoiceSource("LibriSpeech", "CC BY 4.0", "Panayotov et al. 2015, ICASSP", True),
}
"""Licences as their makers state them; collections that are not here get the one their user states."""

_EMODB = {
    "W": "angry", "L": "calm", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
"""EMO-DB's letters. Boredom is taken as calm: low in arousal and neither pleasant nor unpleasant to hear."""
_CREMA = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_ESD = {"neutral": "neutral", "angry": "angry", "happy": "happy", "sad": "sad", "surprise": "surprised"}
_EMOGATOR = {
    "02": "happy", "03": "angry", "07": "calm", "10": "disgust", "13": "happy", "15": "fearful", "18": "neutral",
    "24": "sad", "27": "surprised", "28": "surprised",
}  # fmt: skip
"""EmoGator's classes that have a home label: amusement and elation are happy, contentment is calm."""


def _ravdess(path: Path) -> tuple[str, str | None] | None:
    name = RavdessName.parse(path.stem)
    return None if name is None or name.channel == 2 else (f"{name.actor + 1:02d}", name.emotion)


def _emodb(path: Path) -> tuple[str, str | None] | None:
    match = re.fullmatch(r"(\d{2})[ab]\d{2}([WLEAFTN])[a-z]", path.stem)
    return (match[1], _EMODB[match[2]]) if match else None


def _crema(path: Path) -> tuple[str, str | None] | None:
    match = re.fullmatch(r"(\d{4})_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{2}", path.stem)
    return (match[1], _CREMA[match[2]]) if match else None


def _esd(path: Path) -> tuple[str, str | None] | None:
    match = re.fullmatch(r"(\d{4})_\d{6}", path.stem)
    folder = next((p.name.lower() for p in path.parents if p.name.lower() in _ESD), None)
    return (match[1], _ESD[folder]) if match and folder else None


def _emogator(path: Path) -> tuple[str, str | None] | None:
    match = re.fullmatch(r"(\d{6})-(\d{2})-\d", path.stem)
    return (match[1], _EMOGATOR[match[2]]) if match and match[2] in _EMOGATOR else None


def _librispeech(path: Path) -> tuple[str, str | None] | None:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,6})-(\d{4})", path.stem)
    return (match[1], None) if match else None


VOICE_LAYOUTS: dict[str, Callable[[Path], tuple[str, str | None] | None]] = {
    "ravdess": _ravdess,
    "emodb": _emodb,
    "crema-d": _crema,
    "esd": _esd,
    "emogator": _emogator,
    "librispeech": _librispeech,
}
"""Speaker and emotion of a file by the names of each layout; None for a name that is not of it."""


def read_voices(source: Path) -> list[Voice]:
    """Emotional recordings below a folder, in the layout that most of its file names have, or those of a table.

    A table is a .csv with the columns `file` (relative to the table), `speaker`, `emotion` (a home label, or empty) and
    optionally `collection`. A folder with a manifest.jsonl is a corpus of this package.

    Raises CorpusError where nothing fits, and for a table's unknown emotion or missing file, with its line.
    """
    if source.suffix.lower() == ".csv":
        return list(_table(source))
    if (source / MANIFEST).is_file():
        return _corpus(source)
    files = list(find_audio(source).values())
    found = {name: [(path, told) for path in files if (told := tell(path))] for name, tell in VOICE_LAYOUTS.items()}
    layout = max(found, key=lambda name: len(found[name]))
    if not found[layout]:
        raise CorpusError(
            f"{source}: the {len(files)} audio files are named like none of {', '.join(VOICE_LAYOUTS)}; list them in a "
            "table (.csv) with the columns file, speaker, emotion"
        )
    return [Voice(path, told[0], told[1], layout, layout == "emogator") for path, told in found[layout]]


def _corpus(folder: Path) -> list[Voice]:
    records = Corpus.open(folder).records
    return [Voice(folder / r.audio, str(r.actor), r.emotion, r.source or folder.name) for r in records]


def _table(path: Path) -> Iterator[Voice]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = sorted({"file", "speaker", "emotion"} - set(reader.fieldnames or ()))
            if missing:
                raise CorpusError(f"{path}: the column{'s' * (len(missing) > 1)} {', '.join(missing)} must be there")
            rows = list(reader)
    except FileNotFoundError as error:
        raise CorpusError(f"no table {path}") from error
    if not rows:
        raise CorpusError(f"{path} lists no recordings")
    for number, row in enumerate(rows, 2):
        audio = path.parent / (row["file"] or "")
        if audio.suffix.lower() not in AUDIO_SUFFIXES or not audio.is_file():
            raise CorpusError(f"{path}, line {number}: no audio file {audio}")
        if not row["speaker"]:
            raise CorpusError(f"{path}, line {number}: no speaker")
        label = (row["emotion"] or "").strip()
        try:
            emotion = canonical(label) if label else None
        except ValueError as error:
            raise CorpusError(f"{path}, line {number}: {error}; known: {', '.join(EMOTIONS)}") from error
        yield Voice(audio, row["speaker"], emotion, row.get("collection") or path.stem)
