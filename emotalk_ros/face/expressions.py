"""Expressions of the eight emotions as coefficient vectors, after EMFACS.

Each emotion is a set of facial action units (Ekman and Friesen's EMFACS prototypes; Ekman, Friesen and Hager 2002,
FACS Investigator's Guide, table of prototypes), and each action unit a few of the 52 coefficients. Amplitudes are
those of talking people, about a third to a half of an artist's full pose: a talking mouth must still articulate, so
the units of the mouth (12, 15, 20, 23, 26) stay smaller than those of brows and lids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import EMOTIONS, canonical
from emotalk_ros.face.names import COUNT, INDEX, mirrored

ACTION_UNITS: dict[str, dict[str, float]] = {
    "1": {"browInnerUp": 1.0},
    "2": {"browOuterUpLeft": 1.0},
    "4": {"browDownLeft": 1.0},
    "5": {"eyeWideLeft": 1.0},
    "6": {"cheekSquintLeft": 1.0},
    "7": {"eyeSquintLeft": 1.0},
    "9": {"noseSneerLeft": 1.0},
    "10": {"mouthUpperUpLeft": 1.0},
    "12": {"mouthSmileLeft": 1.0},
    "14": {"mouthDimpleLeft": 1.0},
    "15": {"mouthFrownLeft": 1.0},
    "16": {"mouthLowerDownLeft": 1.0},
    "17": {"mouthShrugLower": 1.0},
    "18": {"mouthPucker": 1.0},
    "20": {"mouthStretchLeft": 1.0},
    "22": {"mouthFunnel": 1.0},
    "23": {"mouthPressLeft": 1.0},
    "24": {"mouthPressLeft": 1.0},
    "26": {"jawOpen": 1.0},
    "28": {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    "43": {"eyeBlinkLeft": 1.0},
    "64": {"eyeLookDownLeft": 1.0},
}
"""Coefficients of each action unit at full strength: FACS' descriptions of the units matched with Apple's of the 52.

Only left names are written; every unit here is symmetric and `action_units` adds the right side.
"""

EMOTION_UNITS: dict[str, dict[str, float]] = {
    "neutral": {},
    # Calm has no EMFACS prototype: relaxed brows, lids a little low, a slight closed smile.
    "calm": {"12": 0.30, "6": 0.12, "43": 0.26},
    "happy": {"6": 0.56, "12": 0.53, "7": 0.28, "14": 0.22, "10": 0.30, "16": 0.26, "26": 0.08, "2": 0.06},
    "sad": {"1": 0.55, "4": 0.16, "15": 0.53, "17": 0.26, "43": 0.18, "7": 0.06, "64": 0.16},
    "angry": {"4": 0.56, "5": 0.34, "7": 0.48, "23": 0.55, "9": 0.16, "15": 0.22, "17": 0.38, "28": 0.12},
    "fearful": {"1": 0.55, "2": 0.20, "4": 0.36, "5": 0.55, "20": 0.52, "7": 0.06, "26": 0.07, "16": 0.24, "15": 0.18},
    "disgust": {
        "9": 0.56,
        "10": 0.48,
        "15": 0.24,
        "16": 0.10,
        "2": 0.10,
        "4": 0.10,
        "7": 0.40,
        "6": 0.52,
        "43": 0.12,
        "26": 0.10,
    },
    "surprised": {"1": 0.56, "2": 0.56, "5": 0.56, "26": 0.30, "22": 0.10},
}
"""Action units of each emotion and their size at intensity 1, a strong portrayal in speech.

Sets after EMFACS: happy 6+12, sad 1+4+15, surprised 1+2+5+26, fearful 1+2+4+5+7+20+26, angry 4+5+7+23, disgust
9+15+16; the smaller extra units are the variants that the FACS Investigator's Guide lists: 7, 10, 14, 16 and 26 of open
smiles, 9, 15, 17 and 28 of angry mouths, 6, 7, 10, 26 and 43 of disgust, 17, 43 and 64 of sadness. No unit passes 0.56
(0.53 at the corners of the mouth, which speech moves too), so that each can grow to 1.7 times that at intensity 2.
"""


def action_units(units: dict[str, float]) -> NDArray[np.float32]:
    """The coefficient vector (52,) of `units`, e.g. ``{"6": 0.5, "12": 0.4}``; contributions add up, limited to 0..1.

    Raises ValueError naming an unknown unit.
    """
    vector = np.zeros(COUNT, dtype=np.float32)
    for unit, size in units.items():
        if unit not in ACTION_UNITS:
            raise ValueError(f"unknown action unit {unit!r}; known: {', '.join(ACTION_UNITS)}")
        for name, share in ACTION_UNITS[unit].items():
            for side in {name, mirrored(name)}:
                vector[INDEX[side]] += size * share
    return np.clip(vector, 0.0, 1.0)


def expression(label: str, intensity: float = 1.0) -> NDArray[np.float32]:
    """The expression of `label` (52,), scaled by `intensity` 0 (none) to 2 (overdone), each value within 0..1.

    Upper face and mouth corners mostly; jaw and lips keep nearly all of their range for speech. Raises ValueError for
    an unknown label or an intensity outside 0..2.
    """
    if not 0.0 <= intensity <= 2.0:
        raise ValueError(f"intensity must lie in 0..2, got {intensity}")
    return np.clip(_EXPRESSIONS[canonical(label)] * np.float32(intensity), 0.0, 1.0)


_EXPRESSIONS: dict[str, NDArray[np.float32]] = {label: action_units(EMOTION_UNITS[label]) for label in EMOTIONS}
