"""Coefficients from video by MediaPipe's face landmarker (an optional extra; the user gives the model file).

Every frame of the video is measured at its own time, brought to an even grid and smoothed with Savitzky-Golay (5, 2)
as EmoTalk's labels are. MediaPipe is blind to some coefficients: they are listed in each clip's `blind`, and training
skips them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from emotalk_ros.corpus.readers.base import Item, Problem, clip_id, matched, numbered
from emotalk_ros.corpus.readers.livelink import movie_sound
from emotalk_ros.corpus.readers.recorded import RavdessName
from emotalk_ros.corpus.store import Clip, CorpusError
from emotalk_ros.face.names import COUNT, INDEX
from emotalk_ros.requirements import install_command

Floats = NDArray[np.float32]

BLIND: tuple[str, ...] = (
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""Coefficients that MediaPipe's model leaves near zero whatever the face does."""

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".flv")

LONGEST_GAP = 0.5
"""Seconds without a face that are bridged by interpolation."""

Frame = tuple[float, dict[str, float] | None]
"""Time in s and scores by name, None where no face was seen."""


def read_video(source: Path, model: Path, fps: float = 30.0, speaker: str = "folder") -> Iterator[Item | Problem]:
    """Videos below `source` (or the one file) as items; RAVDESS names give actor, emotion, level and sentence.

    `speaker`: "folder" (each sub-folder an actor) or "file". Raises CorpusError when there are none, or when MediaPipe
    or the model file is missing.
    """
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise CorpusError(f"no video below {source} (looked for {', '.join(VIDEO_SUFFIXES)})")
    measure = mediapipe_measure(model)
    actors = numbered(_speaker(path, speaker) for path in paths)
    for path in paths:
        name = RavdessName.parse(path.stem)
        if name is not None and name.modality == 3:
            yield Problem(path.stem, "audio only by its RAVDESS name")
        else:
            yield _item(path, measure, fps, actors[_speaker(path, speaker)], name)


def even_coefficients(frames: Iterable[Frame], fps: float, where: str) -> Floats:
    """Measured frames on the grid n / fps from time 0: (T, 52) in the home order, smoothed, 0..1.

    Raises CorpusError when no face was seen, or none for longer than `LONGEST_GAP`.
    """
    times, rows, end = [], [], 0.0
    for time, scores in frames:
        end = max(end, time)
        if scores is not None:
            row = np.zeros(COUNT)
            for name, score in scores.items():
                if name in INDEX:  # `_neutral` is no coefficient
                    row[INDEX[name]] = score
            times.append(time)
            rows.append(row)
    if len(rows) < 5:
        raise CorpusError(f"{where}: a face was seen in {len(rows)} frames only")
    gaps = np.diff([0.0, *times, end])
    if gaps.max() > LONGEST_GAP:
        at = [0.0, *times][int(gaps.argmax())]
        raise CorpusError(f"{where}: no face for {gaps.max():.2f} s from {at:.2f} s on (at most {LONGEST_GAP} s)")
    grid = np.arange(int(end * fps + 1e-6) + 1) / fps
    even = np.stack([np.interp(grid, times, column) for column in np.array(rows).T], axis=1)
    if len(even) >= 5:
        even = savgol_filter(even, 5, 2, axis=0)
    return np.clip(even, 0.0, 1.0).astype(np.float32)


def mediapipe_measure(model: Path) -> Callable[[Path], Iterator[Frame]]:
    """A function from a video file to its measured frames. Raises CorpusError when MediaPipe or `model` is missing."""
    try:
        import cv2
        import mediapipe
    except ImportError as error:
        raise CorpusError(f"labels from video need mediapipe ({error}): {install_command('video')}") from error
    if not model.is_file():
        raise CorpusError(f"no model file {model}: download MediaPipe's face_landmarker.task and name it with --model")
    vision = mediapipe.tasks.vision

    def landmarker() -> Any:
        # One a video: it tracks, and its time must not run backwards.
        options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=1,
            output_face_blendshapes=True,
        )
        return vision.FaceLandmarker.create_from_options(options)

    try:
        landmarker().close()
    except (RuntimeError, ValueError) as error:
        raise CorpusError(f"{model} is no face landmarker that MediaPipe can open ({error})") from error

    def measure(path: Path) -> Iterator[Frame]:
        with landmarker() as detector:
            for milliseconds, picture in _pictures(cv2, path):
                rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
                found = detector.detect_for_video(image, milliseconds).face_blendshapes
                scores = {c.category_name: float(c.score) for c in found[0]} if found else None
                yield milliseconds / 1000.0, scores

    return measure


def _pictures(cv2: Any, path: Path) -> Iterator[tuple[int, Any]]:
    """Frames of a video with strictly rising times in ms."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise CorpusError(f"{path}: not a readable video")
    try:
        rate = video.get(cv2.CAP_PROP_FPS) or 30.0
        before, number = -1, 0
        while True:
            got, picture = video.read()
            if not got:
                break
            told = video.get(cv2.CAP_PROP_POS_MSEC)
            time = round(told if told > 0 or number == 0 else number * 1000.0 / rate)
            before = max(before + 1, time)
            yield before, picture
            number += 1
    finally:
        video.release()


def _item(
    path: Path, measure: Callable[[Path], Iterable[Frame]], fps: float, actor: int, name: RavdessName | None
) -> Item:
    def load() -> Clip:
        audio = movie_sound(path)
        samples, values = matched(audio, even_coefficients(measure(path), fps, path.name), fps, path.name)
        return Clip(
            id=clip_id(path.stem),
            audio=samples,
            coefficients=values,
            fps=fps,
            actor=name.actor if name else actor,
            person=name.actor if name else None,
            emotion=name.emotion if name else None,
            level=name.level if name else 1.0,
            sentence=name.statement if name else "",
            source="RAVDESS" if name else "video",
            blind=BLIND,
        )

    return Item(path.stem, load)


def _speaker(path: Path, rule: str) -> str:
    return path.parent.name if rule == "folder" else path.stem
