"""How far an emotion that was asked for moves the face, how that grows with the intensity, and what the lips keep.

The same recording is performed in neutral and in each emotion; what differs is the expression. Distances are in mm on
one face, means over the frames in which somebody speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face import FaceBasis
from emotalk_ros.model.controls import EmotionControl
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.streaming import Controls, animate
from emotalk_ros.streaming.engine import FaceModel
from emotalk_ros.units import SAMPLE_RATE

Array = NDArray[np.float32]

INTENSITIES: tuple[float, ...] = (0.5, 1.0, 2.0)
OPEN_MM, CLOSED_MM = 2.0, 0.3
"""Gap of the neutral lips from which they count as open, and up to which as closed."""
STILL_CLOSED_MM = 0.6
SPEAKING = 0.5
"""Activity from which on somebody speaks."""
BEFORE_SOUND = 0.12
"""Seconds by which activity comes before the sound."""


@dataclass(frozen=True)
class Reach:
    """One emotion at one intensity."""

    emotion: str
    intensity: float
    upper_mm: float
    """Largest distance of the upper face from neutral."""
    corners_mm: float
    """Distance of the corners of the mouth from neutral."""
    gap_ratio: float
    """Sum of the lip gaps where the neutral lips are open, against neutral."""
    gap_kept: float
    """Share of those frames whose gap is within a tenth of the neutral one."""
    closures_kept: float
    """Share of the frames with closed neutral lips in which they are still closed."""


def expressiveness(
    model: FaceModel,
    clips: Sequence[Array],
    basis: FaceBasis,
    motion: MotionSettings,
    person: int = 0,
    emotions: Iterable[str] = EMOTIONS[1:],
    intensities: Sequence[float] = INTENSITIES,
) -> list[Reach]:
    """Perform every clip (n,) at 16 kHz in every emotion and intensity; a row for each of these, over all clips."""
    motion = replace(motion, blinks=BlinkSettings(on=False))
    neutral = [_perform(model, clip, motion, person, EmotionControl.of("neutral")) for clip in clips]
    rows = []
    for emotion in emotions:
        for intensity in intensities:
            control = EmotionControl.of(emotion, intensity)
            shown = [_perform(model, clip, motion, person, control) for clip in clips]
            rows.append(_reach(emotion, intensity, shown, neutral, basis))
    return rows


def _perform(
    model: FaceModel, clip: Array, motion: MotionSettings, person: int, control: EmotionControl
) -> tuple[Array, NDArray[np.bool_]]:
    frames = list(animate(model, clip, Controls(person=person, emotion=control), motion))
    active = np.array([frame.activity >= SPEAKING for frame in frames])
    # Activity comes before the sound: so does breath, with lips that are not speech yet.
    ahead = round(BEFORE_SOUND * len(frames) * SAMPLE_RATE / max(1, len(clip)))
    heard = active & np.concatenate([np.zeros(ahead, dtype=bool), active])[: len(active)]
    return np.stack([frame.coefficients for frame in frames]), heard


def _reach(
    emotion: str,
    intensity: float,
    shown: list[tuple[Array, NDArray[np.bool_]]],
    neutral: list[tuple[Array, NDArray[np.bool_]]],
    basis: FaceBasis,
) -> Reach:
    speaks = np.concatenate([active for _, active in neutral])
    one, other = (np.concatenate([c for c, _ in part])[speaks] for part in (shown, neutral))
    difference = one - other
    upper = np.linalg.norm(basis.displacement(difference, basis.upper_ids), axis=2).max(axis=1)
    corners = np.linalg.norm(basis.displacement(difference, basis.mouth_corner_ids), axis=2).mean(axis=1)
    gap, before = basis.lip_gap(one), basis.lip_gap(other)
    opened, closed = before > OPEN_MM, before < CLOSED_MM
    ratio = gap[opened] / before[opened]
    return Reach(
        emotion,
        intensity,
        float(upper.mean()),
        float(corners.mean()),
        float(gap[opened].sum() / before[opened].sum()) if opened.any() else float("nan"),
        float(np.mean(np.abs(ratio - 1) <= 0.1)) if opened.any() else float("nan"),
        float(np.mean(gap[closed] < STILL_CLOSED_MM)) if closed.any() else float("nan"),
    )
