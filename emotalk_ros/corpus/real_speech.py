"""Recordings of real people with phone times, as they lie on disk before they are recoloured.

::

    my_speech/
      audio/<stem>.<wav, flac, ogg, ...>
      phones.json         {stem: [[ARPAbet, start s, end s], ...]}
      speakers.json       optional: {stem: speaker}
      source.json         optional: {"name", "licence", "attribution", "url"}
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.store import CorpusError, Phone, Source, parse_phones

_LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")
_LJSPEECH = re.compile(r"LJ\d{3}-\d{4}")


@dataclass(frozen=True)
class SpeechFile:
    """One recording: where it is, what is said when, and by whom."""

    stem: str
    path: str
    phones: tuple[Phone, ...]
    speaker: str
    source: str


def read_speech_folder(folder: str | os.PathLike[str]) -> list[SpeechFile]:
    """The recordings of `folder` that have phones, sorted by name.

    Speakers come from `speakers.json`, else from the names: LibriSpeech puts its reader first, LJ Speech has one; any
    other recording counts as a speaker of its own. Raises CorpusError naming what is missing or malformed.
    """
    root = Path(folder)
    path = root / "phones.json"
    if not path.is_file():
        raise CorpusError(f"{root}: no phones.json (align the recordings first: `emotalk prepare phones {root}`)")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        phones = {str(stem): parse_phones(_forward(rows)) for stem, rows in table.items()}
        speakers = _optional(root / "speakers.json")
    except (ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path}: expected {{stem: [[phone, start, end], ...]}} ({error})") from error
    audio = {p.stem: p for p in sorted((root / "audio").iterdir())} if (root / "audio").is_dir() else {}
    found = [
        SpeechFile(
            stem, str(audio[stem]), phones[stem], f"{root.name}/{speakers.get(stem) or speaker_of(stem)}", root.name
        )
        for stem in sorted(phones)
        if stem in audio
    ]
    if not found:
        raise CorpusError(f"{root}: none of the {len(phones)} recordings in phones.json lies in {root / 'audio'}")
    return found


def speech_source(folder: str | os.PathLike[str]) -> Source:
    """Where the recordings come from, by `source.json`; otherwise only the folder's name is known."""
    root = Path(folder)
    return Source(**{"name": root.name, **_optional(root / "source.json")})


def _optional(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _forward(rows: list[list[object]]) -> list[list[object]]:
    """Rows that last for some time: aligners leave empty ones."""
    return [row for row in rows if float(row[2]) > float(row[1])]  # type: ignore[arg-type]


def speaker_of(stem: str) -> str:
    """The speaker by the naming of LibriSpeech and LJ Speech; otherwise the stem itself."""
    reader = _LIBRISPEECH.fullmatch(stem)
    if reader:
        return reader.group(1)
    return "LJ" if _LJSPEECH.fullmatch(stem) else stem


def load_speech(file: SpeechFile) -> NDArray[np.float32]:
    """Its samples (n,), mono 16 kHz. Raises ValueError naming the file."""
    from emotalk_ros.audio import load_audio

    try:
        return load_audio(file.path)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{file.path}: {error}") from error
