"""Faces made elsewhere, as a `FaceBasis` in mm: npz, OBJ folders, glTF avatars, FLAME-style npz."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .aliases import MappingFile
from .assembly import assemble
from .basis import BasisError, FaceBasis
from .default.face import default_face
from .gltf import read_gltf
from .landmarks import home_name
from .names import ARKIT_NAMES

logger = logging.getLogger(__name__)


def read_basis(path: str | os.PathLike[str], mapping: MappingFile | None = None) -> FaceBasis:
    """The face at `path`, in mm.

    - `default`: the project's own face;
    - `.npz` with template, basis, triangles, lip_ids, upper_ids (`FaceBasis.load`), or FLAME-style with `v_template`
      (`read_flame`);
    - a folder of OBJ files, a neutral one and one for each shape, as ICT-FaceKit's `FaceXModel` (`read_obj_folder`);
    - `.glb` or `.gltf` with morph targets named as ARKit's (`gltf.read_gltf`).

    `mapping` (see `aliases`) names an avatar's morph targets that nobody else knows; only glTF has such.
    Shapes that the source lacks do not move; they are listed in `missing` and in a warning. Raises BasisError.
    """
    if str(path) == "default":
        return default_face()
    source = Path(path)
    if not source.exists():
        raise BasisError(
            f"{source}: no such file or folder; give default, an npz, a glb or gltf, or a folder of OBJ files"
        )
    if source.is_dir():
        face = read_obj_folder(source)
    elif source.suffix.lower() == ".npz":
        face = read_flame(source) if _is_flame(source) else FaceBasis.load(source)
    elif source.suffix.lower() in (".glb", ".gltf"):
        face = read_gltf(source, mapping)
    elif source.suffix.lower() in (".pkl", ".pickle"):
        raise BasisError(f"{source}: pickles can run code and are not read; save its arrays with numpy.savez instead")
    else:
        raise BasisError(
            f"{source}: {source.suffix or 'no suffix'} is not read; give npz, glb, gltf or a folder of OBJs"
        )
    if face.missing:
        logger.warning("%s lacks %d of 52 shapes: %s", source, len(face.missing), ", ".join(face.missing))
    return face


# -- OBJ folders ----------------------------------------------------------------------------------------------------


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices (V, 3) and triangles (F, 3) of a Wavefront OBJ; polygons are cut into fans. Raises BasisError."""
    lines = path.read_bytes().splitlines()
    vertices = _obj_vertices(path, lines)
    triangles: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, 1):
        if line.startswith(b"f "):
            try:
                corners = [int(part.split(b"/", 1)[0]) for part in line.split()[1:]]
            except ValueError as error:
                raise BasisError(f"{path}:{number}: not a face: {line[:60]!r}") from error
            corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
            triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    return vertices, np.array(triangles, dtype=np.int32).reshape(-1, 3)


def _obj_vertices(path: Path, lines: list[bytes]) -> NDArray[np.float64]:
    rows = [line.split()[1:4] for line in lines if line.startswith(b"v ")]
    try:
        return np.array(rows, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise BasisError(f"{path}: a vertex is not three numbers ({error})") from error


def read_obj_folder(folder: Path) -> FaceBasis:
    """A folder with a neutral OBJ (its name has `neutral` in it) and one OBJ for each shape, all of one topology.

    The names may be ICT-FaceKit's (`eyeBlink_L.obj`, `browInnerUp_L.obj`, `generic_neutral_mesh.obj`) or ARKit's. Its
    `vertex_indices.json`, where there is one, gives the landmarks. ICT-FaceKit's files are in cm and MIT-licensed.
    """
    files = sorted(folder.glob("*.obj"))
    neutral = [file for file in files if "neutral" in file.stem.lower()]
    if len(neutral) != 1:
        raise BasisError(
            f"{folder}: {len(neutral)} OBJ files with 'neutral' in their name, expected one among {len(files)}"
        )
    template, triangles = read_obj(neutral[0])
    shapes = {}
    for file in files:
        if home_name(file.stem) is not None:
            points = _obj_vertices(file, file.read_bytes().splitlines())
            if points.shape != template.shape:
                raise BasisError(f"{file}: {len(points)} vertices, the neutral mesh has {len(template)}")
            shapes[file.stem] = points - template
    return assemble(folder.name, template, shapes, triangles, landmarks68=_ict_landmarks(folder))


def _ict_landmarks(folder: Path) -> NDArray | None:
    try:
        table = json.loads((folder / "vertex_indices.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BasisError(f"{folder / 'vertex_indices.json'}: {error}") from error
    marks = np.asarray(table.get("idx_to_landmark_verts", []))
    return marks if marks.shape == (68,) else None


# -- FLAME ------------------------------------------------------------------------------------------------------------


def _is_flame(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return "v_template" in archive.files
    except (OSError, ValueError) as error:
        raise BasisError(f"{path}: not a readable npz face ({error})") from error


def read_flame(path: Path) -> FaceBasis:
    """A FLAME-style npz, in metres: `v_template` (V, 3), `f` (F, 3), and how ARKit's shapes move it.

    Either `arkit_basis` (52, V, 3) with optional `names`; or `expression_basis` (V, 3, E) with `arkit_to_expression`
    (52, E), and, for the jaw, `arkit_to_jaw` (52, 3) axis-angle in radians with `jaw_weights` (V,) and `jaw_joint`
    (3,). FLAME itself knows no ARKit shapes: such mappings are fitted by others and have their own licences. Optional:
    `lip_ids`, `upper_ids`, `landmarks68`. A jaw's turn is made linear: exact at 0 and at 1, a little short between.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {key: archive[key] for key in archive.files}
    except ValueError as error:
        raise BasisError(f"{path}: holds Python objects, which are not read; save plain arrays ({error})") from error
    if "f" not in data:
        raise BasisError(f"{path}: no f (triangles) beside v_template; it holds {', '.join(sorted(data))}")
    template = np.asarray(data["v_template"], dtype=np.float64)
    names = [str(name) for name in data.get("names", np.array(ARKIT_NAMES))]
    shapes = dict(zip(names, _flame_shapes(path, data, template), strict=True))
    face = assemble(path.stem, template, shapes, data["f"], landmarks68=data.get("landmarks68"))
    given = {key: data[key] for key in ("lip_ids", "upper_ids") if key in data}
    if not given:
        return face
    return replace(face, **given)


def _flame_shapes(path: Path, data: dict[str, NDArray], template: NDArray) -> NDArray:
    if "arkit_basis" in data:
        return np.asarray(data["arkit_basis"], dtype=np.float64)
    if "expression_basis" not in data or "arkit_to_expression" not in data:
        raise BasisError(
            f"{path}: needs arkit_basis (52, V, 3), or expression_basis (V, 3, E) with arkit_to_expression (52, E); "
            f"it holds {', '.join(sorted(data))}"
        )
    mapping, basis = data["arkit_to_expression"], data["expression_basis"]
    if mapping.ndim != 2 or basis.shape[2] < mapping.shape[1]:
        raise BasisError(f"{path}: arkit_to_expression {mapping.shape} does not fit expression_basis {basis.shape}")
    shapes = np.einsum("ke,vce->kvc", mapping, basis[:, :, : mapping.shape[1]])
    if "arkit_to_jaw" in data:
        missing = [key for key in ("jaw_weights", "jaw_joint") if key not in data]
        if missing:
            raise BasisError(f"{path}: arkit_to_jaw needs {' and '.join(missing)}")
        from_joint = template - data["jaw_joint"]
        turned = np.stack([from_joint @ _rotation(axis).T - from_joint for axis in data["arkit_to_jaw"]])
        shapes = shapes + turned * data["jaw_weights"][:, None]
    return shapes


def _rotation(axis_angle: NDArray) -> NDArray:
    """Rodrigues' formula: a turn about an axis by the axis's length in radians, (3, 3)."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(axis_angle, dtype=np.float64) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
