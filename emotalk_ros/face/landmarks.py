"""Finding lips, upper face, forehead and chin of a mesh that has no such marks, from how its shapes move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .aliases import MappingFile, arkit_name, match
from .basis import FACE_HEIGHT_PER_EYE_WIDTH, BasisError, Ids
from .names import ARKIT_NAMES, INDEX

Real = NDArray[np.float32]

LIP_REACH_MM = 13.0
"""How far above and below the mouth's line lips reach; what the lips' shapes move beyond is skin."""


def home_name(name: str) -> str | None:
    """The ARKit name that a rig's own name stands for, or None: see `aliases.arkit_name`."""
    return arkit_name(name)


def combine(
    shapes: Mapping[str, Real], vertices: int, mapping: MappingFile | None = None
) -> tuple[Real, tuple[str, ...]]:
    """Displacements by a rig's own names to (52, V, 3) in home order, and the names that no shape stands for.

    What belongs to what is told by `aliases.match`; halves of one shape are added. Raises BasisError when nothing
    fits, MappingError for a mapping that is another avatar's.
    """
    basis = np.zeros((len(ARKIT_NAMES), vertices, 3), dtype=np.float32)
    found = match(shapes, mapping)
    for own, weights in found.targets.items():
        for name, weight in weights.items():
            basis[INDEX[name]] += np.float32(weight) * shapes[own]
    if not found.targets:
        shown = ", ".join(list(shapes)[:8]) or "none at all"
        raise BasisError(f"no ARKit shape among the shapes ({shown}); names such as jawOpen or eyeBlink_L are needed")
    return basis, found.silent


def millimetres(template: Real, basis: Real) -> float:
    """The factor that brings a face to mm: 1, 10 or 1000 for files in mm, cm or m, told by the size of what moves."""
    moving = np.abs(basis).max(axis=(0, 2)) > 0
    span = float(np.ptp(template[moving], axis=0).max()) if moving.any() else 0.0
    for factor in (1.0, 10.0, 1000.0):
        if 60.0 <= span * factor <= 600.0:
            return factor
    raise BasisError(f"the moving part of the face spans {span:g} units: neither mm, cm nor m of a human head")


def find_ids(template: Real, basis: Real) -> dict[str, Ids]:
    """`lip_ids`, `upper_ids`, `inner_lip_ids`, `mouth_corner_ids` and `face_height_ids` of a face in mm.

    Lips are what the lips' shapes move; the inner lips are the closest pair on the middle line of which jawOpen takes
    one along; the chin is what jawOpen takes furthest; the forehead's top lies in proportion to the eyes' width.
    Raises BasisError naming the shapes that would be needed.
    """
    reach = np.linalg.norm(basis, axis=2)
    lips = _lips(reach)
    upper = _moved(reach, ("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 0.15)
    upper |= _moved(reach, ("eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight"), 0.15)
    upper &= ~_moved(reach, ("jawOpen",), 0.02)
    if not upper.any():
        raise BasisError("no vertex of the upper face moves; a brow or eyeBlink shape is needed for the upper face")
    inner = _inner_lips(template, reach, lips)
    lips &= np.abs(template[:, 1] - template[inner[0], 1].mean()) < LIP_REACH_MM
    return {
        "lip_ids": np.flatnonzero(lips),
        "upper_ids": np.flatnonzero(upper),
        "inner_lip_ids": inner,
        "mouth_corner_ids": _corners(template, lips, inner),
        "face_height_ids": _height(template, reach),
    }


def _moved(reach: Real, names: tuple[str, ...], share: float) -> NDArray[np.bool_]:
    """Vertices that any of the shapes moves by at least `share` of its own largest motion."""
    rows = reach[[INDEX[name] for name in names]]
    return ((rows > share * rows.max(axis=1, keepdims=True)) & (rows > 1e-6)).any(axis=0)


def _lips(reach: Real) -> NDArray[np.bool_]:
    groups: tuple[tuple[tuple[str, ...], float], ...] = (
        (("mouthRollUpper", "mouthRollLower"), 0.3),
        (("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"), 0.45),
        (("mouthFunnel", "mouthPucker"), 0.6),
    )
    for names, share in groups:
        if all(reach[INDEX[name]].max() > 0 for name in names):
            return _moved(reach, names, share)
    raise BasisError("the lips cannot be found: mouthRollUpper/Lower, mouthUpperUp/LowerDown or mouthFunnel is needed")


def _inner_lips(template: Real, reach: Real, lips: NDArray[np.bool_]) -> Ids:
    jaw = reach[INDEX["jawOpen"]]
    if jaw.max() == 0:
        raise BasisError("the inner lips cannot be found: jawOpen is missing")
    ids = np.flatnonzero(lips)
    points = template[ids]
    centre = (points[:, 0].min() + points[:, 0].max()) / 2
    middle = ids[np.abs(points[:, 0] - centre) <= 0.06 * np.ptp(points[:, 0])]
    lower, upper = middle[jaw[middle] > 0.45 * jaw[ids].max()], middle[jaw[middle] < 0.3 * jaw[ids].max()]
    if len(lower) == 0 or len(upper) == 0:
        raise BasisError("the inner lips cannot be found: jawOpen parts no lip at the middle of the mouth")
    # Inside the mouth there may be close pairs as well: what lies further back pays for it.
    distance = np.linalg.norm(template[upper][:, None] - template[lower][None], axis=2)
    back = template[middle, 2].max() - (template[upper, 2][:, None] + template[lower, 2][None]) / 2
    best = np.unravel_index(int(np.argmin(distance + 0.3 * back)), distance.shape)
    return np.array([[upper[best[0]], lower[best[1]]]])


def _corners(template: Real, lips: NDArray[np.bool_], inner: Ids) -> Ids:
    """The lips' outermost vertices at about the height of the inner lips, on the subject's right (-x) and left."""
    ids = np.flatnonzero(lips)
    x, y = template[ids, 0], template[ids, 1] - template[inner[0], 1].mean()
    out = x - x.mean()
    slant = 2 * np.abs(y)
    return np.array([ids[np.argmax(-out - slant)], ids[np.argmax(out - slant)]])


def _height(template: Real, reach: Real) -> Ids:
    jaw = reach[INDEX["jawOpen"]]
    blink = _moved(reach, ("eyeBlinkLeft", "eyeBlinkRight"), 0.5)
    centre = float(template[jaw > 0.5 * jaw.max(), 0].mean())
    width = float(np.ptp(template[blink, 0])) if blink.any() else 90.0
    near = np.abs(template[:, 0] - centre) < 0.05 * width
    # The tip is what moves furthest; the lower end is a little below it.
    tip = template[int(np.argmax(np.where(near, jaw, -1)))]
    below = near & (jaw > 0.85 * jaw.max()) & (template[:, 2] > tip[2] - 0.09 * width)
    chin = int(np.argmin(np.where(below, template[:, 1], np.inf)))
    target = template[chin, 1] + FACE_HEIGHT_PER_EYE_WIDTH * width
    front = near & (template[:, 2] > template[chin, 2] - 0.6 * width)
    cost = np.hypot(template[:, 1] - target, template[:, 0] - centre)
    return np.array([int(np.argmin(np.where(front, cost, np.inf))), chin])
