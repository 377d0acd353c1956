"""The one on-disk form of training data: a folder with `manifest.jsonl` and the files it names.

::

    my_corpus/
      manifest.jsonl        one JSON object a line, one line a clip (fields: `Record`)
      sources.json          where the clips come from and under which licence (for the model card)
      audio/<id>.flac       16 kHz mono (.ogg, Opus, in a packed corpus)
      coefficients/<id>.npy (frames, 52) float16 or float32, home order (.npz in a packed corpus: `write_packed`)
      phones/<id>.json      optional: [[ARPAbet, start s, end s], ...]

Nothing is ever half there: each file is written under a temporary name and renamed, and the manifest takes its final
name only in `CorpusWriter.finish`. Until then the lines collect in `manifest.jsonl.partial`, from which an interrupted
writer resumes.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any
from zipfile import BadZipFile

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, TypeAdapter

from emotalk_ros.audio.files import ABSURD
from emotalk_ros.emotions import canonical
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, INDEX
from emotalk_ros.files import replacing, write_text
from emotalk_ros.motion.files import LARGEST
from emotalk_ros.settings_files import Share, StrictModel, check, nearest
from emotalk_ros.units import SAMPLE_RATE

_OPUS = 0.93
"""libsndfile's compression level for Opus: 24 kbit/s."""

MANIFEST = "manifest.jsonl"
PARTIAL = "manifest.jsonl.partial"
SOURCES = "sources.json"

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

Phone = tuple[str, float, float]
"""ARPAbet symbol (or SIL), start and end in seconds."""


class CorpusError(ValueError):
    """A corpus, or a clip of it, is missing, unreadable or inconsistent; the message names the file and the remedy."""


class DamagedClipError(CorpusError):
    """A file of a clip cannot be read, or holds what is neither sound nor a coefficient."""


@dataclass(frozen=True)
class Clip:
    """One utterance with its face.

    `audio` (n,) float32 mono 16 kHz, full scale +-1; `coefficients` (T, 52) float32 in the home order at `fps`.
    `actor` is the speaker (pseudo pairs stay within one, splits keep one whole); `person` is the personal style the
    face shows, where that is known to differ from the actor (many real voices, 24 made-up styles).
    `blind` names coefficients whose labels say nothing (e.g. those MediaPipe cannot see): losses skip them.
    """

    id: str
    audio: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    fps: float = 30.0
    actor: int = 0
    emotion: str | None = None
    level: float = 1.0
    sentence: str = ""
    phones: tuple[Phone, ...] | None = None
    source: str = ""
    person: int | None = None
    blind: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return len(self.audio) / SAMPLE_RATE

    def validate(self) -> None:
        """Raises CorpusError naming the first thing that is wrong."""
        if not _SAFE_ID.fullmatch(self.id):
            raise CorpusError(f"clip id {self.id!r} cannot be a file name: use letters, digits and . _ + - only")
        if self.audio.ndim != 1 or len(self.audio) == 0:
            raise CorpusError(f"{self.id}: audio must be mono (n,) and not empty, got shape {self.audio.shape}")
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != COUNT or len(self.coefficients) == 0:
            raise CorpusError(f"{self.id}: coefficients must be (frames, {COUNT}), got {self.coefficients.shape}")
        if not (np.isfinite(self.audio).all() and np.isfinite(self.coefficients).all()):
            raise CorpusError(f"{self.id}: audio or coefficients hold NaN or infinity")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise CorpusError(f"{self.id}: fps must be positive, got {self.fps}")
        if not 0.0 <= self.level <= 1.0:
            raise CorpusError(f"{self.id}: level must lie in 0..1, got {self.level}")
        if self.emotion is not None and canonical(self.emotion) != self.emotion:
            raise CorpusError(f"{self.id}: emotion {self.emotion!r} is not a home label")
        unknown = [name for name in self.blind if name not in INDEX]
        if unknown:
            raise CorpusError(f"{self.id}: blind names unknown coefficients {', '.join(unknown)}")


@dataclass(frozen=True)
class Record:
    """One line of the manifest; paths are relative to the folder, `duration` is in seconds."""

    id: str
    audio: str
    coefficients: str
    fps: float = 30.0
    actor: int = 0
    emotion: str | None = None
    level: float = 1.0
    sentence: str = ""
    source: str = ""
    phones: str | None = None
    duration: float = 0.0
    person: int | None = None
    blind: tuple[str, ...] = ()
    frames: int = 0

    @classmethod
    def from_json(cls, line: str, where: str) -> Record:
        """Parses a manifest line; unknown fields are ignored, so that newer corpora stay readable."""
        try:
            raw = json.loads(line)
            known = {f.name for f in fields(cls)}
            values = {k: v for k, v in raw.items() if k in known and v is not None}
            entry = check(_Entry, values, CorpusError)
            return cls(**entry.model_dump(exclude_unset=True))
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise CorpusError(
                f"{where}: not a manifest entry ({error}); rebuild the corpus or remove the line"
            ) from error

    def to_json(self) -> str:
        """The manifest line, without a newline; optional fields that are empty are left out."""
        values = {k: v for k, v in asdict(self).items() if v is not None and v != ()}
        return json.dumps(values, ensure_ascii=False)


def _known_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in INDEX:
            raise ValueError(f"{name!r} is no coefficient{nearest(name, INDEX)}")
    return names


class _Entry(StrictModel):
    """Types and ranges of a manifest line; see `Record`."""

    id: Annotated[str, Field(min_length=1)]
    audio: Annotated[str, Field(min_length=1)]
    coefficients: Annotated[str, Field(min_length=1)]
    fps: Annotated[float, Field(ge=1.0, le=1000.0)] = 30.0
    actor: int = 0
    emotion: Annotated[str, AfterValidator(canonical)] | None = None
    level: Share = 1.0
    sentence: str = ""
    source: str = ""
    phones: str | None = None
    duration: Annotated[float, Field(ge=0.0, le=86_400.0)] = 0.0
    person: Annotated[int, Field(ge=0)] | None = None
    blind: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_known_names)] = ()
    frames: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Source:
    """Where clips come from: named in the model card of whatever is trained on them."""

    name: str
    licence: str = "unknown"
    attribution: str = ""
    url: str = ""


_SOURCES = TypeAdapter(list[Source])


def write_clip(folder: str | os.PathLike[str], clip: Clip, dtype: Any = np.float16, packed: bool = False) -> Record:
    """Writes one clip's files under `folder` atomically and returns its manifest record (not yet in the manifest).

    Separate from `CorpusWriter`, so that worker processes can write files while one process owns the manifest.
    `packed`: Opus at 24 kbit/s instead of FLAC, coefficients in 1/255 steps (`write_packed`): a fifth of the size.
    Raises CorpusError for a clip that is not sound.
    """
    clip.validate()
    root = Path(folder)
    audio = root / "audio" / f"{clip.id}{'.ogg' if packed else '.flac'}"
    coefficients = root / "coefficients" / f"{clip.id}{'.npz' if packed else '.npy'}"
    pcm = np.clip(np.round(clip.audio * 32767.0), -32768, 32767).astype(np.int16)
    with replacing(audio, parents=True) as part:
        if packed:
            soundfile.write(part, pcm, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=_OPUS)
        else:
            soundfile.write(part, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    if packed:
        write_packed(coefficients, clip.coefficients)
    else:
        with replacing(coefficients, parents=True) as part:
            np.save(part, clip.coefficients.astype(dtype))
    phones: Path | None = None
    if clip.phones is not None:
        phones = root / "phones" / f"{clip.id}.json"
        write_text(phones, json.dumps([[p, round(a, 4), round(b, 4)] for p, a, b in clip.phones]))
    return Record(
        id=clip.id,
        audio=audio.relative_to(root).as_posix(),
        coefficients=coefficients.relative_to(root).as_posix(),
        fps=clip.fps,
        actor=clip.actor,
        emotion=clip.emotion,
        level=clip.level,
        sentence=clip.sentence,
        source=clip.source,
        phones=None if phones is None else phones.relative_to(root).as_posix(),
        duration=round(clip.duration, 5),
        person=clip.person,
        blind=clip.blind,
        frames=len(clip.coefficients),
    )


class CorpusWriter:
    """Appends clips to a folder; the manifest appears, whole, in `finish` (or at the end of a `with` block).

    `mode`: "new" refuses a folder that already holds a manifest; "append" goes on after the clips that are there, be
    the earlier run finished or interrupted; "overwrite" forgets them. `packed` writes small clips. `done` holds the ids
    already present, for resuming. A `with` block left by an exception (Ctrl-C too) keeps the partial manifest and does
    not finish.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sources: Iterable[Source] = (),
        mode: str = "new",
        dtype: Any = np.float16,
        packed: bool = False,
    ) -> None:
        if mode not in ("new", "append", "overwrite"):
            raise ValueError(f"mode must be new, append or overwrite, got {mode!r}")
        self.folder = Path(folder)
        self.dtype = dtype
        self.packed = packed
        self._sources = {s.name: s for s in sources}
        if mode == "new" and ((self.folder / MANIFEST).exists() or (self.folder / PARTIAL).exists()):
            raise CorpusError(f"{self.folder} already holds a corpus: choose another folder, or append or overwrite")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.records: list[Record] = self._existing() if mode == "append" else []
        if mode == "append":
            self._sources = {**_read_sources(self.folder), **self._sources}
        else:
            (self.folder / MANIFEST).unlink(missing_ok=True)
        self.done: set[str] = {r.id for r in self.records}
        # Rewritten from what was understood, so that a line torn by a crash does not stay in the middle.
        write_text(self.folder / PARTIAL, "".join(r.to_json() + "\n" for r in self.records))
        self._file: IO[str] | None = open(self.folder / PARTIAL, "a", encoding="utf-8")  # noqa: SIM115 (kept open)

    def _existing(self) -> list[Record]:
        """Records of an interrupted run (a torn last line is dropped), else of the finished manifest."""
        if (self.folder / PARTIAL).exists():
            lines = (self.folder / PARTIAL).read_text(encoding="utf-8").split("\n")[:-1]
            return [Record.from_json(line, f"{self.folder / PARTIAL}:{n}") for n, line in enumerate(lines, 1) if line]
        if (self.folder / MANIFEST).exists():
            return _read_manifest(self.folder / MANIFEST)
        return []

    def add(self, clip: Clip) -> Record:
        """Writes the clip's files and its manifest line. Raises CorpusError for a bad clip or an id used before."""
        if clip.id in self.done:
            raise CorpusError(f"clip id {clip.id!r} is already in {self.folder}: ids must be unique")
        record = write_clip(self.folder, clip, self.dtype, self.packed)
        self.add_record(record)
        return record

    def add_record(self, record: Record) -> None:
        """Adds the manifest line of a clip whose files `write_clip` has already written."""
        if self._file is None:
            raise CorpusError(f"the writer of {self.folder} is closed")
        if record.id in self.done:
            raise CorpusError(f"clip id {record.id!r} is already in {self.folder}: ids must be unique")
        self._file.write(record.to_json() + "\n")
        self._file.flush()
        self.records.append(record)
        self.done.add(record.id)

    def finish(self) -> Path:
        """Gives the manifest its final name, sorted by id (so that parallel writing is deterministic); returns it."""
        self.close()
        self.records.sort(key=lambda r: r.id)
        sources = json.dumps([asdict(s) for s in self._sources.values()], indent=2, ensure_ascii=False)
        write_text(self.folder / SOURCES, sources)
        write_text(self.folder / MANIFEST, "".join(r.to_json() + "\n" for r in self.records))
        (self.folder / PARTIAL).unlink(missing_ok=True)
        return self.folder / MANIFEST

    def keep_sources(self, names: set[str]) -> None:
        """Forgets the sources that are not in `names`."""
        self._sources = {name: source for name, source in self._sources.items() if name in names}

    def discard(self) -> None:
        """Closes and removes the partial manifest of a writer that holds nothing worth keeping."""
        self.close()
        (self.folder / PARTIAL).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def close(self) -> None:
        """Closes the partial manifest without finishing: a later writer with mode "append" goes on."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.close()


class Corpus:
    """Read access to a finished corpus: `len(corpus)`, `corpus[i] -> Clip`, iteration, `records` without any audio."""

    def __init__(self, folder: Path, records: list[Record], sources: dict[str, Source]) -> None:
        self.folder = folder
        self.records = records
        self.sources = sources

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Opens `folder`. Raises CorpusError when it is no finished corpus, saying which and what to do."""
        root = Path(folder)
        if not (root / MANIFEST).is_file():
            if (root / PARTIAL).exists():
                raise CorpusError(
                    f"{root} was interrupted while being written: run the same command again to finish it"
                )
            raise CorpusError(f"no corpus at {root} (no {MANIFEST}): make one with `emotalk synthesize` or `prepare`")
        return cls(root, _read_manifest(root / MANIFEST), _read_sources(root))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Clip:
        """The clip at `index`, files read and checked. Raises CorpusError naming the file that is wrong."""
        record = self.records[index]
        phones: tuple[Phone, ...] | None = None
        if record.phones is not None:
            phones = read_phones(self.folder / record.phones)
        return Clip(
            id=record.id,
            audio=self.read_pcm(index).astype(np.float32) / 32768.0,
            coefficients=self.read_coefficients(index),
            fps=record.fps,
            actor=record.actor,
            emotion=record.emotion,
            level=record.level,
            sentence=record.sentence,
            phones=phones,
            source=record.source,
            person=record.person,
            blind=record.blind,
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def read_pcm(self, index: int) -> NDArray[np.int16]:
        """Audio of clip `index` as (n,) int16 at 16 kHz: half the memory of float32, for keeping a corpus in RAM."""
        path = self.folder / self.records[index].audio
        try:
            with soundfile.SoundFile(path) as file:
                rate, floats = file.samplerate, file.subtype in ("FLOAT", "DOUBLE")
                pcm = file.read(dtype="float32" if floats else "int16", always_2d=True)
        except (OSError, soundfile.SoundFileError) as error:
            raise DamagedClipError(f"{path}: unreadable audio ({error})") from error
        if rate != SAMPLE_RATE or pcm.shape[1] != 1 or len(pcm) == 0:
            raise DamagedClipError(
                f"{path}: a corpus holds {SAMPLE_RATE} Hz mono, this is {rate} Hz, {pcm.shape[::-1]}"
            )
        return _to_int16(path, pcm[:, 0]) if floats else np.ascontiguousarray(pcm[:, 0])

    def read_coefficients(self, index: int) -> NDArray[np.float32]:
        """Coefficients of clip `index`, (T, 52) float32."""
        path = self.folder / self.records[index].coefficients
        try:
            values = read_packed(path) if path.suffix == ".npz" else np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise DamagedClipError(f"{path}: unreadable coefficients ({error})") from error
        if values.ndim != 2 or values.shape[1] != COUNT or len(values) == 0:
            raise DamagedClipError(f"{path}: expected (frames, {COUNT}), got {values.shape}")
        bad = ~np.isfinite(values)
        if bad.any():
            frame = int(bad.any(axis=1).argmax())
            name = ARKIT_NAMES[int(bad[frame].argmax())]
            raise DamagedClipError(
                f"{path}: {int(bad.sum())} values are NaN or infinite, the first in frame {frame} ({name})"
            )
        frame, k = divmod(int(np.abs(values).argmax()), COUNT)
        if abs(values[frame, k]) > LARGEST:
            raise DamagedClipError(
                f"{path}: {ARKIT_NAMES[k]} is {values[frame, k]:.6g} at frame {frame}; coefficients are 0..1"
            )
        return values.astype(np.float32)

    def select(self, keep: Callable[[Record], bool]) -> Corpus:
        """The sub-corpus of records for which `keep` is true (no files are copied)."""
        return Corpus(self.folder, [r for r in self.records if keep(r)], self.sources)

    @property
    def seconds(self) -> float:
        """Total duration by the manifest."""
        return float(sum(r.duration for r in self.records))


def _to_int16(path: Path, samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Of (n,) full scale +-1, beyond which they are clipped. (libsndfile would take them for whole numbers: silence.)

    Raises DamagedClipError naming the file and the first sample that is none.
    """
    bad = ~(np.abs(samples) <= ABSURD)  # NaN compares false
    if bad.any():
        first = int(bad.argmax())
        raise DamagedClipError(
            f"{path}: {int(bad.sum())} samples are no sound, the first at {first / SAMPLE_RATE:.3f} s is "
            f"{samples[first]:.6g}; full scale is 1"
        )
    return (np.clip(samples, -1.0, 32767 / 32768) * 32768.0).round().astype(np.int16)


def write_packed(path: str | os.PathLike[str], coefficients: NDArray[np.floating]) -> None:
    """Coefficients (T, 52), 0..1, in 1/255 steps as a compressed .npz: about a twentieth of a float16 .npy.

    `steps` (52, T) uint8 holds each coefficient's differences from frame to frame, modulo 256.
    """
    levels = np.round(np.clip(coefficients, 0.0, 1.0) * 255.0).astype(np.uint8).T
    steps = np.diff(levels, axis=1, prepend=np.uint8(0))
    with replacing(path, parents=True) as part:
        np.savez_compressed(part, steps=steps)


def read_packed(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """What `write_packed` wrote: (T, 52) float32. Raises OSError, ValueError or KeyError for another file."""
    with np.load(path, allow_pickle=False) as file:
        levels = np.cumsum(file["steps"], axis=1, dtype=np.uint8)
    return np.ascontiguousarray(levels.T).astype(np.float32) / np.float32(255.0)


def read_phones(path: str | os.PathLike[str]) -> tuple[Phone, ...]:
    """A phones file `[[ARPAbet, start, end], ...]` in seconds. Raises CorpusError naming it."""
    try:
        return parse_phones(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise CorpusError(f"{path}: not a list of [phone, start, end] ({error})") from error


def parse_phones(raw: Any) -> tuple[Phone, ...]:
    """`[[phone, start, end], ...]` checked: starts before ends, in order. Raises ValueError.

    An end up to 50 ms before its start (aligners round, clips are cut) becomes a phone without duration.
    """
    phones: list[Phone] = []
    previous = 0.0
    for name, start, end in ((str(p), float(a), float(b)) for p, a, b in raw):
        if not (start <= end + 0.05 and start >= previous - 1e-3):
            raise ValueError(f"phone {name} at {start}..{end} s is out of order")
        phones.append((name, start, max(start, end)))
        previous = start
    return tuple(phones)


def _read_manifest(path: Path) -> list[Record]:
    """All records of a manifest; raises CorpusError on a bad line or a repeated id."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 ({error}); rebuild the corpus") from error
    records = [Record.from_json(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise CorpusError(f"{path}: clip id {record.id!r} occurs twice")
        seen.add(record.id)
    return records


def _read_sources(folder: Path) -> dict[str, Source]:
    """Sources by name; empty when the corpus does not tell."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    try:
        read = _SOURCES.validate_python(json.loads(path.read_text(encoding="utf-8")))
        return {source.name: source for source in read}
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: not a list of sources ({error})") from error
