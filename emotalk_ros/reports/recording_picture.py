"""The picture of a recording: waveform, main coefficients, emotion, on one time axis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotalk_ros.evaluation.recording import FaceRecording
from emotalk_ros.face.names import INDEX
from emotalk_ros.files import replacing
from emotalk_ros.reports.charts import EMOTION_COLOURS, envelope
from emotalk_ros.units import NS, SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, GRID = "#22262e", "#7a828f", "#e4e7ec"
COEFFICIENTS = (
    ("jawOpen", ("jawOpen",), "#d1495b"),
    ("mouthClose", ("mouthClose",), "#2e4057"),
    ("funnel + pucker", ("mouthFunnel", "mouthPucker"), "#8d6a9f"),
    ("mouthSmile", ("mouthSmileLeft", "mouthSmileRight"), "#edae49"),
    ("browDown", ("browDownLeft", "browDownRight"), "#00798c"),
    ("browInnerUp", ("browInnerUp",), "#5fad56"),
    ("eyeBlink", ("eyeBlinkLeft", "eyeBlinkRight"), "#9aa3af"),
)
"""What each row shows: pairs are averaged, other groups summed."""


def draw(recording: FaceRecording, path: Path, title: str) -> None:
    """Write the picture (format by the file's ending); appears only when complete."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.edgecolor": GRID}
    style |= {"text.parse_math": False, "axes.labelcolor": INK, "xtick.color": QUIET, "ytick.color": QUIET}
    with plt.rc_context(style):
        figure, (wave, face, emotion) = plt.subplots(
            3, 1, figsize=(12.5, 8.6), sharex=True, height_ratios=(1.0, 3.6, 1.7), layout="constrained"
        )
        figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold")
        _draw_wave(wave, recording)
        _draw_face(face, recording)
        _draw_emotion(emotion, recording)
        emotion.set_xlim(0.0, recording.duration)
        emotion.set_xlabel("audio time in seconds")
        with replacing(path) as part:
            figure.savefig(part, dpi=130, format=path.suffix.lstrip(".") or "png", facecolor="white")
        plt.close(figure)


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=6)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _seconds(recording: FaceRecording, stamps: Any) -> Any:
    return (stamps - recording.start_ns) / NS


def _draw_wave(axes: Axes, recording: FaceRecording) -> None:
    _plain(axes, "speech; shaded where the node found speech activity")
    loudest = float(np.abs(recording.samples).max())
    time, low, high = envelope(recording.samples, SAMPLE_RATE, 0.0, recording.duration, columns=4000)
    axes.fill_between(time, loudest * low, loudest * high, color=INK, linewidth=0)
    limit = max(0.05, loudest * 1.1)
    voice = _seconds(recording, recording.face.stamp_ns)
    axes.fill_between(
        voice, -limit, limit, where=(recording.face.activity >= 0.5).tolist(), color="#edae49", alpha=0.22, linewidth=0
    )
    axes.set_ylim(-limit, limit)
    axes.set_yticks([])


def _draw_face(axes: Axes, recording: FaceRecording) -> None:
    _plain(axes, "blendshape coefficients, each row from 0 to its largest value")
    time = _seconds(recording, recording.face.stamp_ns)
    for row, (_, names, colour) in enumerate(reversed(COEFFICIENTS)):
        values = recording.face.coefficients[:, [INDEX[name] for name in names]]
        curve = values.sum(axis=1) if names == ("mouthFunnel", "mouthPucker") else values.mean(axis=1)
        top = max(float(curve.max()), 0.02)
        axes.fill_between(time, row, row + 0.86 * curve / top, color=colour, alpha=0.28, linewidth=0)
        axes.plot(time, row + 0.86 * curve / top, color=colour, linewidth=1.1)
        axes.text(
            recording.duration * 1.006, row + 0.43, f"max {curve.max():.2f}", va="center", fontsize=9, color=QUIET
        )
    axes.set_yticks([row + 0.4 for row in range(len(COEFFICIENTS))], [label for label, _, _ in reversed(COEFFICIENTS)])
    axes.tick_params(axis="y", colors=INK)
    axes.set_ylim(-0.1, len(COEFFICIENTS))


def _draw_emotion(axes: Axes, recording: FaceRecording) -> None:
    _plain(axes, "emotion heard in the voice (probability)")
    track = recording.emotion
    if track is None:
        return
    from matplotlib.patches import Patch

    time = _seconds(recording, track.stamp_ns)
    colours = [EMOTION_COLOURS.get(label, QUIET) for label in track.labels]
    axes.stackplot(time, track.probabilities.T, colors=colours, linewidth=0.3, edgecolor="white")
    handles = [Patch(color=colour) for colour in colours]
    axes.legend(handles, track.labels, loc="upper left", bbox_to_anchor=(1.004, 1.02), frameon=False, fontsize=9)
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([0.0, 0.5, 1.0])
