"""Pictures to files: animated WebP and GIF (Pillow), MP4 with sound (ffmpeg), a sheet of stills as PNG."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from emotalk_ros.audio.containers import ffmpeg_program
from emotalk_ros.files import replacing
from emotalk_ros.reports.render import Frames, contact_sheet

SUFFIXES = (".webp", ".gif", ".mp4", ".png")
GIF_FPS = 25.0
"""Most a GIF can show evenly: its delays are whole hundredths, and players slow down delays below 2."""


class VideoError(RuntimeError):
    """A film that cannot be written; the message says what is missing and what to do."""


def write_video(
    frames: Iterable[Frames], path: str | os.PathLike[str], fps: float, audio: str | os.PathLike[str] | None = None
) -> int:
    """Write pictures (H, W, 3) uint8 as the film that the suffix of `path` names; returns how many.

    `.webp` and `.gif` loop and have no sound (a GIF is thinned out to 25 pictures a second), `.mp4` takes the sound of
    the file `audio`, `.png` is a sheet of up to twelve stills. The file appears when it is complete, or not at all.

    Raises VideoError without ffmpeg (mp4 only), for an unknown suffix and when there is no picture.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise VideoError(f"{target.name}: {suffix or 'no suffix'} is not a film; use one of {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise VideoError(f"no folder {target.parent} to write {target.name} into: make it first")
    if audio is not None and suffix != ".mp4":
        raise VideoError(f"a {suffix} has no sound: write an .mp4, or leave the sound out")
    stream = iter(frames)
    try:
        first = next(stream)
    except StopIteration:
        raise VideoError(f"no picture to write into {target.name}") from None
    with replacing(target) as part:
        return _WRITERS[suffix](chain([first], stream), part, fps, audio)


def _durations(count: int, fps: float) -> list[int]:
    """Milliseconds of each picture, so that their sum never strays from the clock by more than a half."""
    stamps = np.round(np.arange(count + 1) * 1000.0 / fps).astype(int)
    return np.diff(stamps).tolist()


def _write_webp(frames: Iterator[Frames], path: Path, fps: float, _audio: object) -> int:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=_durations(len(images), fps),
        loop=0,
        quality=80,
        method=3,
    )
    return len(images)


def _write_gif(frames: Iterator[Frames], path: Path, fps: float, _audio: object) -> int:
    from PIL import Image

    rate = min(fps, GIF_FPS)
    kept: list[Image.Image] = []
    for index, frame in enumerate(frames):
        if len(kept) <= index / fps * rate + 1e-6:
            kept.append(Image.fromarray(frame))
    # One palette for all pictures, so that the colours do not flicker: that of several of them together.
    some = [np.asarray(kept[k]) for k in np.unique(np.linspace(0, len(kept) - 1, 8).round().astype(int))]
    palette = Image.fromarray(np.concatenate(some)).quantize(255)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in kept]
    delays = (np.diff(np.round(np.arange(len(images) + 1) * 100 / rate)) * 10).astype(int).tolist()
    images[0].save(path, save_all=True, append_images=images[1:], duration=delays, loop=0)
    return len(images)


def _write_sheet(frames: Iterator[Frames], path: Path, fps: float, _audio: object, stills: int = 12) -> int:
    from PIL import Image

    images = list(frames)
    picks = np.unique(np.linspace(0, len(images) - 1, min(stills, len(images))).round().astype(int))
    labels = [f"{pick / fps:.2f} s" for pick in picks]
    sheet = contact_sheet(np.stack([images[k] for k in picks]), labels, columns=min(4, len(picks)))
    Image.fromarray(sheet).save(path)
    return len(picks)


def ffmpeg() -> str:
    """The ffmpeg program: the system's, or the one that the package imageio-ffmpeg brings. Raises VideoError."""
    if found := ffmpeg_program():
        return found
    raise VideoError(
        "mp4 needs ffmpeg: `apt install ffmpeg` or `pip install imageio-ffmpeg`; .webp and .gif do without"
    )


def _write_mp4(frames: Iterator[Frames], path: Path, fps: float, audio: object) -> int:
    first = next(frames)
    height, width = (side - side % 2 for side in first.shape[:2])
    command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", f"{fps:.6g}", "-i", "-"]
    if audio is not None:
        if not Path(str(audio)).is_file():
            raise VideoError(f"no audio file {audio}")
        # "file:": a name such as a:b.wav is not taken for a protocol.
        command += [
            "-i",
            f"file:{Path(str(audio)).resolve()}",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:a",
            "aac",
            "-b:a",
            "96k",
            "-shortest",
        ]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "22", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", f"file:{path.resolve()}"]
    count = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert process.stdin is not None
        try:
            for frame in chain([first], frames):
                process.stdin.write(np.ascontiguousarray(frame[:height, :width]).tobytes())
                count += 1
        except BrokenPipeError:
            pass  # ffmpeg gave up: what it says is raised below
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise VideoError(f"ffmpeg failed: {errors.read().decode(errors='replace').strip()[-400:]}")
    return count


_WRITERS = {".webp": _write_webp, ".gif": _write_gif, ".mp4": _write_mp4, ".png": _write_sheet}
