"""Emotions as messages: a dialogue system's command, and the state that the face shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emotalk_ros.emotions import canonical
from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import EmotionCommand, EmotionState
from emotalk_ros.nodes.messages import emotion_state

if TYPE_CHECKING:
    from emotalk_ros.model import EmotionControl


LONGEST = 3600.0
"""Seconds that a command may hold, or take to come."""


def control_of(message: EmotionCommand) -> EmotionControl | None:
    """The control that a command asks for; None: back to the emotion of the parameters.

    Raises ValueError that names the value.
    """
    from emotalk_ros.model import EmotionControl  # imports torch

    if not message.label and not message.labels:
        return None
    weights = list(message.weights)
    if message.labels and len(weights) != len(message.labels):
        raise ValueError(f"{len(message.labels)} labels, but {len(weights)} weights")
    if message.label and message.labels:
        raise ValueError(f"label {message.label!r} and labels {list(message.labels)}: give one of the two")
    for name in ("hold", "transition"):
        value = getattr(message, name)
        if not 0.0 <= value <= LONGEST:
            raise ValueError(f"{name} {value:g} s: must be 0 to {LONGEST:g}")
    labels = dict(zip(message.labels, weights, strict=True)) if message.labels else {message.label: 1.0}
    return EmotionControl(labels=labels, intensity=float(message.intensity), blend=float(message.blend))


def describe(control: EmotionControl | None) -> str:
    """For the log."""
    if control is None:
        return "back to the emotion of the parameters"
    labels = ", ".join(f"{label} {weight:g}" for label, weight in control.labels.items())
    hint = " (intensity 0 shows neutral; 1 is as in the training data)" if control.intensity == 0.0 else ""
    return f"{labels}; intensity {control.intensity:g}{hint}, blend {control.blend:g}"


def shown(labels: Sequence[str], frame: FaceFrame, control: EmotionControl | None, frame_id: str = "") -> EmotionState:
    """What the face shows in a frame: the emotion heard, mixed with the one asked for by its blend."""
    heard = np.asarray(frame.emotion, dtype=np.float64)
    intensity = 1.0 if control is None else control.intensity
    if control is None or not control.labels or control.blend == 0.0:
        return emotion_state(labels, frame, heard, intensity=intensity, frame_id=frame_id)
    weights = np.array([control.labels.get(_home(label), 0.0) for label in labels])
    weights /= max(weights.sum(), 1e-9)
    return emotion_state(
        labels,
        frame,
        (1.0 - control.blend) * heard + control.blend * weights,
        intensity=intensity,
        source=EmotionState.COMMANDED if control.blend == 1.0 else EmotionState.BLENDED,
        blend=control.blend,
        frame_id=frame_id,
    )


def _home(label: str) -> str:
    try:
        return canonical(label)
    except ValueError:
        return label
