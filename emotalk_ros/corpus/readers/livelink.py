"""Takes of Live Link Face (iPhone): a CSV of 52 coefficients and head angles with time codes, and its sound."""

from __future__ import annotations

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
from emotalk_ros.motion.files import MotionError, read_motion

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
    try:
        values, _ = read_motion(path, fps)
    except MotionError as error:
        raise CorpusError(str(error)) from error
    if len(values) < 2:
        raise CorpusError(f"{path}: {len(values)} frames: at least 2 are needed")
    return checked_coefficients(values, path)


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
