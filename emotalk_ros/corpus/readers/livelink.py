"""Takes of Live Link Face (iPhone): a CSV of 52 coefficients and head angles with time codes, and its sound."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.readers.base import (
    AUDIO_SUFFIXES,
    Item,
    Problem,
    checked_coefficients,
    clip_id,
    matched,
    numbered,
    read_audio,
)
from emotalk_ros.corpus.store import Clip, CorpusError
from emotalk_ros.face.names import LIVE_LINK_NAMES, reorder

_RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0)
_CODE = re.compile(r"(\d+):(\d+):(\d+):(\d+(?:\.\d+)?)")
_MOVIES = (".mov", ".mp4", ".m4v")


def read_livelink(source: Path, fps: float = 30.0, offset: float = 0.0) -> Iterator[Item | Problem]:
    """Every take below `source`: `<name>.csv` (or `<name>_cal.csv`, which wins) with sound of the same name.

    The sound is an audio file, or a movie's (through ffmpeg, if installed). Frames are brought from their time codes
    to an even grid of `fps`; `offset` is how many seconds the sound starts before the first frame. Each folder is
    an actor. Raises CorpusError when there is no CSV.
    """
    if not source.is_dir():
        raise CorpusError(f"no folder {source}")
    takes: dict[str, Path] = {}
    for path in sorted(source.rglob("*.csv")):
        stem = path.stem.removesuffix("_cal").removesuffix("_raw")
        if stem not in takes or path.stem.endswith("_cal"):
            takes[stem] = path
    if not takes:
        raise CorpusError(f"no .csv below {source}")
    actors = numbered(p.parent.name for p in takes.values())
    for stem, path in sorted(takes.items()):
        sound = _sound_of(path, stem)
        if sound is None:
            yield Problem(
                stem, f"no sound beside {path.name} ({', '.join(AUDIO_SUFFIXES[:3])} or {', '.join(_MOVIES)})"
            )
        else:
            yield _take(stem, path, sound, fps, offset, actors[path.parent.name])


def read_livelink_csv(path: Path, fps: float = 30.0) -> NDArray[np.float32]:
    """Coefficients (frames, 52) in the home order at an even `fps`, from the first time code on.

    Raises CorpusError naming the file and line.
    """
    times, values = _rows(path)
    if len(times) < 2:
        raise CorpusError(f"{path}: {len(times)} frames: at least 2 are needed")
    steps = np.diff(times)
    if (steps <= 0).any():
        # Live Link repeats a code when it drops below its rate: the later row is the newer one.
        keep = np.concatenate([steps > 0, [True]])
        times, values = times[keep], values[keep]
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise CorpusError(f"{path}: time codes run backwards")
    grid = np.arange(int((times[-1] - times[0]) * fps + 1e-6) + 1) / fps + times[0]
    even = np.stack([np.interp(grid, times, column) for column in values.T], axis=1)
    return checked_coefficients(reorder(even, LIVE_LINK_NAMES), path)


def _rows(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times in s and the 52 columns in Live Link's order, of rows that hold blendshapes."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: unreadable ({error})") from error
    header = {cell.strip().lower(): k for k, cell in enumerate(rows[0])} if rows else {}
    lacking = [n for n in ("timecode", *(n.lower() for n in LIVE_LINK_NAMES)) if n not in header]
    if lacking:
        raise CorpusError(f"{path}: not a Live Link Face CSV: no column {', '.join(lacking[:4])}")
    columns = [header[name.lower()] for name in LIVE_LINK_NAMES]
    codes, values = [], []
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= max(columns) or not row[columns[0]].strip():
            continue  # a frame in which no face was seen
        match = _CODE.fullmatch(row[header["timecode"]].strip())
        try:
            if match is None:
                raise ValueError(f"time code {row[header['timecode']]!r}")
            codes.append([float(part) for part in match.groups()])
            values.append([float(row[k]) for k in columns])
        except ValueError as error:
            raise CorpusError(f"{path}, line {number}: {error}") from error
    if not codes:
        raise CorpusError(f"{path}: no frame with a face")
    code = np.array(codes)
    # The rate of the code is nowhere in the file: the smallest usual one that its frame numbers fit.
    rate = next((r for r in _RATES if code[:, 3].max() < r), _RATES[-1])
    return code[:, 0] * 3600 + code[:, 1] * 60 + code[:, 2] + code[:, 3] / rate, np.array(values)


def _take(stem: str, path: Path, sound: Path, fps: float, offset: float, actor: int) -> Item:
    def load() -> Clip:
        values = read_livelink_csv(path, fps)
        audio = read_audio(sound) if sound.suffix.lower() in AUDIO_SUFFIXES else movie_sound(sound)
        skip = round(offset * 16000)
        audio = audio[skip:] if skip >= 0 else np.pad(audio, (-skip, 0))
        samples, values = matched(audio, values, fps, stem)
        return Clip(
            id=clip_id(stem), audio=samples, coefficients=values, fps=fps, actor=actor, source="livelink", sentence=""
        )

    return Item(stem, load)


def _sound_of(path: Path, stem: str) -> Path | None:
    for suffix in (*AUDIO_SUFFIXES, *_MOVIES):
        for candidate in (path.with_name(stem + suffix), path.with_suffix(suffix)):
            if candidate.is_file():
                return candidate
    return None


def movie_sound(path: Path) -> NDArray[np.float32]:
    """Sound of a movie, (n,) mono 16 kHz, by ffmpeg. Raises CorpusError when it is not installed or fails."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise CorpusError(f"{path}: ffmpeg is needed to read the sound of a movie; or put a .wav beside it")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        command = [program, "-v", "error", "-i", str(path), "-vn", "-ac", "1", "-ar", "16000", str(wav)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not wav.is_file():
            raise CorpusError(f"{path}: ffmpeg found no sound ({done.stderr.strip().splitlines()[-1:]})")
        return read_audio(wav)
