"""The face: names and orders of the 52 coefficients, expressions, finishing of a motion, meshes in mm (numpy only)."""

from .basis import BasisError, FaceBasis, LipGapWeights
from .default.face import default_face
from .expressions import expression
from .names import ARKIT_NAMES, COUNT, INDEX, LIVE_LINK_NAMES, reorder
from .readers import read_basis

__all__ = [
    "ARKIT_NAMES",
    "COUNT",
    "INDEX",
    "LIVE_LINK_NAMES",
    "BasisError",
    "FaceBasis",
    "LipGapWeights",
    "default_face",
    "expression",
    "read_basis",
    "reorder",
]
