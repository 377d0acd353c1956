"""The face in a report: pictures and a short film of two or three motions side by side, as data URIs."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.face import FaceBasis
from emotalk_ros.reports import html

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """Motions (T, 52) of equal length by name, on one clock, with their sound (n,) at 16 kHz if there is one."""

    motions: Mapping[str, NDArray[np.float32]]
    fps: float
    audio: NDArray[np.float32] | None = None
    start_s: float = 0.0


def liveliest(gap: ArrayLike, fps: float, seconds: float) -> slice:
    """The window of at most `seconds` in which the lips move most: frames, as a slice."""
    values = np.asarray(gap, np.float64)
    length = min(round(seconds * fps), len(values))
    if length >= len(values):
        return slice(0, len(values))
    moving = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(values, prepend=values[:1])))])
    sums = moving[length:] - moving[:-length]
    start = int(sums.argmax())
    return slice(start, start + length)


def draw(basis: FaceBasis, scene: Scene, size: int = 280, step: int = 1) -> list[Image]:
    """Every `step`-th frame of all motions next to each other, their names above: (H, W, 3) uint8 each."""
    from emotalk_ros.reports.render import View, iterate_frames

    view = View(size=size, samples=1)
    count = min(len(m) for m in scene.motions.values())
    streams = [iterate_frames(basis, m[:count:step], view) for m in scene.motions.values()]
    captions = _captions(list(scene.motions), size)
    return [np.concatenate([captions, np.concatenate(images, axis=1)]) for images in zip(*streams, strict=True)]


def _captions(names: Sequence[str], size: int) -> Image:
    from PIL import Image as Pil
    from PIL import ImageDraw, ImageFont

    strip = Pil.new("RGB", (size * len(names), 26), "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(size=15)
    for k, name in enumerate(names):
        pen.text((size * (k + 0.5), 6), name, fill=(60, 70, 85), font=font, anchor="ma")
    return np.asarray(strip)


def data_uri(data: bytes, mime: str) -> str:
    """Bytes as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def still(image: Image, quality: int = 82) -> str:
    """One picture as a WebP data URI."""
    from PIL import Image as Pil

    buffer = io.BytesIO()
    Pil.fromarray(image).save(buffer, "WEBP", quality=quality)
    return data_uri(buffer.getvalue(), "image/webp")


def animation(images: Sequence[Image], fps: float, quality: int = 70) -> str:
    """A looping WebP without sound as a data URI."""
    from PIL import Image as Pil

    frames = [Pil.fromarray(image) for image in images]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=quality
    )
    return data_uri(buffer.getvalue(), "image/webp")


def film(images: Sequence[Image], fps: float, audio: NDArray[np.float32] | None) -> str | None:
    """An MP4 (H.264, AAC) with sound as a data URI, or None where there is no ffmpeg that can make one."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None or not len(images):
        return None
    height, width = (side - side % 2 for side in images[0].shape[:2])
    with tempfile.TemporaryDirectory(prefix="emotalk_film_") as folder:
        out = Path(folder) / "film.mp4"
        command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{fps:g}", "-i", "-"]
        if audio is not None and len(audio):
            import soundfile

            sound = Path(folder) / "sound.wav"
            soundfile.write(sound, audio, 16000)
            command += ["-i", str(sound), "-c:a", "aac", "-b:a", "64k"]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p"]
        command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", "-shortest", str(out)]
        pictures = b"".join(np.ascontiguousarray(image[:height, :width]).tobytes() for image in images)
        done = subprocess.run(command, input=pictures, capture_output=True, check=False)
        if done.returncode or not out.exists():
            return None
        return data_uri(out.read_bytes(), "video/mp4")


def face_section(basis: FaceBasis, scene: Scene, *, seconds: float = 6.0, title: str = "The face") -> str:
    """A card with a film (with sound where ffmpeg is found, else a silent looping picture) and six stills."""
    count = min((len(m) for m in scene.motions.values()), default=0)
    if count < 2:
        return ""
    gap = basis.lip_gap(next(iter(scene.motions.values()))[:count])
    window = liveliest(gap, scene.fps, seconds)
    part = Scene({name: m[:count][window] for name, m in scene.motions.items()}, scene.fps)
    sound = None
    if scene.audio is not None:
        first, last = (round(f / scene.fps * 16000) for f in (window.start, window.stop))
        sound = scene.audio[first:last]
    step = 2 if scene.fps >= 50 else 1
    images = draw(basis, part, step=step)
    start = scene.start_s + window.start / scene.fps
    caption = f"{start:.1f} s to {start + (window.stop - window.start) / scene.fps:.1f} s, where the lips move most"
    made = film(images, scene.fps / step, sound)
    poster = still(images[int(gap[window].argmax()) // step])
    moving = html.video(made, title, poster) if made else html.image(animation(images, scene.fps / step), title)
    remark = "" if made else html.note("Without sound: no ffmpeg with H.264 was found.")
    return html.section(title, moving, remark, _stills(basis, scene, window, gap), note=f"{basis.name}; {caption}.")


def _stills(basis: FaceBasis, scene: Scene, window: slice, gap: NDArray[np.float32]) -> str:
    """The window's frames from the most closed to the most open lips: a row a motion, a column a frame."""
    from emotalk_ros.reports.render import View, iterate_frames

    order = np.argsort(gap[window], kind="stable")
    shares = (0.02, 0.25, 0.5, 0.75, 0.9, 0.99)
    picks = [int(order[round(share * (len(order) - 1))]) + window.start for share in shares]
    view = View(size=220, samples=2)
    times = [f"{scene.start_s + frame / scene.fps:.2f} s" for frame in picks]
    rows = {
        name: [still(image) for image in iterate_frames(basis, motion[picks], view)]
        for name, motion in scene.motions.items()
    }
    return html.heading("Frames from closed to open lips") + html.pictures(times, rows)
