"""glTF 2.0 avatars with morph targets named as ARKit's: the parts of the format that a face needs.

Source: the glTF 2.0 specification (Khronos), sections 3.6 accessors and sparse storage, 3.7.2.2 morph targets, 3.7.3
skins, 3.5.2 node transforms; names of morph targets in `mesh.extras.targetNames`, as every common exporter writes them.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from .aliases import MappingFile, match
from .assembly import assemble
from .basis import BasisError, FaceBasis

logger = logging.getLogger(__name__)

_SKIN = np.array([0.65, 0.45, 0.35])
"""Linear colour of what has none."""
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MOST_BYTES = 1_000_000_000
"""Of a buffer in a file of its own."""
_MOST_NUMBERS = 60_000_000
"""In all arrays together: 100 000 vertices with 100 targets have 30 million."""
_UNREAD = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")


def read_gltf(path: Path, mapping: MappingFile | None = None) -> FaceBasis:
    """The face of a `.glb` or `.gltf` avatar.

    All meshes with ARKit-named targets are joined, at their place in the scene and in the rest pose of their skeleton;
    meshes without targets come along where their middle lies within the face (eyes, hair). Colours are those of the
    vertices, the textures or the materials. `mapping` names targets that nobody else knows. Raises BasisError, for
    everything that is no such file.
    """
    try:
        return _read(path, mapping)
    except BasisError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, struct.error) as error:
        raise BasisError(f"{path}: malformed glTF ({type(error).__name__}: {str(error)[:200]})") from error


def _read(path: Path, mapping: MappingFile | None) -> FaceBasis:
    document = _Document(path)
    parts = document.parts()
    names = sorted({name for part in parts for name in part.shapes})
    known = match(names, mapping).targets
    faces = [part for part in parts if any(name in known for name in part.shapes)]
    if not faces:
        shown = f"its morph targets are {', '.join(names[:8])}" if names else "it has no morph targets"
        raise BasisError(f"{path}: no mesh with ARKit-named morph targets; {shown}")
    low = np.min([part.points.min(axis=0) for part in faces], axis=0)
    high = np.max([part.points.max(axis=0) for part in faces], axis=0)
    margin = 0.25 * (high - low)
    centres = [part.points.mean(axis=0) for part in parts]
    near = [
        part for part, c in zip(parts, centres, strict=True) if (c > low - margin).all() and (c < high + margin).all()
    ]
    return _join(path.stem, [part for part in parts if part in faces or part in near], mapping)


class _Part:
    """One primitive of a mesh, in the scene's coordinates."""

    def __init__(self, points: NDArray, shapes: dict[str, NDArray], triangles: NDArray, colours: NDArray) -> None:
        self.points, self.shapes, self.triangles, self.colours = points, shapes, triangles, colours


def _join(name: str, parts: list[_Part], mapping: MappingFile | None) -> FaceBasis:
    starts = np.cumsum([0] + [len(part.points) for part in parts])
    shapes: dict[str, NDArray] = {}
    for part, start in zip(parts, starts, strict=False):
        for own, moved in part.shapes.items():
            whole = shapes.setdefault(own, np.zeros((starts[-1], 3)))
            whole[start : start + len(part.points)] = moved
    triangles = np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)])
    points, colours = (np.concatenate([getattr(p, key) for p in parts]) for key in ("points", "colours"))
    return assemble(name, points, shapes, triangles, colours=colours, mapping=mapping)


class _Document:
    """A parsed file: its JSON, its buffers, and the arrays that accessors describe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        self.binary = b""
        try:
            self.json: dict[str, Any] = json.loads(self._chunks(data) if data[:4] == b"glTF" else data)
        except (ValueError, UnicodeDecodeError, struct.error) as error:
            raise BasisError(f"{path}: not a glTF 2.0 file ({error})") from error
        needed = [name for name in _UNREAD if name in self.json.get("extensionsRequired", [])]
        if needed:
            raise BasisError(f"{path}: its meshes are compressed ({', '.join(needed)}); export it without compression")
        self._buffers: dict[int, bytes] = {}
        self._numbers = 0

    def _chunks(self, data: bytes) -> bytes:
        """Set `binary` and return the JSON of a binary file."""
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2 or length > len(data):
            raise ValueError(f"version {version}, {len(data)} of {length} bytes")
        offset, text = 12, b""
        while offset + 8 <= length:
            size, kind = struct.unpack_from("<I4s", data, offset)
            chunk = data[offset + 8 : offset + 8 + size]
            text, self.binary = (chunk, self.binary) if kind == b"JSON" else (text, self.binary or chunk)
            offset += 8 + size
        return text

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self.json["buffers"][index].get("uri")
            try:
                if uri is None:
                    content = self.binary
                elif uri.startswith("data:"):
                    content = base64.b64decode(uri.split(",", 1)[1])
                else:
                    content = self._beside(unquote(uri))
            except (OSError, binascii.Error, IndexError) as error:
                raise BasisError(f"{self.path}: buffer {index} cannot be read ({error})") from error
            self._buffers[index] = content
        return self._buffers[index]

    def _beside(self, name: str) -> bytes:
        """The content of another file."""
        path = self.path.parent / name
        if not path.is_file():  # also no device, which would never end
            raise BasisError(f"{self.path}: it names the buffer {name!r}: no such file")
        if path.stat().st_size > _MOST_BYTES:
            raise BasisError(f"{path}: {path.stat().st_size} bytes: a buffer has at most {_MOST_BYTES}")
        return path.read_bytes()

    def _view(self, index: int, offset: int, dtype: np.dtype, width: int, count: int) -> NDArray:
        view = self.json["bufferViews"][index]
        row = dtype.itemsize * width
        stride = view.get("byteStride", row)
        start = view.get("byteOffset", 0) + offset
        content = self._buffer(view["buffer"])
        if start + (count - 1) * stride + row > len(content):
            raise BasisError(f"{self.path}: buffer view {index} reaches beyond its buffer: the file is cut short")
        table = np.ndarray((count, width), dtype, content, start, (stride, dtype.itemsize))
        return table.copy()

    def array(self, index: int) -> NDArray:
        """The (count, width) array of an accessor, sparse or not; normalised integers become fractions."""
        accessor = self.json["accessors"][index]
        dtype, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = accessor["count"]
        self._numbers += count * width
        if count < 1 or self._numbers > _MOST_NUMBERS:
            raise BasisError(
                f"{self.path}: accessor {index} has {count} elements: there must be some, and at most "
                f"{_MOST_NUMBERS} numbers in the whole file"
            )
        if "bufferView" in accessor:
            out = self._view(accessor["bufferView"], accessor.get("byteOffset", 0), dtype, width, count)
        else:
            out = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            where, values = sparse["indices"], sparse["values"]
            kind = np.dtype(_TYPES[where["componentType"]])
            ids = self._view(where["bufferView"], where.get("byteOffset", 0), kind, 1, sparse["count"])[:, 0]
            out[ids] = self._view(values["bufferView"], values.get("byteOffset", 0), dtype, width, sparse["count"])
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(out / np.iinfo(dtype).max, -1.0)
        return out

    # -- the scene --------------------------------------------------------------------------------------------

    def parts(self) -> list[_Part]:
        """Every triangle primitive of every node with a mesh."""
        worlds = self._worlds()
        return [
            part
            for index, node in enumerate(self.json.get("nodes", []))
            if "mesh" in node and index in worlds
            for part in self._mesh(node, worlds)
        ]

    def _worlds(self) -> dict[int, NDArray]:
        """World matrix (4, 4) of each node of the scene."""
        nodes, scenes = self.json.get("nodes", []), self.json.get("scenes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        roots = scenes[self.json.get("scene", 0)].get("nodes", []) if scenes else set(range(len(nodes))) - children
        worlds: dict[int, NDArray] = {}
        stack = [(root, np.eye(4)) for root in roots]
        while stack:
            index, parent = stack.pop()
            if index in worlds:
                raise BasisError(f"{self.path}: node {index} has two parents")
            worlds[index] = parent @ _local(nodes[index])
            stack += [(child, worlds[index]) for child in nodes[index].get("children", [])]
        return worlds

    def _mesh(self, node: dict[str, Any], worlds: dict[int, NDArray]) -> list[_Part]:
        mesh = self.json["meshes"][node["mesh"]]
        index = self.json["nodes"].index(node)
        parts = []
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) != 4:
                continue
            points = self.array(primitive["attributes"]["POSITION"]).astype(np.float64)
            targets = primitive.get("targets", [])
            names = (mesh.get("extras") or {}).get("targetNames") or [f"target_{k}" for k in range(len(targets))]
            moved = {
                name: self.array(target["POSITION"]).astype(np.float64)
                for name, target in zip(names, targets, strict=False)
                if "POSITION" in target
            }
            matrices = self._skin(node, primitive, worlds)
            if matrices is None:
                matrices = np.broadcast_to(worlds[index], (len(points), 4, 4))
            turned = {name: np.einsum("vij,vj->vi", matrices[:, :3, :3], shape) for name, shape in moved.items()}
            placed = np.einsum("vij,vj->vi", matrices[:, :3, :3], points) + matrices[:, :3, 3]
            triangles = self._triangles(primitive, len(points))
            if np.linalg.det(matrices[0, :3, :3]) < 0:
                triangles = triangles[:, ::-1]
            parts.append(_Part(placed, turned, triangles, self._colours(primitive, len(points))))
        return parts

    def _triangles(self, primitive: dict[str, Any], count: int) -> NDArray:
        ids = self.array(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
        return ids[: len(ids) // 3 * 3].reshape(-1, 3).astype(np.int64)

    def _skin(self, node: dict[str, Any], primitive: dict[str, Any], worlds: dict[int, NDArray]) -> NDArray | None:
        """Matrix of each vertex (V, 4, 4) in the skeleton's rest pose, or None without a skeleton."""
        attributes = primitive["attributes"]
        if "skin" not in node or "JOINTS_0" not in attributes:
            return None
        skin = self.json["skins"][node["skin"]]
        joints = np.stack([worlds[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            # Stored column by column.
            inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            joints = joints @ inverse
        ids, weights = self.array(attributes["JOINTS_0"]).astype(np.int64), self.array(attributes["WEIGHTS_0"])
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        return np.einsum("vk,vkij->vij", weights, joints[ids])

    def _colours(self, primitive: dict[str, Any], count: int) -> NDArray[np.uint8]:
        """Colour of each vertex (V, 3) sRGB: its own, else that of the texture, else that of the material."""
        attributes = primitive["attributes"]
        if "COLOR_0" in attributes:
            return _srgb(self.array(attributes["COLOR_0"])[:, :3].astype(np.float64))
        if "material" not in primitive:
            return _srgb(np.tile(_SKIN, (count, 1)))
        material = self.json["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        if "baseColorTexture" in material:
            textured = self._texture(attributes, material["baseColorTexture"])
            # Its factor is white as a rule, so that an unreadable texture is better replaced by the colour of skin.
            return _srgb(np.tile(_SKIN, (count, 1))) if textured is None else textured
        return _srgb(np.tile(material.get("baseColorFactor", [1.0] * 4)[:3], (count, 1)))

    def _texture(self, attributes: dict[str, Any], slot: dict[str, Any]) -> NDArray[np.uint8] | None:
        """A texture at each vertex (V, 3) sRGB, or None where it cannot be read."""
        try:
            from PIL import Image

            at = self.array(attributes[f"TEXCOORD_{slot.get('texCoord', 0)}"])
            image = self.json["images"][self.json["textures"][slot["index"]]["source"]]
            pixels = np.asarray(Image.open(io.BytesIO(self._image(image))).convert("RGB"))
        except Exception as error:  # Pillow has many; a face without its texture is still a face
            logger.warning("%s: a texture cannot be read (%r); the colour of skin is used", self.path, error)
            return None
        height, width = pixels.shape[:2]
        column, row = ((np.mod(at[:, k], 1.0) * size).astype(np.int64) for k, size in ((0, width), (1, height)))
        return pixels[np.minimum(row, height - 1), np.minimum(column, width - 1)]

    def _image(self, image: dict[str, Any]) -> bytes:
        if "bufferView" in image:
            view = self.json["bufferViews"][image["bufferView"]]
            start = view.get("byteOffset", 0)
            return self._buffer(view["buffer"])[start : start + view["byteLength"]]
        if image["uri"].startswith("data:"):
            return base64.b64decode(image["uri"].split(",", 1)[1])
        return (self.path.parent / unquote(image["uri"])).read_bytes()


def _srgb(linear: NDArray) -> NDArray[np.uint8]:
    return (255 * np.clip(linear, 0, 1) ** (1 / 2.2)).round().astype(np.uint8)


def _local(node: dict[str, Any]) -> NDArray:
    """A node's own matrix (4, 4), from `matrix` or from translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    out = np.eye(4)
    out[:3, :3] = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ) * np.array(node.get("scale", (1, 1, 1)))
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out
