"""The 52 ARKit blendshape coefficients: the order used everywhere in this package, and the other orders in use.

The home order is alphabetical camelCase: that of the published EmoTalk, of Apple's header ARFaceAnchor.h and, without
`_neutral`, of MediaPipe. Live Link Face has two others, one in its packets and one in its files: always map by name,
with `reorder`. VRM and glTF avatars have names and no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""The home order: index k of every coefficient vector in this package is ARKIT_NAMES[k]."""

LIVE_LINK_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""The order of Live Link Face's UDP packets: that of Unreal's enumeration `EARFaceBlendShape`."""

_SWAPPED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
LIVE_LINK_CSV_NAMES: tuple[str, ...] = tuple(_SWAPPED.get(name, name) for name in LIVE_LINK_NAMES)
"""The order of the CSV that Live Link Face saves, which capitalises the first letters: for jaw and mouth, right comes
before left."""

INDEX: dict[str, int] = {name: k for k, name in enumerate(ARKIT_NAMES)}
"""Name to index in the home order."""

COUNT = len(ARKIT_NAMES)

ORDERS: dict[str, tuple[str, ...]] = {
    "arkit": ARKIT_NAMES,
    "livelink": LIVE_LINK_CSV_NAMES,
    "livelink-udp": LIVE_LINK_NAMES,
}
"""The orders that can be asked for by name."""


def indices(names: Sequence[str]) -> NDArray[np.intp]:
    """Home-order indices of `names`. Raises KeyError naming the first unknown one."""
    return np.array([INDEX[name] for name in names], dtype=np.intp)


MOUTH: NDArray[np.intp] = indices([n for n in ARKIT_NAMES if n.startswith(("jaw", "mouth"))])
"""Indices of jaw and mouth (27)."""
UPPER_FACE: NDArray[np.intp] = indices([n for n in ARKIT_NAMES if n.startswith(("brow", "eye", "cheekSquint", "nose"))])
"""Indices of brows, eyes, cheek squints and nose."""
EXPRESSION: NDArray[np.intp] = indices(
    [
        name
        for name in ARKIT_NAMES
        if name.startswith(("brow", "cheekSquint", "eyeSquint", "eyeWide", "noseSneer", "mouthSmile", "mouthFrown"))
    ]
)
"""Indices of what shows emotion rather than words: brows, lids but for blinks, nose, cheeks, corners of the mouth."""
BLINK: NDArray[np.intp] = indices(["eyeBlinkLeft", "eyeBlinkRight"])
"""Indices of the two lids."""
LOWER_FACE: NDArray[np.intp] = np.setdiff1d(np.arange(COUNT, dtype=np.intp), UPPER_FACE)
"""Indices of everything that speaks: jaw, mouth, tongue, puffed cheeks. It comes to rest with the voice."""
EXPRESSIVE: NDArray[np.intp] = np.setdiff1d(UPPER_FACE, BLINK)
"""Indices of brows, eyes, cheek squints and nose: what shows emotion, without the lids' blinks."""


def mirrored(name: str) -> str:
    """The coefficient that `name` becomes when the face is mirrored left to right (itself if it is central)."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    if name.endswith("Right"):
        return name[:-5] + "Left"
    return name


def reorder(
    coefficients: NDArray[Any], source: Sequence[str] = ARKIT_NAMES, target: Sequence[str] = ARKIT_NAMES
) -> NDArray[Any]:
    """Columns of `coefficients` (..., len(source)) rearranged by name to (..., len(target)).

    Names compare without regard to case (Live Link writes `EyeBlinkLeft`). Raises ValueError naming the target
    columns that the source lacks.
    """
    have = {name.lower(): k for k, name in enumerate(source)}
    missing = [name for name in target if name.lower() not in have]
    if missing:
        raise ValueError(f"no column for {', '.join(missing)} among {len(have)} source names")
    if coefficients.shape[-1] != len(source):
        raise ValueError(f"expected {len(source)} columns to match the source names, got {coefficients.shape[-1]}")
    return coefficients[..., [have[name.lower()] for name in target]]
