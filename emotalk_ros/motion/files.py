"""Motions on disk: the one module that reads and writes them.

=================  ======  =======  ==================================================================================
form               reads   writes   content
=================  ======  =======  ==================================================================================
`.csv`             yes     yes      a column `time` in seconds and 52 named columns in any order
`.csv`, Live Link  yes     yes      as the app Live Link Face saves a take: time codes, 52 columns, head and eye angles
`.npz`             yes     yes      arrays `coefficients`, `names`, `time`, `fps`, and what else a `Motion` holds
`.json`            yes     yes      names, and one object for each frame
`.npy`             yes     no       coefficients (T, 52) in home order at 30 frames a second
=================  ======  =======  ==================================================================================
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from emotalk_ros.face.names import ARKIT_NAMES, COUNT, LIVE_LINK_CSV_NAMES, LIVE_LINK_NAMES, ORDERS, reorder
from emotalk_ros.files import replacing
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.settings_files import StrictModel, check

Times = NDArray[np.float64]
"""(T,) seconds."""

LIVE_LINK_CSV_COLUMNS = tuple(name[0].upper() + name[1:] for name in LIVE_LINK_CSV_NAMES)
"""The columns of the 52 coefficients in the app's files."""
_HEAD_AND_EYES = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
_LIVE_LINK_RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0)
_TIME_CODE = re.compile(r"(\d+):(\d+):(\d+):(\d+(?:\.\d+)?)")
_LONGEST_GAP_S = 600.0
_RATES = (0.1, 1000.0)
"""Slowest and fastest frames a second of a motion."""
_MOST_FRAMES = 1_000_000
"""Longest motion: 9 hours at 30 frames a second."""
LARGEST = 100.0
"""No coefficient, in whatever unit, is larger."""


class MotionError(ValueError):
    """A motion that cannot be read; the message names the file and the fault."""


@dataclass(frozen=True)
class Motion:
    """The frames of one recording, in arrays."""

    time: Times
    """(T,) seconds after the first sample."""
    coefficients: NDArray[np.float32]
    """(T, 52) in the order of `face.ARKIT_NAMES`."""
    activity: NDArray[np.float32]
    """(T,) speech activity 0..1."""
    emotion: NDArray[np.float32]
    """(T, L) probabilities of the emotion heard."""
    emotion_labels: tuple[str, ...]
    fps: float
    source: str = ""
    """Name of the recording."""
    angles: NDArray[np.float32] | None = None
    """(T, 9) yaw, pitch, roll of head, left eye, right eye, see `FaceFrame`; written by Live Link's csv."""

    @classmethod
    def of(cls, frames: Iterable[FaceFrame], fps: float, labels: Sequence[str], source: str = "") -> Motion:
        """Gather frames as they come."""
        listed = list(frames)
        origin = listed[0].stamp_ns - round(listed[0].index * 1e9 / fps) if listed else 0
        return cls(
            np.array([(frame.stamp_ns - origin) / 1e9 for frame in listed]),
            np.array([frame.coefficients for frame in listed], np.float32).reshape(len(listed), len(ARKIT_NAMES)),
            np.array([frame.activity for frame in listed], np.float32),
            np.array([frame.emotion for frame in listed], np.float32).reshape(len(listed), len(labels)),
            tuple(labels),
            fps,
            source,
            np.array([frame.angles for frame in listed], np.float32).reshape(len(listed), 9),
        )

    @property
    def dominant(self) -> list[str]:
        """The likeliest label of each frame; empty strings for models without emotions."""
        if not self.emotion_labels:
            return [""] * len(self.time)
        return [self.emotion_labels[k] for k in self.emotion.argmax(axis=1)]


# -- reading ----------------------------------------------------------------------------------------------------------


def read_motion(path: str | os.PathLike[str], fps: float | None = None) -> tuple[NDArray[np.float32], float]:
    """Coefficients (T, 52) in home order and frames a second of a motion on disk.

    A missing tongueOut (MediaPipe) is 0. Frames that do not lie evenly in time are interpolated onto an even grid.

    Args:
        path: a file of one of the forms above, told by its suffix, and a Live Link take by its column of time codes.
        fps: resamples the motion to this rate; None keeps its own.

    Raises:
        MotionError: names the file, and the frame or line.
    """
    source = Path(path)
    readers = {".csv": _read_csv, ".npz": _read_npz, ".json": _read_json, ".npy": _read_npy}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise MotionError(f"{source}: a motion is one of {', '.join(readers)}, not {source.suffix or 'without suffix'}")
    try:
        values, time = reader(source)
    except FileNotFoundError:
        raise MotionError(f"{source}: no such file") from None
    except MotionError:
        raise
    except Exception as error:  # numpy, zipfile, zlib and json have many for a damaged file
        raise MotionError(f"{source}: not a motion that can be read ({error})") from error
    if values.ndim != 2 or values.shape[1] != COUNT or len(values) == 0:
        raise MotionError(f"{source}: coefficients have the shape {values.shape}, expected (frames, {COUNT})")
    if not np.isfinite(values).all():
        raise MotionError(f"{source}: frame {int(np.argmax(~np.isfinite(values).all(axis=1)))} is not all numbers")
    if np.abs(values).max() > LARGEST:
        frame, k = np.unravel_index(int(np.abs(values).argmax()), values.shape)
        raise MotionError(
            f"{source}: {ARKIT_NAMES[k]} is {values[frame, k]:.6g} at frame {frame}; coefficients are 0..1"
        )
    if np.shape(time) != (len(values),) or not np.isfinite(time).all():
        raise MotionError(f"{source}: the times of its frames are not one number for each of {len(values)} frames")
    if len(values) > _MOST_FRAMES:
        raise MotionError(f"{source}: {len(values)} frames, a motion has at most {_MOST_FRAMES}: cut it")
    return _even(source, values.astype(np.float32), time, fps)


def _even(
    source: Path, values: NDArray[np.float32], time: Times, fps: float | None
) -> tuple[NDArray[np.float32], float]:
    """The motion on an even grid at its own rate or at `fps`."""
    if len(values) == 1:
        return values, fps or 30.0
    steps = np.diff(time)
    if not (steps > 0).all():
        raise MotionError(f"{source}: time does not grow at frame {int(np.argmin(steps > 0)) + 1}")
    if steps.max() > _LONGEST_GAP_S:
        raise MotionError(f"{source}: {steps.max():.6g} s without a frame after frame {int(steps.argmax())}")
    own = 1.0 / float(np.median(steps))
    # Times written with few digits still stand for a round rate.
    own = float(round(own)) if math.isclose(own, round(own), rel_tol=2e-3) else own
    if not _RATES[0] <= own <= _RATES[1]:
        raise MotionError(f"{source}: {own:.6g} frames a second; a motion has {_RATES[0]:g} to {_RATES[1]:g}")
    rate = fps or own
    if (time[-1] - time[0]) * rate > _MOST_FRAMES:
        raise MotionError(f"{source}: {time[-1] - time[0]:.6g} s at {rate:g} frames a second, too long: cut it")
    if fps is None and np.abs(time - time[0] - np.arange(len(time)) / own).max() < 0.5 / own:
        return values, own
    grid = np.arange(int((time[-1] - time[0]) * rate + 1e-6) + 1) / rate + time[0]
    return np.stack([np.interp(grid, time, column) for column in values.T], axis=1).astype(np.float32), rate


def _named(source: Path, values: ArrayLike, names: list[str]) -> NDArray[Any]:
    table = np.asarray(values, dtype=np.float64)
    if "tongueout" not in (name.lower() for name in names):
        # MediaPipe sees no tongue and has `_neutral` in its place.
        table = np.concatenate([table, np.zeros((len(table), 1))], axis=1)
        names = [*names, "tongueOut"]
    try:
        return reorder(table, names)
    except ValueError as error:
        raise MotionError(f"{source}: {error}") from None


def _read_csv(source: Path) -> tuple[NDArray[Any], Times]:
    with open(source, newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        heading = [name.strip() for name in next(rows, [])]
        lower = [name.lower() for name in heading]
        if "timecode" in lower:
            return _live_link(source, [heading, *_counted(source, rows)], lower)
        return _timed(source, _counted(source, rows), heading, lower)


def _counted(source: Path, rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """The rows, no more than a motion has frames."""
    for count, row in enumerate(rows):
        if count >= _MOST_FRAMES:
            raise MotionError(f"{source}: more than {_MOST_FRAMES} frames: cut it")
        yield row


def _timed(source: Path, rows: Iterable[list[str]], heading: list[str], lower: list[str]) -> tuple[NDArray[Any], Times]:
    """A table with the time in seconds, read row by row: text of a long one would take many times its numbers."""
    if not heading:
        raise MotionError(f"{source}: no frame: the file is empty")
    if "time" not in lower:
        raise MotionError(
            f"{source}: no column `time` (seconds) or `Timecode` (Live Link Face) among {', '.join(heading[:4])} ..."
        )
    wanted = {name.lower() for name in ARKIT_NAMES}
    columns = [k for k, name in enumerate(lower) if name in wanted]
    chosen = [lower.index("time"), *columns]
    numbers = array("d")
    for line, row in enumerate(rows, 2):
        if row:
            try:
                numbers.extend([float(row[k]) for k in chosen])
            except (ValueError, IndexError):
                given = next((row[k] for k in chosen if k < len(row) and not _is_number(row[k])), None)
                fault = f"{given!r} is no number" if given is not None else f"{len(row)} of {len(heading)} values"
                raise MotionError(f"{source}, line {line}: {fault}") from None
    if not numbers:
        raise MotionError(f"{source}: no frame beneath its heading")
    table = np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(chosen))
    return _named(source, table[:, 1:], [heading[k] for k in columns]), table[:, 0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _live_link(source: Path, rows: list[list[str]], heading: list[str]) -> tuple[NDArray[Any], Times]:
    """A take of Live Link Face, without the frames in which it saw no face."""
    lacking = [name for name in LIVE_LINK_NAMES if name.lower() not in heading]
    if lacking:
        raise MotionError(f"{source}: not a Live Link Face CSV: no column {', '.join(lacking[:4])}")
    at, columns = heading.index("timecode"), [heading.index(name.lower()) for name in LIVE_LINK_NAMES]
    codes, values = [], []
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= max(columns) or not row[columns[0]].strip():
            continue
        match = _TIME_CODE.fullmatch(row[at].strip())
        try:
            if match is None:
                raise ValueError(f"time code {row[at]!r}")
            codes.append([float(part) for part in match.groups()])
            values.append([float(row[k]) for k in columns])
        except ValueError as error:
            raise MotionError(f"{source}, line {number}: {error}") from error
    if not codes:
        raise MotionError(f"{source}: no frame with a face")
    code = np.array(codes)
    # The rate of the time code is nowhere in the file: the smallest usual one that its frame numbers fit.
    rate = next((r for r in _LIVE_LINK_RATES if code[:, 3].max() < r), _LIVE_LINK_RATES[-1])
    time = code[:, 0] * 3600 + code[:, 1] * 60 + code[:, 2] + code[:, 3] / rate
    # The app repeats a code when it drops below its rate: the later row is the newer one.
    newest = np.concatenate([np.diff(time) > 0, [True]])
    time, table = time[newest], np.array(values)[newest]
    if (np.diff(time) <= 0).any():
        raise MotionError(f"{source}: time codes run backwards")
    return reorder(table, LIVE_LINK_NAMES), time


def _read_npz(source: Path) -> tuple[NDArray[Any], Times]:
    with np.load(source, allow_pickle=False) as archive:
        data = {key: archive[key] for key in ("coefficients", "names", "time", "fps") if key in archive.files}
        if "coefficients" not in data:
            raise MotionError(f"{source}: no `coefficients` among {', '.join(archive.files) or 'nothing'}")
    values = data["coefficients"]
    if "names" in data:
        values = _named(source, values, [str(name) for name in data["names"]])
    return values, data.get("time", np.arange(len(values)) / float(data.get("fps", 30.0)))


class _JsonFrame(StrictModel, extra="ignore"):
    """What is read of a frame."""

    time: float
    coefficients: list[float]


class _JsonMotion(StrictModel, extra="ignore"):
    """What is read of a motion; a value for each name in each frame."""

    names: list[str]
    frames: list[_JsonFrame]

    @model_validator(mode="after")
    def _whole(self) -> _JsonMotion:
        for k, frame in enumerate(self.frames):
            if len(frame.coefficients) != len(self.names):
                raise ValueError(f"frames[{k}] has {len(frame.coefficients)} coefficients for {len(self.names)} names")
        return self


def _read_json(source: Path) -> tuple[NDArray[Any], Times]:
    content = check(_JsonMotion, json.loads(source.read_text(encoding="utf-8")), MotionError, source)
    values = np.array([frame.coefficients for frame in content.frames]).reshape(len(content.frames), len(content.names))
    return _named(source, values, content.names), np.array([frame.time for frame in content.frames])


def _read_npy(source: Path) -> tuple[NDArray[Any], Times]:
    values = np.load(source, allow_pickle=False)
    return values, np.arange(len(values)) / 30.0


# -- writing ----------------------------------------------------------------------------------------------------------


def _csv_bytes(motion: Motion, order: str) -> bytes:
    names = ORDERS[order]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *names])
    for time, row in zip(motion.time, reorder(motion.coefficients, target=names), strict=True):
        writer.writerow([f"{time:.6f}", *(f"{value:.6g}" for value in row)])
    return text.getvalue().encode()


def _npz_bytes(motion: Motion, order: str) -> bytes:
    names = ORDERS[order]
    data = io.BytesIO()
    np.savez_compressed(
        data,
        time=motion.time,
        coefficients=reorder(motion.coefficients, target=names),
        names=np.array(names),
        fps=np.float64(motion.fps),
        activity=motion.activity,
        emotion=motion.emotion,
        emotion_labels=np.array(motion.emotion_labels, dtype=np.str_),
        source=np.array(motion.source),
    )
    return data.getvalue()


def _json_bytes(motion: Motion, order: str) -> bytes:
    names = ORDERS[order]
    rows = reorder(motion.coefficients, target=names).astype(np.float64).round(6)
    emotion = motion.emotion.astype(np.float64).round(6)
    frames = [
        {
            "time": round(float(motion.time[k]), 6),
            "coefficients": rows[k].tolist(),
            "activity": round(float(motion.activity[k]), 4),
            "emotion": {
                "dominant": dominant,
                "probabilities": dict(zip(motion.emotion_labels, emotion[k].tolist(), strict=True)),
            },
        }
        for k, dominant in enumerate(motion.dominant)
    ]
    head = {
        "source": motion.source,
        "fps": motion.fps,
        "names": list(names),
        "emotion_labels": list(motion.emotion_labels),
    }
    return json.dumps({**head, "frames": frames}, allow_nan=False).encode()


def _live_link_bytes(motion: Motion, order: str) -> bytes:
    """The columns of Live Link Face's recordings; head and eye angles are 0 where the motion has none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Timecode", "BlendShapeCount", *LIVE_LINK_CSV_COLUMNS, *_HEAD_AND_EYES])
    count = len(LIVE_LINK_CSV_COLUMNS) + len(_HEAD_AND_EYES)
    angles = np.zeros((len(motion.time), len(_HEAD_AND_EYES))) if motion.angles is None else motion.angles
    table = np.concatenate([reorder(motion.coefficients, target=LIVE_LINK_CSV_COLUMNS), angles], axis=1)
    for time, row in zip(motion.time, table, strict=True):
        writer.writerow([_time_code(float(time), motion.fps), count, *(f"{value:.9f}" for value in row)])
    return text.getvalue().encode()


def _time_code(time: float, fps: float) -> str:
    """hours:minutes:seconds:frames.thousandths."""
    whole = int(time + 1e-6)
    frame = max(0.0, (time - whole) * fps)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frame:06.3f}"


FORMATS: dict[str, tuple[str, Callable[[Motion, str], bytes]]] = {
    "csv": (".csv", _csv_bytes),
    "npz": (".npz", _npz_bytes),
    "json": (".json", _json_bytes),
    "livelink-csv": (".csv", _live_link_bytes),
}
"""Name of each format that is written: its suffix, and what writes it."""


def format_of(path: Path) -> str:
    """The format that a file name asks for. Raises ValueError that lists the known suffixes."""
    for name, (suffix, _) in FORMATS.items():
        if path.suffix.lower() == suffix:
            return name
    raise ValueError(
        f"{path.name}: no format has the suffix {path.suffix!r}; use .csv, .npz or .json, or name a format"
    )


def write_motion(path: Path, motion: Motion, form: str | None = None, order: str = "arkit") -> None:
    """Write a motion, whole or not at all.

    Args:
        path: where; an existing file is replaced.
        motion: what.
        form: one of FORMATS; None: by the suffix.
        order: of the 52 columns, one of `face.names.ORDERS`.

    Raises:
        MotionError: a frame holds NaN or infinity.
        OSError: the file cannot be written.
    """
    for name in ("coefficients", "time", "activity", "emotion", "angles"):
        values = getattr(motion, name)
        if values is None:
            continue
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if bad.any():
            raise MotionError(f"{path}: {name} of frame {int(bad.argmax())} are not all numbers: nothing was written")
    _, to_bytes = FORMATS[form or format_of(path)]
    data = to_bytes(motion, order)
    with replacing(path) as part:
        part.write_bytes(data)
