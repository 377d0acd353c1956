"""The face that this project ships: made by code, all 52 shapes, proportions of an average adult, in millimetres."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.basis import FaceBasis
from emotalk_ros.face.default.mesh import LOWER_LIP, MOUTH_CORNER, MOUTH_ROW, SKIN, UPPER_LIP
from emotalk_ros.face.default.parts import build
from emotalk_ros.face.default.shapes import Shapes

FOREHEAD_TOP, CHIN = 99.0, -77.0
"""Rows of MediaPipe's landmarks 10 and 152."""


@lru_cache(maxsize=1)
def default_face() -> FaceBasis:
    """The project's own face; built once (a fraction of a second) and then shared: do not write to its arrays.

    Outer eye corners 90 mm apart, mouth 50 mm wide, the chin travels 42 mm at jawOpen 1, and the lips meet whenever
    mouthClose equals jawOpen.
    """
    mesh, grid = build()
    shapes = Shapes(mesh, grid)
    middle = int(np.argmin(np.abs(grid.a)))
    corner = [int(np.argmin(np.abs(grid.a - side * MOUTH_CORNER))) for side in (-1, 1)]
    tops = [int(grid.above[np.argmin(np.abs(grid.r - row)), middle]) for row in (FOREHEAD_TOP, CHIN)]
    near = [middle - 1, middle, middle + 1]
    skin = shapes.kind == SKIN
    row = grid.row - MOUTH_ROW
    lips = (row >= -LOWER_LIP - 0.1) & (row <= UPPER_LIP + 0.1) & (np.abs(grid.column) <= MOUTH_CORNER + 0.1)
    x, y, z = shapes.points.T
    upper = skin & (y > 18) & (y < FOREHEAD_TOP) & (np.abs(x) < 70) & (z > 30)
    face = FaceBasis(
        template=shapes.points.astype(np.float32),
        basis=shapes.all().astype(np.float32),
        triangles=np.concatenate(mesh.triangles),
        lip_ids=np.flatnonzero(lips),
        upper_ids=np.flatnonzero(upper),
        inner_lip_ids=np.stack([grid.above[grid.mouth_row, near], grid.below[grid.mouth_row, near]], axis=1),
        mouth_corner_ids=grid.above[grid.mouth_row, corner],
        face_height_ids=np.array(tops),
        colours=np.clip(np.concatenate(mesh.colours), 0, 255).round().astype(np.uint8),
        name="default face",
    )
    for array in (face.template, face.basis, face.triangles):
        array.setflags(write=False)
    return face


@lru_cache(maxsize=1)
def default_kinds() -> NDArray[np.int64]:
    """What each vertex of `default_face` belongs to (V,): one of the kinds in `mesh`, such as EYE."""
    mesh, _ = build()
    return np.concatenate(mesh.numbers)[:, 0].astype(np.int64)
