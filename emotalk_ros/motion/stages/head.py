"""A head that moves a little with the voice: nods on pitch accents, a posture for the emotion, slow sway.

Head movement follows the fundamental frequency of speech closely (Yehia, Kuratate and Vatikiotis-Bateson 2002) and
prominent words carry nods of a few degrees (Graf, Cosatto, Strom and Huang 2002, "Visual prosody"). An accent is a
peak of the pitch above its running mean that comes with a loud syllable; each gives a spring that holds the head a
push. Off unless asked for: a robot's neck is its owner's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.emotions import canonical
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

_NOD = 3.2  # degrees of an accent of strength 1
_REFRACTORY = 0.35  # seconds between two accents
_SPRING = 2 * math.pi * 1.7  # rad/s of the critically damped neck
_MEMORY = 2.5  # seconds of the running means of pitch and loudness
_POSTURE_TIME = 0.9
_SPEAKING = 0.5
_FURTHEST = 25.0
_SWAY = np.array([[2.2, 0.11, 1.0, 0.27], [1.1, 0.15, 0.6, 0.33], [0.9, 0.13, 0.5, 0.29]])
"""Degrees, Hz, degrees, Hz of two slow waves of yaw, pitch and roll."""
_POSTURES: Mapping[str, tuple[float, float, float]] = {
    # Yaw, pitch and roll in degrees, after the postures that go with acted emotions (Wallbott 1998; Witkower and Tracy
    # 2019): down in sadness and anger, up in surprise, tilted in joy.
    "happy": (0.0, 1.5, 2.0),
    "sad": (1.0, -5.0, -2.0),
    "angry": (0.0, -3.0, 0.0),
    "fearful": (-2.5, 1.5, 0.5),
    "disgust": (3.5, 1.5, 1.0),
    "surprised": (0.0, 3.5, 0.0),
}


@dataclass(frozen=True)
class HeadSettings:
    """How much the head moves. Raises ValueError for values out of range."""

    on: bool = False
    amount: float = 1.0
    """Multiplies all angles."""
    seed: int = 0
    """Of the sway."""

    def __post_init__(self) -> None:
        check_range("head amount", self.amount, 0.0, 3.0)


class Head(Stage[HeadSettings]):
    """See the module. Gives `FaceFrame.head`."""

    def reset(self) -> None:
        """A new stream: upright, knowing nothing of the voice."""
        self._phase = np.random.default_rng(self.settings.seed).uniform(0, 2 * np.pi, (3, 2))
        self._pitch_mean: float | None = None
        self._loudness_mean = 0.5
        self._last = 0.0  # prominence of the frame before
        self._since = _REFRACTORY
        self._accents = 0
        self._angle = np.zeros(3)
        self._speed = np.zeros(3)
        self._posture = np.zeros(3)
        self._liveliness = 0.3

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Add the angles of the head."""
        if not self.settings.on:
            return frame
        seconds = context.seconds
        self._since += seconds
        strength = self._accent(frame, context)
        if strength:
            self._accents += 1
            side = math.sin(2.4 * self._accents)  # nods lean to one side and the other
            self._speed += np.array([0.35 * side, -1.0, 0.25 * side]) * strength * _NOD * math.e * _SPRING
        self._spring(seconds)
        self._posture += (_posture(frame, context) - self._posture) * -math.expm1(-seconds / _POSTURE_TIME)
        lively = 1.0 if frame.activity >= _SPEAKING else 0.35
        self._liveliness += (lively - self._liveliness) * -math.expm1(-seconds / 0.6)
        waves = _SWAY[:, 0::2] * np.sin(2 * np.pi * _SWAY[:, 1::2] * frame.index / context.fps + self._phase)
        angles = (self._angle + self._posture + self._liveliness * waves.sum(axis=1)) * self.settings.amount
        return replace(frame, head=np.radians(np.clip(angles, -_FURTHEST, _FURTHEST)).astype(np.float32))

    def _accent(self, frame: FaceFrame, context: FrameContext) -> float:
        """Strength 0..1.5 of an accent whose peak was the frame before; 0: none."""
        prominence = 0.0
        share = -math.expm1(-context.seconds / _MEMORY)
        pitch = context.pitch(frame.index) if frame.activity >= _SPEAKING else None
        if pitch is not None:
            if self._pitch_mean is None:
                self._pitch_mean = pitch
            above = pitch - self._pitch_mean
            if abs(above) < 14:  # further is an octave error
                loud = max(0.0, frame.loudness - self._loudness_mean)
                prominence = max(0.0, above / 3.0) + loud / 0.3
                self._pitch_mean += above * share
            self._loudness_mean += (frame.loudness - self._loudness_mean) * share
        before, self._last = self._last, prominence
        if before >= 0.8 and prominence < before and self._since >= _REFRACTORY:
            self._since = 0.0
            return min(1.5, before)
        return 0.0

    def _spring(self, seconds: float) -> None:
        """Exact step of a critically damped spring that pulls to 0."""
        decay = math.exp(-_SPRING * seconds)
        slope = self._speed + _SPRING * self._angle
        self._angle, self._speed = (
            (self._angle + slope * seconds) * decay,
            (self._speed - _SPRING * slope * seconds) * decay,
        )


def _posture(frame: FaceFrame, context: FrameContext) -> np.ndarray:
    """Degrees (3,) of the emotion that the face shows: the one asked for, the one heard, or both."""
    control = context.emotion
    asked: Mapping[str, float] = getattr(control, "labels", None) or {}
    blend = float(control.blend) if asked else 0.0
    goal = np.zeros(3)
    for label, heard in zip(context.labels, frame.emotion, strict=False):
        goal += (1.0 - blend) * float(heard) * np.array(_POSTURES.get(_home(label), (0.0, 0.0, 0.0)))
    total = sum(asked.values()) or 1.0
    for label, weight in asked.items():
        goal += blend * weight / total * np.array(_POSTURES.get(label, (0.0, 0.0, 0.0)))
    return goal * float(getattr(control, "intensity", 1.0))


def _home(label: str) -> str:
    try:
        return canonical(label)
    except ValueError:
        return label
