"""ARKit's coefficients and the action units of the Facial Action Coding System (FACS, Ekman, Friesen and Hager 2002).

Both describe what muscles do to a face, at nearly the same grain: most rows of `TABLE` are one to one. The rest:

* FACS scores both sides together here: the intensity of a unit is the mean of the two sides; back, both sides get it.
* Units without a coefficient (11, 13, 21, 23, 27, ...) are not reached; AU 25 (lips part) and AU 27 (mouth stretch)
  follow from the jaw and the lips, and say nothing new on the way back.
* ARKit closes the lips over an open jaw by `mouthClose`; FACS has AU 8 for that.

Intensities are 0..1 on both sides (A to E of FACS in equal steps).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.face.names import ARKIT_NAMES, COUNT

UNITS = 99
"""Length of a vector of intensities, indexed by the number of the unit, as `hri_msgs/FacialActionUnits` has it."""

TABLE: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",),
    2: ("browOuterUpLeft", "browOuterUpRight"),
    4: ("browDownLeft", "browDownRight"),
    5: ("eyeWideLeft", "eyeWideRight"),
    6: ("cheekSquintLeft", "cheekSquintRight"),
    7: ("eyeSquintLeft", "eyeSquintRight"),
    8: ("mouthClose",),
    9: ("noseSneerLeft", "noseSneerRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    12: ("mouthSmileLeft", "mouthSmileRight"),
    14: ("mouthDimpleLeft", "mouthDimpleRight"),
    15: ("mouthFrownLeft", "mouthFrownRight"),
    16: ("mouthLowerDownLeft", "mouthLowerDownRight"),
    17: ("mouthShrugLower",),
    18: ("mouthPucker",),
    19: ("tongueOut",),
    20: ("mouthStretchLeft", "mouthStretchRight"),
    22: ("mouthFunnel",),
    24: ("mouthPressLeft", "mouthPressRight"),
    26: ("jawOpen",),
    28: ("mouthRollLower", "mouthRollUpper"),
    29: ("jawForward",),
    34: ("cheekPuff",),
    45: ("eyeBlinkLeft", "eyeBlinkRight"),
    61: ("eyeLookOutLeft", "eyeLookInRight"),
    62: ("eyeLookInLeft", "eyeLookOutRight"),
    63: ("eyeLookUpLeft", "eyeLookUpRight"),
    64: ("eyeLookDownLeft", "eyeLookDownRight"),
}
"""Action unit -> the coefficients that show it, in equal shares."""

NAMES: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    8: "lips toward each other",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    19: "tongue show",
    20: "lip stretcher",
    22: "lip funneler",
    24: "lip pressor",
    26: "jaw drop",
    28: "lip suck",
    29: "jaw thrust",
    34: "cheek puff",
    45: "blink",
    61: "eyes turn left",
    62: "eyes turn right",
    63: "eyes up",
    64: "eyes down",
}

ONE_SIDED: dict[int, tuple[str, str]] = {30: ("jawLeft", "jawRight")}
"""Action units that one coefficient or the other shows: the larger one counts; the side is lost."""

LIPS_PART = 25
_PARTING = ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight")
_INDEX = {name: index for index, name in enumerate(ARKIT_NAMES)}


def action_units(coefficients: ArrayLike) -> NDArray[np.float32]:
    """Intensities (..., 99) of the action units that coefficients (..., 52) show. Another shape raises ValueError."""
    values = np.asarray(coefficients, dtype=np.float32)
    if values.shape[-1:] != (COUNT,):
        raise ValueError(f"coefficients of shape {values.shape}: the last axis must have {COUNT}")
    units = np.zeros((*values.shape[:-1], UNITS), dtype=np.float32)
    for unit, names in TABLE.items():
        units[..., unit] = values[..., [_INDEX[name] for name in names]].mean(-1)
    for unit, names in ONE_SIDED.items():
        units[..., unit] = values[..., [_INDEX[name] for name in names]].max(-1)
    opening = np.maximum(0.0, values[..., _INDEX["jawOpen"]] - values[..., _INDEX["mouthClose"]])
    lips = values[..., [_INDEX[name] for name in _PARTING]].mean(-1)
    units[..., LIPS_PART] = np.maximum(opening, lips)
    return np.clip(units, 0.0, 1.0)


def coefficients(units: ArrayLike) -> NDArray[np.float32]:
    """Coefficients (..., 52) that show the intensities (..., 99) of units. Another shape raises ValueError."""
    values = np.asarray(units, dtype=np.float32)
    if values.shape[-1:] != (UNITS,):
        raise ValueError(f"action units of shape {values.shape}: the last axis must have {UNITS}")
    faces = np.zeros((*values.shape[:-1], COUNT), dtype=np.float32)
    for unit, names in TABLE.items():
        faces[..., [_INDEX[name] for name in names]] = values[..., [unit]]
    return np.clip(faces, 0.0, 1.0)
