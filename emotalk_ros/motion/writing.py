"""A motion on disk: csv, npz, json, and the csv that Live Link Face saves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.names import ARKIT_NAMES, LIVE_LINK_NAMES, ORDERS, reorder
from emotalk_ros.files import replacing
from emotalk_ros.motion.frame import FaceFrame

_HEAD_AND_EYES = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)


@dataclass(frozen=True)
class Motion:
    """The frames of one recording, in arrays."""

    time: NDArray[np.float64]
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
        )

    @property
    def dominant(self) -> list[str]:
        """The likeliest label of each frame; empty strings for models without emotions."""
        if not self.emotion_labels:
            return [""] * len(self.time)
        return [self.emotion_labels[k] for k in self.emotion.argmax(axis=1)]


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
    return json.dumps({**head, "frames": frames}).encode()


def _live_link_bytes(motion: Motion, order: str) -> bytes:
    """The columns of Live Link Face's recordings; head and eye angles, which speech does not give, are 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name[0].upper() + name[1:] for name in LIVE_LINK_NAMES]
    writer.writerow(["Timecode", "BlendShapeCount", *names, *_HEAD_AND_EYES])
    for time, row in zip(motion.time, reorder(motion.coefficients, target=LIVE_LINK_NAMES), strict=True):
        values = [f"{value:.9f}" for value in row] + ["0.000000000"] * len(_HEAD_AND_EYES)
        writer.writerow([_timecode(float(time), motion.fps), len(names) + len(_HEAD_AND_EYES), *values])
    return text.getvalue().encode()


def _timecode(time: float, fps: float) -> str:
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
"""Name of each format: its suffix, and what writes it."""


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
        order: "arkit" (alphabetical) or "livelink" (Apple's) order of the 52 columns.
    """
    _, to_bytes = FORMATS[form or format_of(path)]
    data = to_bytes(motion, order)
    with replacing(path) as part:
        part.write_bytes(data)
