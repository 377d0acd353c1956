"""One frame of a face in motion, stamped with the audio time that it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class FrameKind(IntEnum):
    """What a frame was made from; the numbers are those of `BlendshapeCoefficients.kind`."""

    SPEECH = 0
    """Audio."""
    CLOSING = 1
    """The mouth comes to rest after audio that broke off."""
    IDLE = 2
    """No audio: blinks, a commanded expression, rest."""


@dataclass(frozen=True)
class FaceFrame:
    """One frame of the face. Its arrays are never changed in place: `dataclasses.replace` makes another frame."""

    index: int
    """Place on the grid index / fps, counted from the stream's first sample."""
    stamp_ns: int
    """Audio time that the frame shows."""
    coefficients: Array
    """(52,) in the order of `face.ARKIT_NAMES`. Of a network that tells speech and expression apart: speech alone,
    until the expression stage adds the rest."""
    activity: float
    """Speech activity, 0..1."""
    emotion: Array
    """(L,) probabilities of the emotion heard, in the order of `Engine.emotion_labels`; empty if the model has none."""
    loudness: float = 0.0
    """0..1: level of what leaves an open mouth against the loudest of the last 2.5 s (`audio.loudness`)."""
    expression: Array | None = None
    """(52,) the network's own expression at intensity 1, where it tells it apart from speech."""
    head: Array | None = None
    """(3,) yaw, pitch, roll of the head in radians, turned in this order, positive to the face's left, up, and towards
    its left shoulder; None: not given."""
    eyes: Array | None = None
    """(2,) yaw, pitch of the gaze in the head, in radians, positive to the face's left and up; None: not given."""
    arousal: float = math.nan
    """0 calm to 1 excited, of the voice; NaN where the model does not tell it."""
    valence: float = math.nan
    """0 unpleasant to 1 pleasant, of the voice; NaN where the model does not tell it."""
    confidence: float = math.nan
    """0..1: how much speech of this speaker the judgement rests on; NaN where that is not known."""
    kind: FrameKind = FrameKind.SPEECH
    """What the frame was made from."""

    @property
    def angles(self) -> Array:
        """(9,) yaw, pitch, roll of head, left eye and right eye; 0 where none are given."""
        angles = np.zeros(9, dtype=np.float32)
        if self.head is not None:
            angles[:3] = self.head
        if self.eyes is not None:
            angles[3:5] = angles[6:8] = self.eyes
        return angles
