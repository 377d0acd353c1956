"""Sound that libsndfile does not decode (m4a, aac, mp4, webm, wma, ...), through PyAV or ffmpeg where one is there."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emotalk_ros.audio.pcm import AudioFormatError

SUFFIXES = (
    *(".m4a", ".aac", ".mp4", ".webm", ".wma", ".m4b", ".m4v"),
    *(".mov", ".3gp", ".mka", ".mkv", ".asf", ".amr", ".avi"),
)
"""Names of files that are taken for such sound."""
_BEGINNINGS = (
    b"\x1aE\xdf\xa3",
    b"0&\xb2u\x8ef\xcf\x11",
    b"#!AMR",
    b"\xff\xf1",
    b"\xff\xf9",
)  # Matroska, ASF, AMR, ADTS


def is_container(path: Path) -> bool:
    """Whether the name or the first bytes say that libsndfile will not decode it."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head[4:8] == b"ftyp" or head.startswith(_BEGINNINGS)


def decode(path: Path, target: Path) -> None:
    """Write the first sound track of `path` to `target` (Wave64, 16 bit, the track's own rate and channels).

    Raises:
        AudioFormatError: nothing here decodes it, with what to install or how to convert it; or it is damaged.
    """
    with contextlib.suppress(ImportError):
        _with_pyav(import_module("av"), path, target)
        return
    program = ffmpeg_program()
    if program is None:
        raise AudioFormatError(
            f"{path} needs PyAV or ffmpeg to be decoded, and neither is here: `pip install av`, or "
            f"`apt install ffmpeg`, or convert it elsewhere: ffmpeg -i {path.name} {path.stem}.wav"
        )
    words = [
        program,
        "-v",
        "error",
        "-nostdin",
        "-y",
        "-i",
        str(path),
        "-vn",
        "-c:a",
        "pcm_s16le",
        "-f",
        "w64",
        str(target),
    ]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode or not target.exists():
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise AudioFormatError(f"ffmpeg cannot decode {path}: {lines[-1] if lines else 'it gives no reason'}")


def ffmpeg_program() -> str | None:
    """The system's ffmpeg, or the one that the package imageio-ffmpeg brings."""
    found = shutil.which("ffmpeg")
    if found is None:
        with contextlib.suppress(ImportError, RuntimeError):
            found = str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    return found


def _with_pyav(av: Any, path: Path, target: Path) -> None:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioFormatError(f"{path} has no sound track")
            track = container.streams.audio[0]
            rate, layout = track.codec_context.sample_rate, track.codec_context.layout
            to_pcm = av.AudioResampler(format="s16", layout=layout, rate=rate)
            channels = len(layout.channels)
            with soundfile.SoundFile(target, "w", rate, channels, "PCM_16", format="W64") as out:
                for frame in container.decode(track):
                    for piece in to_pcm.resample(frame):
                        out.write(np.asarray(piece.to_ndarray()).reshape(-1, channels))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise (
            error if isinstance(error, AudioFormatError) else AudioFormatError(f"PyAV cannot decode {path}: {error}")
        ) from error
