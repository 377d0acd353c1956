"""A face as a glTF 2.0 avatar (GLB): one morph target for each of the 52 shapes, for the live page, Blender, engines.

Source: the glTF 2.0 specification (Khronos), sections 3.6.2.3 sparse accessors, 3.7.2.2 morph targets, 4.4 binary form.
Lengths become metres. A shape moves a part of the face only, so its displacements are stored as sparse accessors: a
fifth of the size, and every common reader understands them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.files import replacing

from .basis import FaceBasis
from .default.face import default_kinds
from .default.mesh import EYE, GLINT, LOWER_TEETH, TONGUE, UPPER_TEETH
from .names import ARKIT_NAMES

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_STILL_MM = 1e-4
"""What a shape moves less than this stays where it is."""
_STILL_NORMAL = 2e-3


@dataclass(frozen=True)
class Surface:
    """How a part of the face reflects light (glTF's metallic-roughness model, not metallic)."""

    roughness: float = 0.6
    name: str = "skin"


def glb_bytes(face: FaceBasis, surfaces: Mapping[Surface, NDArray[np.bool_]] | None = None) -> bytes:
    """The whole GLB file.

    Args:
        face: template and shapes in mm.
        surfaces: which vertices (V,) belong to each surface; no triangle may lie across two. None: one for all.

    Raises ValueError when the surfaces leave out a triangle or take one twice.
    """
    writer = _Writer()
    parts = surfaces or {Surface(): np.ones(len(face), dtype=bool)}
    primitives, drawn = [], 0
    for surface, mask in parts.items():
        triangles = face.triangles[mask[face.triangles].all(axis=1)]
        drawn += len(triangles)
        if len(triangles):
            primitives.append(_primitive(writer, face, np.flatnonzero(mask), triangles, surface))
    if drawn != len(face.triangles):
        raise ValueError(f"{face.name}: the surfaces take up {drawn} of {len(face.triangles)} triangles")
    mesh = {
        "name": "face",
        "primitives": primitives,
        "weights": [0.0] * len(ARKIT_NAMES),
        "extras": {"targetNames": list(ARKIT_NAMES)},
    }
    return writer.finish(
        {
            "asset": {"version": "2.0", "generator": "emotalk_ros export-face"},
            "scene": 0,
            "scenes": [{"name": face.name, "nodes": [0]}],
            "nodes": [{"name": "head", "mesh": 0}],
            "meshes": [mesh],
        }
    )


def default_surfaces() -> dict[Surface, NDArray[np.bool_]]:
    """The surfaces of `default_face`: dull skin and hair, wet mouth and teeth, shining eyes."""
    kind = default_kinds()
    surfaces = {
        Surface(0.12, "eyes"): np.isin(kind, (EYE, GLINT)),
        Surface(0.3, "teeth"): np.isin(kind, (UPPER_TEETH, LOWER_TEETH)),
        Surface(0.4, "tongue"): kind == TONGUE,
    }
    return {**surfaces, Surface(0.62, "skin"): ~np.logical_or.reduce(list(surfaces.values()))}


def write_glb(
    path: str | os.PathLike[str], face: FaceBasis, surfaces: Mapping[Surface, NDArray[np.bool_]] | None = None
) -> int:
    """Write `glb_bytes` to `path`, whole or not at all; returns the number of bytes. Raises OSError."""
    data = glb_bytes(face, surfaces)
    with replacing(path) as part:
        part.write_bytes(data)
    return len(data)


def _primitive(
    writer: _Writer, face: FaceBasis, ids: NDArray[np.intp], triangles: NDArray[np.int32], surface: Surface
) -> dict[str, Any]:
    """The vertices `ids` with their triangles, normals, colours and 52 targets."""
    own = np.full(len(face), -1, dtype=np.int64)
    own[ids] = np.arange(len(ids))
    corners = own[triangles]
    points = face.template[ids].astype(np.float64)
    normals = vertex_normals(points, corners)
    attributes = {
        "POSITION": writer.dense(points / 1000.0, _FLOAT, bounds=True),
        "NORMAL": writer.dense(normals, _FLOAT),
    }
    if face.colours is not None:
        attributes["COLOR_0"] = writer.colours(face.colours[ids])
    targets = []
    for shape in face.basis[:, ids].astype(np.float64):
        turned = vertex_normals(points + shape, corners) - normals
        targets.append(
            {
                "POSITION": writer.sparse(shape / 1000.0, np.abs(shape).max(axis=1) > _STILL_MM, bounds=True),
                "NORMAL": writer.sparse(turned, np.abs(turned).max(axis=1) > _STILL_NORMAL),
            }
        )
    return {
        "attributes": attributes,
        "indices": writer.triangles(corners),
        "material": writer.material(surface),
        "mode": 4,
        "targets": targets,
    }


def vertex_normals(points: NDArray[np.float64], triangles: NDArray[Any]) -> NDArray[np.float64]:
    """Unit normals (V, 3): those of the triangles around each vertex, weighted by their areas."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    total = np.stack(
        [np.bincount(triangles.reshape(-1), np.repeat(flat[:, axis], 3), minlength=len(points)) for axis in range(3)],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), [0.0, 0.0, 1.0])


class _Writer:
    """The binary buffer in the making, with its views, accessors and materials."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._materials: list[dict[str, Any]] = []

    def _view(self, array: NDArray[Any], target: int | None = None) -> int:
        self._data += b"\0" * (-len(self._data) % 4)
        data = array.tobytes()
        view = {"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)}
        self._views.append(view | ({"target": target} if target else {}))
        self._data += data
        return len(self._views) - 1

    def _accessor(self, accessor: dict[str, Any]) -> int:
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def dense(self, values: NDArray[np.float64], kind: int, bounds: bool = False) -> int:
        """An accessor of (n, 3) floats."""
        exact = values.astype("<f4")
        accessor: dict[str, Any] = {"bufferView": self._view(exact, _VERTICES), "componentType": kind}
        accessor |= {"count": len(exact), "type": "VEC3"}
        if bounds:
            accessor |= _bounds(exact)
        return self._accessor(accessor)

    def colours(self, srgb: NDArray[np.uint8]) -> int:
        """Vertex colours: sRGB bytes as linear 16-bit fractions, opaque."""
        value = srgb.astype(np.float64) / 255.0
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        whole = np.full((len(srgb), 4), 65535, dtype="<u2")
        whole[:, :3] = np.rint(linear * 65535)
        view = self._view(whole, _VERTICES)
        return self._accessor(
            {"bufferView": view, "componentType": _UINT16, "normalized": True, "count": len(whole), "type": "VEC4"}
        )

    def triangles(self, corners: NDArray[np.int64]) -> int:
        """Indices."""
        small = corners.max() < 65535
        view = self._view(corners.astype("<u2" if small else "<u4").reshape(-1), _INDICES)
        kind = _UINT16 if small else _UINT32
        return self._accessor({"bufferView": view, "componentType": kind, "count": corners.size, "type": "SCALAR"})

    def sparse(self, values: NDArray[np.float64], moves: NDArray[np.bool_], bounds: bool = False) -> int:
        """An accessor of (n, 3) floats that are 0 but where `moves` (n,)."""
        accessor: dict[str, Any] = {"componentType": _FLOAT, "count": len(values), "type": "VEC3"}
        exact = np.where(moves[:, None], values, 0.0).astype("<f4")
        if bounds:
            accessor |= _bounds(exact)
        ids = np.flatnonzero(moves)
        if len(ids):
            small = len(values) <= 65535
            accessor["sparse"] = {
                "count": len(ids),
                "indices": {
                    "bufferView": self._view(ids.astype("<u2" if small else "<u4")),
                    "componentType": _UINT16 if small else _UINT32,
                },
                "values": {"bufferView": self._view(exact[ids])},
            }
        return self._accessor(accessor)

    def material(self, surface: Surface) -> int:
        """A material; white, since the vertices carry the colour."""
        self._materials.append(
            {
                "name": surface.name,
                "doubleSided": True,
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": surface.roughness},
            }
        )
        return len(self._materials) - 1

    def finish(self, document: dict[str, Any]) -> bytes:
        """The file: header, JSON chunk, binary chunk."""
        self._data += b"\0" * (-len(self._data) % 4)
        document |= {
            "materials": self._materials,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._data)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", len(self._data), b"BIN\0"),
                bytes(self._data),
            ]
        )


def _bounds(values: NDArray[np.float32]) -> dict[str, list[float]]:
    return {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
