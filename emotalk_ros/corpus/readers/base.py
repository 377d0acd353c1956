"""What all readers share: clips that load one by one, problems that are named while the rest is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import AudioFormatError, load_audio
from emotalk_ros.corpus.store import Clip, CorpusError, CorpusWriter, Record, write_clip
from emotalk_ros.face.names import ARKIT_NAMES, COUNT
from emotalk_ros.units import SAMPLE_RATE
from emotalk_ros.workers import worker_pool

Floats = NDArray[np.float32]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")
"""What libsndfile opens."""

SHORTEST = 0.3
"""Clips under so many seconds are refused: nothing is said in them."""


@dataclass(frozen=True)
class Item:
    """A clip that a reader has found and not yet read: `name` for messages, `load()` raises for what is wrong."""

    name: str
    load: Callable[[], Clip]


@dataclass(frozen=True)
class Problem:
    """What was left out and why; a reader yields one in place of an item whose files are incomplete."""

    name: str
    reason: str


@dataclass
class Summary:
    """The outcome of a preparation."""

    clips: int = 0
    seconds: float = 0.0
    frames: int = 0
    actors: set[int] = field(default_factory=set)
    emotions: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    kept_before: int = 0
    """Clips that an interrupted run had already written."""

    def count(self, record: Record) -> None:
        """Adds a clip that was written."""
        self.clips += 1
        self.seconds += record.duration
        self.frames += record.frames
        self.actors.add(record.actor)
        label = record.emotion or "no label"
        self.emotions[label] = self.emotions.get(label, 0) + 1


def prepare(
    items: Iterable[Item | Problem],
    writer: CorpusWriter,
    progress: Callable[[str], None] | None = None,
    jobs: int = 1,
) -> Summary:
    """Reads every item into `writer` (which the caller finishes); what fails is in the summary, the rest is kept.

    Items whose id the writer already has (an interrupted run) are not read again. `progress` is called with the name
    of each item when it is done. `jobs` processes read and write clips side by side; this one keeps the manifest.
    """
    summary = Summary()
    waiting: list[Item] = []
    for item in items:
        if isinstance(item, Problem):
            summary.problems.append(item)
        elif clip_id(item.name) in writer.done:
            summary.kept_before += 1
        else:
            waiting.append(item)
            continue
        if progress is not None:
            progress(item.name)
    for name, outcome in _outcomes(waiting, writer, jobs):
        if isinstance(outcome, Problem):
            summary.problems.append(outcome)
        elif outcome.id in writer.done:
            summary.problems.append(Problem(name, f"another clip is called {outcome.id!r} already"))
        else:
            writer.add_record(outcome)
            summary.count(outcome)
        if progress is not None:
            progress(name)
    return summary


def _outcomes(items: Sequence[Item], writer: CorpusWriter, jobs: int) -> Iterator[tuple[str, Record | Problem]]:
    """(name, what came of it) of each item, in order."""
    if jobs <= 1 or len(items) < 2:
        for item in items:
            yield item.name, _read(item, writer)
        return
    # Items hold functions, which do not pickle: the workers inherit them.
    _INHERITED[:] = [items, writer]
    try:
        with worker_pool(jobs, method="fork") as pool:
            for index, outcome in enumerate(pool.imap(_read_inherited, range(len(items)))):
                yield items[index].name, outcome
    finally:
        _INHERITED.clear()


_INHERITED: list[Any] = []


def _read_inherited(index: int) -> Record | Problem:
    items, writer = _INHERITED
    return _read(items[index], writer)


def _read(item: Item, writer: CorpusWriter) -> Record | Problem:
    """Loads one item and writes its files; a Problem says why not."""
    try:
        clip = item.load()
        if clip.duration < SHORTEST:
            raise CorpusError(f"only {clip.duration:.2f} s long: at least {SHORTEST} s are needed")
        if clip.id in writer.done:
            raise CorpusError(f"another clip is called {clip.id!r} already")
        return write_clip(writer.folder, clip, writer.dtype, writer.packed)
    except (CorpusError, AudioFormatError, ValueError, FileNotFoundError, PermissionError) as error:
        return Problem(item.name, _without_name(str(error), item.name))


def clip_id(name: str) -> str:
    """A name that may be a file name: other signs become `_`."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", name).strip("._") or "clip"


def find_audio(folder: Path) -> dict[str, Path]:
    """Audio files below `folder` by stem. Raises CorpusError for a folder that is missing or holds none."""
    if not folder.is_dir():
        raise CorpusError(f"no folder {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.stem, path)
    if not found:
        raise CorpusError(f"no audio below {folder} (looked for {', '.join(AUDIO_SUFFIXES)})")
    return found


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Actor numbers 0, 1, ... in the natural order of their names."""

    def natural(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    return {name: number for number, name in enumerate(sorted(set(names), key=natural))}


def checked_coefficients(values: NDArray[np.floating], where: str | Path) -> Floats:
    """(frames, 52) in the home order, clipped to 0..1.

    Small excursions are clipped (smoothing leaves them). Raises CorpusError for another shape, values that are not
    finite, percent instead of 0..1, or a face that never moves.
    """
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] != COUNT:
        raise CorpusError(f"{where}: expected coefficients (frames, {COUNT}), got {values.shape}")
    if not np.isfinite(values).all():
        raise CorpusError(f"{where}: coefficients hold NaN or infinity")
    if values.max() > 2.0 or values.min() < -1.0:
        raise CorpusError(
            f"{where}: coefficients reach from {values.min():.3g} to {values.max():.3g}, 0..1 is expected "
            "(are they percent?)"
        )
    if len(values) > 1 and np.ptp(values, axis=0).max() < 1e-6:
        raise CorpusError(f"{where}: the face never moves")
    return np.clip(values, 0.0, 1.0)


@dataclass(frozen=True)
class Matrix:
    """Coefficients as a file holds them: values (frames, C), fps if the file tells, names that it lacks."""

    values: NDArray[np.floating]
    fps: float | None = None
    blind: tuple[str, ...] = ()


def read_matrix(path: Path) -> Matrix:
    """Coefficients of an .npy, .npz or .csv file, columns in the home order.

    An .npz holds `coefficients` and optionally `names` and `fps`; a .csv has a header. Named columns may come in any
    order and case; those that are no coefficients (time, MediaPipe's `_neutral`) are left out, coefficients that no
    column holds are zero and `blind`. Without names there are 52 plain columns in the home order.
    Raises CorpusError naming the file.
    """
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with loaded as data:
                return _read_npz(path, data)
        values = np.asarray(loaded)
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: missing") from error
    except (OSError, ValueError, EOFError, IndexError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{path}: unreadable ({error})") from error
    # Published predictions are (1, frames, 52).
    return Matrix(values[0] if values.ndim == 3 and values.shape[0] == 1 else values)


def _read_npz(path: Path, data: Any) -> Matrix:
    if "coefficients" not in data:
        raise CorpusError(f"{path}: no array 'coefficients' among {', '.join(data.files)}")
    values, fps = np.array(data["coefficients"]), float(data["fps"]) if "fps" in data else None
    if "names" not in data:
        return Matrix(values, fps)
    full, blind = _by_name(values, [str(name) for name in data["names"]], path)
    return Matrix(full, fps, blind)


def _read_csv(path: Path) -> Matrix:
    rows = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not rows:
        raise CorpusError(f"{path}: empty")
    known = {name.lower() for name in ARKIT_NAMES}
    header = [cell.strip() for cell in rows[0]]
    named = [k for k, cell in enumerate(header) if cell.lower() in known]
    if not named:
        return Matrix(np.array([[float(cell) for cell in row] for row in rows]))
    values = np.array([[float(row[k]) for k in named] for row in rows[1:]]).reshape(-1, len(named))
    full, blind = _by_name(values, [header[k] for k in named], path)
    return Matrix(full, None, blind)


def _by_name(values: NDArray[np.floating], names: Sequence[str], path: Path) -> tuple[Floats, tuple[str, ...]]:
    """Columns (frames, len(names)) as (frames, 52) in the home order, and the coefficients that are not among them."""
    if values.ndim != 2 or values.shape[1] != len(names):
        raise CorpusError(f"{path}: {len(names)} names for coefficients of shape {values.shape}")
    where = {name.lower(): k for k, name in enumerate(names)}
    found = [name for name in ARKIT_NAMES if name.lower() in where]
    if not found:
        raise CorpusError(f"{path}: none of its names is an ARKit coefficient ({', '.join(names[:4])}, ...)")
    full = np.zeros((len(values), COUNT), np.float32)
    full[:, [ARKIT_NAMES.index(name) for name in found]] = values[:, [where[name.lower()] for name in found]]
    return full, tuple(name for name in ARKIT_NAMES if name not in found)


def matched(audio: Floats, coefficients: Floats, fps: float, where: str | Path) -> tuple[Floats, Floats]:
    """Audio and coefficients cut to the shorter of the two.

    Raises CorpusError when they differ by more than a quarter of a second and a twentieth: they do not belong together.
    """
    heard, seen = len(audio) / SAMPLE_RATE, len(coefficients) / fps
    if abs(heard - seen) > max(0.25, 0.05 * max(heard, seen)):
        raise CorpusError(f"{where}: {heard:.2f} s of audio but {seen:.2f} s of coefficients at {fps:g} fps")
    frames = min(len(coefficients), max(1, int(heard * fps + 1e-6)))
    samples = min(len(audio), -(-frames * SAMPLE_RATE // max(1, round(fps))) if float(fps).is_integer() else len(audio))
    return audio[:samples], coefficients[:frames]


def read_audio(path: Path) -> Floats:
    """`load_audio` with errors as CorpusError naming the file."""
    try:
        return load_audio(path)
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: missing") from error
    except (AudioFormatError, OSError, RuntimeError) as error:
        raise CorpusError(f"{path}: unreadable audio ({error})") from error


def _without_name(text: str, name: str) -> str:
    return text[len(name) :].lstrip(": ") if text.startswith(f"{name}:") else text


def unmatched(audio: Iterable[str], other: Iterable[str], what: str) -> Iterator[Problem]:
    """Problems for stems that have audio but no `what`, or the reverse."""
    a, b = set(audio), set(other)
    for stem in sorted(a - b):
        yield Problem(stem, f"has audio but no {what}")
    for stem in sorted(b - a):
        yield Problem(stem, f"has {what} but no audio")


def stem_table(path: Path) -> dict[str, Any]:
    """A JSON file that maps stems to values, empty where there is none. Raises CorpusError naming what is wrong."""
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorpusError(f"{path}: not JSON ({error})") from error
    if not isinstance(table, dict):
        raise CorpusError(f"{path}: must map stems to values")
    return table
