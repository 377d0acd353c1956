"""Readers of recordings that come with coefficients: the 3D-ETF layout, RAVDESS naming, generic pairs of files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emotalk_ros.corpus.readers.base import (
    Item,
    Problem,
    checked_coefficients,
    clip_id,
    find_audio,
    matched,
    numbered,
    read_audio,
    read_matrix,
    unmatched,
)
from emotalk_ros.corpus.store import Clip, CorpusError
from emotalk_ros.emotions import EMOTIONS, canonical

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
"""The two sentences of RAVDESS (Livingstone and Russo 2018)."""

_RAVDESS = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d{2})")
_MATRIX_SUFFIXES = (".npy", ".npz", ".csv")


@dataclass(frozen=True)
class RavdessName:
    """What a RAVDESS file name tells: modality-channel-emotion-intensity-statement-repetition-actor."""

    modality: int
    channel: int
    emotion: str
    level: float
    statement: str
    repetition: int
    actor: int
    """0..23: the name's 01..24 less one, the index of the personal style."""

    @classmethod
    def parse(cls, stem: str) -> RavdessName | None:
        """From a file's stem; None for another naming."""
        match = _RAVDESS.fullmatch(stem)
        if match is None:
            return None
        modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
        if not 1 <= int(actor) <= 24:
            return None
        return cls(
            modality=int(modality),
            channel=int(channel),
            emotion=EMOTIONS[int(emotion) - 1],
            level=float(int(intensity) - 1),
            statement=STATEMENTS[statement],
            repetition=int(repetition),
            actor=int(actor) - 1,
        )


def read_etf(source: Path, fps: float = 30.0) -> Iterator[Item | Problem]:
    """The 3D-ETF layout: `{RAVDESS,HDTF}/{audio/*.wav,blendshape/*.npy}` with equal stems.

    RAVDESS clips carry emotion, level, sentence and actor 0..23 by their names; HDTF clips have no emotion, their
    actors (the name without its running number) start at 100. Raises CorpusError when neither folder is there.
    """
    parts = [p for p in ("RAVDESS", "HDTF") if (source / p).is_dir()]
    if not parts:
        raise CorpusError(f"{source} holds neither RAVDESS/ nor HDTF/ with audio/ and blendshape/ inside")
    for part in parts:
        audio = find_audio(source / part / "audio")
        labels = {p.stem: p for p in sorted((source / part / "blendshape").glob("*.npy"))}
        yield from unmatched(audio, labels, "blendshape/*.npy")
        stems = sorted(set(audio) & set(labels))
        actors = numbered(_hdtf_actor(stem) for stem in stems) if part == "HDTF" else {}
        for stem in stems:
            meta = {"source": part, "actor": 100 + actors.get(_hdtf_actor(stem), 0)}
            if part == "RAVDESS":
                name = RavdessName.parse(stem)
                if name is None:
                    yield Problem(stem, "not a RAVDESS name (modality-channel-emotion-intensity-statement-...)")
                    continue
                meta = _ravdess_meta(name)
            yield _pair_item(stem, audio[stem], labels[stem], fps, meta)


def read_ravdess(source: Path, coefficients: Path | None = None, fps: float = 30.0) -> Iterator[Item | Problem]:
    """RAVDESS recordings by name, in any sub-folders, with coefficients (.npy, .npz, .csv) of the same stem.

    `coefficients` is the folder of those; default: beside the audio. Songs (channel 02) are left out.
    """
    audio = find_audio(source)
    labels = find_matrices(coefficients or source)
    for stem, path in sorted(audio.items()):
        name = RavdessName.parse(stem)
        if name is None:
            yield Problem(stem, "not a RAVDESS name (modality-channel-emotion-intensity-statement-repetition-actor)")
        elif name.channel == 2:
            yield Problem(stem, "a song, not speech")
        elif stem not in labels:
            yield Problem(stem, "has audio but no coefficients (.npy, .npz or .csv of the same name)")
        else:
            yield _pair_item(stem, path, labels[stem], fps, _ravdess_meta(name))


def read_pairs(
    source: Path, coefficients: Path | None = None, fps: float = 30.0, name: str = "pairs"
) -> Iterator[Item | Problem]:
    """Audio files with coefficients of the same stem (.npy, .npz, .csv), in any sub-folders.

    `metadata.csv` in `source`, if there, tells more about each stem: columns `stem` and any of `actor`, `emotion`,
    `level`, `sentence`, `person`, `fps`. Without it each sub-folder is an actor.
    """
    audio = find_audio(source)
    labels = find_matrices(coefficients or source)
    yield from unmatched(audio, labels, "coefficients (.npy, .npz or .csv)")
    known = read_metadata(source / "metadata.csv")
    stems = sorted(set(audio) & set(labels))
    actors = numbered(known.get(s, {}).get("actor") or audio[s].parent.name for s in stems)
    for stem in stems:
        row = known.get(stem, {})
        try:
            meta = _metadata(row, stem) | {
                "source": name,
                "actor": actors[row.get("actor") or audio[stem].parent.name],
            }
        except ValueError as error:
            yield Problem(stem, f"metadata.csv: {error}")
            continue
        yield _pair_item(stem, audio[stem], labels[stem], float(row.get("fps") or fps), meta)


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a metadata.csv by stem; {} when there is none. Raises CorpusError without a `stem` column."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if rows and "stem" not in rows[0]:
        raise CorpusError(f"{path}: needs a column 'stem', it has {', '.join(rows[0])}")
    return {row["stem"]: {k: v for k, v in row.items() if v} for row in rows}


def find_matrices(folder: Path) -> dict[str, Path]:
    """Coefficient files below `folder` by stem. Raises CorpusError for a missing folder."""
    if not folder.is_dir():
        raise CorpusError(f"no folder {folder}")
    found = [p for p in sorted(folder.rglob("*")) if p.suffix in _MATRIX_SUFFIXES and p.name != "metadata.csv"]
    return {p.stem: p for p in found}


def _metadata(row: Mapping[str, str], stem: str) -> dict[str, object]:
    meta: dict[str, object] = {"sentence": row.get("sentence", "")}
    if "emotion" in row:
        meta["emotion"] = canonical(row["emotion"])
    if "level" in row:
        meta["level"] = float(row["level"])
    if "person" in row:
        meta["person"] = int(row["person"])
    return meta


def _ravdess_meta(name: RavdessName) -> dict[str, object]:
    return {
        "source": "RAVDESS",
        "actor": name.actor,
        "person": name.actor,
        "emotion": name.emotion,
        "level": name.level,
        "sentence": name.statement,
    }


def _pair_item(stem: str, audio: Path, labels: Path, fps: float, meta: Mapping[str, object]) -> Item:
    """An item of one audio and one coefficient file."""

    def load() -> Clip:
        matrix = read_matrix(labels)
        rate = matrix.fps or fps
        values = checked_coefficients(matrix.values, labels)
        samples, values = matched(read_audio(audio), values, rate, stem)
        return Clip(id=clip_id(stem), audio=samples, coefficients=values, fps=rate, blind=matrix.blind, **meta)  # type: ignore[arg-type]

    return Item(stem, load)


def _hdtf_actor(stem: str) -> str:
    return re.sub(r"[_-]?\d+$", "", stem)
