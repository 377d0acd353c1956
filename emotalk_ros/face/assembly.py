"""A mesh and its shapes, in whatever unit and under whatever names, put together as a `FaceBasis` in mm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .aliases import MappingFile
from .basis import FaceBasis, ids_from_landmarks68
from .landmarks import combine, find_ids, millimetres


def assemble(
    name: str,
    template: NDArray,
    shapes: dict[str, NDArray],
    triangles: NDArray,
    colours: NDArray | None = None,
    landmarks68: NDArray | None = None,
    mapping: MappingFile | None = None,
) -> FaceBasis:
    """A face from a mesh in any unit and its displacements by the rig's own names; ids are found where not given."""
    basis, missing = combine(shapes, len(template), mapping)
    factor = millimetres(template, basis)
    template, basis = (template * factor).astype(np.float32), basis * np.float32(factor)
    ids = find_ids(template, basis)
    if landmarks68 is not None:
        ids |= ids_from_landmarks68(template, landmarks68)
    return FaceBasis(
        template=template, basis=basis, triangles=triangles, colours=colours, name=name, missing=missing, **ids
    )
