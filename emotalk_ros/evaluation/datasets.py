"""Data sets to evaluate on, told apart by what lies in the folder; clips are read one at a time.

====================  ================================================================================================
kind                  the folder holds
====================  ================================================================================================
`corpus`              `manifest.jsonl`: a corpus of this package (`emotalk_ros.corpus`)
`pairs`               audio files and, under the same stem, `.npy` (frames, 52) at 30 fps
`lips`                audio files and, under the same stem, `.npz` with `fps` and measured lips; perhaps `phones.json`
`ravdess`, `emodb`    audio files whose names tell the emotion (RAVDESS, EMO-DB)
====================  ================================================================================================

Measured lips: `landmarks` (frames, N, 3) with `landmark_ids` of MediaPipe (13 and 14 inner lips, 10 and 152 top of the
face and chin) give the gap of the lips in heights of the face; without them `coefficients` (frames, K) with `names`
give it through a face, and without those `weights` whose `names` have a jaw give its opening: lips and jaw are then
both held against that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import load_audio
from emotalk_ros.evaluation.metrics.lips import Phone
from emotalk_ros.face import ARKIT_NAMES, COUNT
from emotalk_ros.files import file_digest

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff")
KINDS = ("corpus", "pairs", "lips", "ravdess", "emodb")

RAVDESS_NAME = re.compile(r"0[13]-0[12]-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")
RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
EMODB_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]?")
EMODB_EMOTIONS: dict[str, str | None] = {
    "W": "angry",
    "L": None,  # boredom, which no home label stands for
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
JAW_WEIGHTS = ("jawOpen", "mouth_stretch_c")
"""Names of the jaw's opening in rigs whose weights are not ARKit's."""


class DatasetError(ValueError):
    """A folder that can't be evaluated on; the message says what it holds and what would do."""


@dataclass
class Sample:
    """One clip: audio (n,) at 16 kHz, and what is known of the face that belongs to it.

    `reference` (T, 52) at `fps`, or `gap` (T,): how far the lips are apart, in whatever unit; `of_jaw` where it is the
    opening of a rig's jaw instead. `person` and `level` are the style the clip was made in, where known.
    """

    id: str
    audio: NDArray[np.float32]
    fps: float = 30.0
    reference: NDArray[np.float32] | None = None
    gap: NDArray[np.float64] | None = None
    of_jaw: bool = False
    phones: list[Phone] = field(default_factory=list)
    actor: str = ""
    emotion: str | None = None
    level: float | None = None
    person: int | None = None


@dataclass(frozen=True)
class Dataset:
    """An opened data set: `ids`, and `load(k)` for clip k. `skipped` says in words what was left out."""

    path: Path
    kind: str
    ids: tuple[str, ...]
    load: Callable[[int], Sample] = field(repr=False)
    digest: str = ""
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def detect_kind(path: Path) -> str:
    """The kind of a folder.

    Raises:
        DatasetError: it is none; the message lists what was looked for.
    """
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder")
    if (path / "manifest.jsonl").is_file():
        return "corpus"
    stems = {p.stem: p for p in _audio_files(path)}
    if not stems:
        raise DatasetError(f"{path} holds neither manifest.jsonl nor audio ({', '.join(AUDIO_SUFFIXES)})")
    for kind, pattern in (("ravdess", RAVDESS_NAME), ("emodb", EMODB_NAME)):
        if sum(bool(pattern.fullmatch(stem)) for stem in stems) > len(stems) / 2:
            return kind
    for kind, suffix in (("lips", ".npz"), ("pairs", ".npy")):
        if any(p.with_suffix(suffix).is_file() for p in stems.values()):
            return kind
    raise DatasetError(
        f"{path} holds {len(stems)} audio files, but neither .npz or .npy beside them nor RAVDESS or EMO-DB names"
    )


def open_dataset(
    path: Path, kind: str | None = None, limit: int | None = None, only: Collection[str] | None = None
) -> Dataset:
    """Open a folder; `kind` None detects it, `limit` takes that many clips, evenly spread over the sorted names.

    `only` names the clips to keep (before `limit`); None keeps all.

    Raises:
        DatasetError: unknown kind, no such folder, or no usable clip.
    """
    kind = kind or detect_kind(path)
    if kind not in KINDS:
        raise DatasetError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder")
    dataset = {"corpus": _open_corpus, "pairs": _open_pairs, "lips": _open_lips}.get(kind, _open_named)(path, kind)
    if not len(dataset):
        raise DatasetError(f"no usable clip in {path} (kind {kind}): {'; '.join(dataset.skipped[:5]) or 'it is empty'}")
    chosen = [k for k, clip in enumerate(dataset.ids) if only is None or clip in only]
    if not chosen:
        raise DatasetError(f"none of the {len(only or ())} clips asked for is in {path}")
    if limit is not None and limit < len(chosen):
        chosen = [chosen[k] for k in np.unique(np.linspace(0, len(chosen) - 1, limit).round().astype(int)).tolist()]
    return _chosen(dataset, chosen) if len(chosen) < len(dataset) else dataset


def _chosen(dataset: Dataset, chosen: list[int]) -> Dataset:
    load = dataset.load
    ids = tuple(dataset.ids[k] for k in chosen)
    return Dataset(dataset.path, dataset.kind, ids, lambda k: load(chosen[k]), dataset.digest, dataset.skipped)


def _audio_files(path: Path) -> list[Path]:
    """Audio below `path`, at any depth, by name; hidden folders are left alone."""
    found = (p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))


def content_digest(folder: Path, paths: Iterable[Path]) -> str:
    """Names below `folder` and contents of `paths`, where they are there: other sound under an old name is noticed.

    Reads every file once, which is quick beside measuring it.
    """
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        if path.is_file():
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + file_digest(path).encode())
    return digest.hexdigest()[:16]


def finite_frames(values: NDArray[Any], where: Path | str) -> NDArray[Any]:
    """`values` (T, ...) themselves. Raises DatasetError that names the first frame with NaN or infinity."""
    bad = ~np.isfinite(values.reshape(len(values), -1))
    if bad.any():
        frame = int(bad.any(axis=1).argmax())
        raise DatasetError(
            f"{where}: {int(bad.sum())} values are NaN or infinite, the first in frame {frame}"
            + (f" ({ARKIT_NAMES[int(bad[frame].argmax())]})" if bad.shape[1] == COUNT else "")
        )
    return values


def _open_corpus(path: Path, kind: str) -> Dataset:
    from emotalk_ros.corpus.store import Corpus

    corpus = Corpus.open(path)

    def load(k: int) -> Sample:
        clip = corpus[k]
        return Sample(
            id=clip.id,
            audio=clip.audio,
            fps=clip.fps,
            reference=clip.coefficients,
            phones=list(clip.phones or ()),
            actor=str(clip.actor),
            emotion=clip.emotion,
            level=clip.level,
            person=clip.person,
        )

    ids = tuple(record.id for record in corpus.records)
    named = [path / name for r in corpus.records for name in (r.audio, r.coefficients, r.phones) if name is not None]
    return Dataset(path, kind, ids, load, content_digest(path, [path / "manifest.jsonl", *named]))


def _open_pairs(path: Path, kind: str) -> Dataset:
    audio = _audio_files(path)
    usable = [p for p in audio if p.with_suffix(".npy").is_file()]
    skipped = tuple(f"{p.name}: no {p.stem}.npy beside it" for p in audio if p not in usable)

    def load(k: int) -> Sample:
        file = usable[k].with_suffix(".npy")
        values = np.load(file, allow_pickle=False)
        if values.ndim != 2 or values.shape[1] != COUNT:
            raise DatasetError(f"{file}: expected (frames, {COUNT}), got {values.shape}")
        values = finite_frames(values, file)
        return Sample(usable[k].stem, load_audio(usable[k]), reference=values.astype(np.float32))

    files = [*usable, *(p.with_suffix(".npy") for p in usable)]
    return Dataset(path, kind, tuple(p.stem for p in usable), load, content_digest(path, files), skipped)


def _open_lips(path: Path, kind: str) -> Dataset:
    audio = _audio_files(path)
    usable = [p for p in audio if p.with_suffix(".npz").is_file()]
    skipped = tuple(f"{p.name}: no {p.stem}.npz beside it" for p in audio if p not in usable)
    phones = read_phone_table(path / "phones.json")

    def load(k: int) -> Sample:
        file = usable[k].with_suffix(".npz")
        with np.load(file, allow_pickle=False) as data:
            sample = measured_lips(dict(data), str(file))
        sample.id, sample.audio = usable[k].stem, load_audio(usable[k])
        sample.phones = phones.get(usable[k].stem, [])
        return sample

    files = [*usable, *(p.with_suffix(".npz") for p in usable), path / "phones.json"]
    return Dataset(path, kind, tuple(p.stem for p in usable), load, content_digest(path, files), skipped)


def measured_lips(data: dict[str, NDArray[Any]], where: str) -> Sample:
    """The fields of a lips npz as a Sample without audio. Frames whose `ok` is false become NaN.

    Raises:
        DatasetError: neither landmarks nor coefficients nor a jaw weight, naming what there is.
    """
    if "fps" not in data:
        raise DatasetError(f"{where}: no fps among {', '.join(sorted(data))}")
    sample = Sample("", np.zeros(0, np.float32), fps=float(data["fps"]))
    names = [str(name) for name in data.get("names", ())]
    if "coefficients" in data:
        values = np.zeros((len(data["coefficients"]), COUNT), np.float32)
        for k, name in enumerate(ARKIT_NAMES):
            if name in names:
                values[:, k] = data["coefficients"][:, names.index(name)]
        sample.reference = values
    if "landmarks" in data:
        sample.gap = _landmark_gap(data["landmarks"], [int(i) for i in data["landmark_ids"]], where)
    elif sample.reference is None:
        jaw = next((names.index(name) for name in JAW_WEIGHTS if name in names), None)
        if jaw is None or "weights" not in data:
            raise DatasetError(f"{where}: no landmarks, coefficients or jaw weight among {', '.join(sorted(data))}")
        sample.gap, sample.of_jaw = np.asarray(data["weights"][:, jaw], np.float64), True
    seen = np.asarray(data["ok"], bool) if "ok" in data else slice(None)
    for measured in (sample.reference, sample.gap):
        if measured is not None:
            finite_frames(np.asarray(measured)[seen], where)
    if "ok" in data and sample.gap is not None:
        sample.gap = np.where(data["ok"], sample.gap, np.nan)
    return sample


def _landmark_gap(landmarks: NDArray[Any], ids: list[int], where: str) -> NDArray[np.float64]:
    """Distance of the inner lips (13, 14) over the height of the face (10 to 152)."""
    missing = [i for i in (13, 14, 10, 152) if i not in ids]
    if missing:
        raise DatasetError(f"{where}: landmark_ids lacks {missing}")
    upper, lower, top, chin = (np.asarray(landmarks[:, ids.index(i)], np.float64) for i in (13, 14, 10, 152))
    height = np.linalg.norm(top - chin, axis=1)
    return np.linalg.norm(upper - lower, axis=1) / np.maximum(height, 1e-9)


def read_phone_table(path: Path) -> dict[str, list[Phone]]:
    """`{stem: [[phone, start, end], ...]}` in seconds; also with `{"phones": ...}` and phones grouped by words.

    A missing file gives none. Raises DatasetError naming the file when it can't be understood.
    """
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {str(stem): _flat_phones(entry) for stem, entry in table.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DatasetError(f"{path}: not a table of phones ({error})") from error


def _flat_phones(entry: Any) -> list[Phone]:
    rows = entry["phones"] if isinstance(entry, dict) else entry
    phones: list[Phone] = []
    for row in rows:
        if len(row) == 2 and isinstance(row[1], list):  # [word, [[phone, start, end], ...]]
            phones += [(str(p), float(a), float(b)) for p, a, b in row[1]]
        else:
            phones.append((str(row[0]), float(row[1]), float(row[2])))
    return phones


def _open_named(path: Path, kind: str) -> Dataset:
    """Clips whose file names tell emotion and actor."""
    read = _ravdess if kind == "ravdess" else _emodb
    usable: list[tuple[Path, str, str, float]] = []
    skipped: list[str] = []
    for file in _audio_files(path):
        told = read(file.stem)
        if told is None:
            skipped.append(f"{file.name}: no {kind} name, or an emotion without a home label")
        else:
            usable.append((file, *told))

    def load(k: int) -> Sample:
        file, emotion, actor, level = usable[k]
        return Sample(file.stem, load_audio(file), actor=actor, emotion=emotion, level=level)

    paths = [entry[0] for entry in usable]
    return Dataset(path, kind, tuple(p.stem for p in paths), load, content_digest(path, paths), tuple(skipped))


def _ravdess(stem: str) -> tuple[str, str, float] | None:
    match = RAVDESS_NAME.fullmatch(stem)
    if match is None:
        return None
    emotion, intensity, _, _, actor = match.groups()
    return RAVDESS_EMOTIONS[int(emotion) - 1], actor, float(int(intensity) - 1)


def _emodb(stem: str) -> tuple[str, str, float] | None:
    match = EMODB_NAME.fullmatch(stem)
    emotion = EMODB_EMOTIONS[match.group(3)] if match else None
    return None if match is None or emotion is None else (emotion, match.group(1), 1.0)
