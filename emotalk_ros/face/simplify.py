"""A coarser mesh of a face, for where every triangle costs bandwidth (markers of RViz and Foxglove)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.basis import FaceBasis
from emotalk_ros.face.names import INDEX

_APART = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")
"""What lies together at rest and is not one: lips that touch, lids before the eye."""


def simplified(face: FaceBasis, cell: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of `face` that stand for their neighbours within `cell` millimetres, and the triangles between them.

    Vertex clustering (Rossignac and Borrel, Multi-resolution 3D approximations, 1993) on a grid of places at rest,
    with an open jaw and with closed eyes: so lips and lids stay apart.

    Args:
        face: the whole mesh.
        cell: size of the grid's cells in mm; 0: the mesh as it is.

    Returns:
        Indices (K,) of vertices of `face`, and triangles (M, 3) of numbers 0 to K - 1.
    """
    if not 0.0 <= cell < 1000.0:
        raise ValueError(f"cell {cell} mm: must be 0 to 1000")
    if cell == 0.0:
        return np.arange(len(face)), np.asarray(face.triangles, dtype=np.int64)
    moved = [face.template + face.basis[INDEX[name]] for name in _APART]
    places = np.concatenate([face.template, *moved], axis=1)
    _, group = np.unique(np.floor(places / cell).astype(np.int64), axis=0, return_inverse=True)
    group = group.reshape(-1)
    count = int(group.max()) + 1
    sizes = np.bincount(group, minlength=count)
    middles = np.stack([np.bincount(group, face.template[:, axis], count) for axis in range(3)], axis=1)
    away = np.linalg.norm(face.template - (middles / sizes[:, None])[group], axis=1)
    order = np.lexsort((away, group))  # the nearest to the middle of each cell comes first
    ids = order[np.searchsorted(group[order], np.arange(count))]
    triangles = group[face.triangles]
    a, b, c = triangles.T
    return ids, triangles[(a != b) & (b != c) & (c != a)]
