"""Motions in the forms in which `emotalk animate`, Live Link Face and data sets write them: read back as arrays."""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.face import ARKIT_NAMES, COUNT, reorder


class MotionError(ValueError):
    """A motion that cannot be read; the message names the file and the fault."""


def read_motion(path: str | os.PathLike[str], fps: float | None = None) -> tuple[NDArray[np.float32], float]:
    """Coefficients (T, 52) in home order and frames a second of a motion on disk.

    `.csv` with a `time` column (seconds) and 52 named columns in any order, or as Live Link Face saves it; `.npz` with
    `coefficients`, `names` and `fps` or `time`; `.json` as `emotalk animate` writes it; `.npy` (T, 52) in home order at
    30 frames a second. A missing tongueOut (MediaPipe) is 0. Frames that do not lie evenly in time are interpolated
    onto an even grid. `fps`, where given, resamples the motion. Raises MotionError.
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
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise MotionError(f"{source}: not a motion that can be read ({error})") from error
    if values.ndim != 2 or values.shape[1] != COUNT or len(values) == 0:
        raise MotionError(f"{source}: coefficients have the shape {values.shape}, expected (frames, {COUNT})")
    if not np.isfinite(values).all():
        raise MotionError(f"{source}: frame {int(np.argmax(~np.isfinite(values).all(axis=1)))} is not all numbers")
    return _even(source, values.astype(np.float32), time, fps)


def _even(
    source: Path, values: NDArray[np.float32], time: NDArray[np.float64], fps: float | None
) -> tuple[NDArray[np.float32], float]:
    """The motion on an even grid at its own rate or at `fps`."""
    if len(values) == 1:
        return values, fps or 30.0
    steps = np.diff(time)
    if not (steps > 0).all():
        raise MotionError(f"{source}: time does not grow at frame {int(np.argmin(steps > 0)) + 1}")
    own = 1.0 / float(np.median(steps))
    # Times written with few digits still stand for a round rate.
    own = float(round(own)) if math.isclose(own, round(own), rel_tol=2e-3) else own
    rate = fps or own
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


def _read_csv(source: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    with open(source, newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    if len(rows) < 2:
        raise MotionError(f"{source}: no frame beneath its heading")
    heading = [name.strip() for name in rows[0]]
    if "timecode" in (name.lower() for name in heading):
        from emotalk_ros.corpus.readers.livelink import read_livelink_csv

        values = read_livelink_csv(source)
        return values, np.arange(len(values)) / 30.0
    lower = [name.lower() for name in heading]
    if "time" not in lower:
        raise MotionError(f"{source}: no column `time` (seconds) among {', '.join(heading[:4])} ...")
    table = np.array([row for row in rows[1:] if row], dtype=np.float64)
    wanted = {name.lower() for name in ARKIT_NAMES}
    columns = [k for k, name in enumerate(lower) if name in wanted]
    return _named(source, table[:, columns], [heading[k] for k in columns]), table[:, lower.index("time")]


def _read_npz(source: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    with np.load(source, allow_pickle=False) as archive:
        data = {key: archive[key] for key in ("coefficients", "names", "time", "fps") if key in archive.files}
        if "coefficients" not in data:
            raise MotionError(f"{source}: no `coefficients` among {', '.join(archive.files) or 'nothing'}")
    values = data["coefficients"]
    if "names" in data:
        values = _named(source, values, [str(name) for name in data["names"]])
    return values, data.get("time", np.arange(len(values)) / float(data.get("fps", 30.0)))


def _read_json(source: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    content = json.loads(source.read_text(encoding="utf-8"))
    frames = content["frames"]
    values = np.array([frame["coefficients"] for frame in frames], dtype=np.float64).reshape(len(frames), -1)
    return _named(source, values, content["names"]), np.array([frame["time"] for frame in frames], dtype=np.float64)


def _read_npy(source: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    values = np.load(source, allow_pickle=False)
    return values, np.arange(len(values)) / 30.0
