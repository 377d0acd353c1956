"""A linear face: 52 coefficients to vertices in millimetres, and how far the lips are apart.

`vertices = template + sum_k coefficient_k * basis_k`, the form every ARKit-style rig has. Axes are head-fixed:
+x to the subject's left, +y up, +z out of the face.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.files import replacing

from .names import ARKIT_NAMES, COUNT

Float = NDArray[np.float32]
Ids = NDArray[np.int64]

FACE_HEIGHT_PER_EYE_WIDTH = 1.986
"""Height between MediaPipe's landmarks 10 and 152 over the width between its outer eye corners 33 and 263, measured
on MediaPipe's canonical face model (17.66 / 8.89)."""


class BasisError(ValueError):
    """A face file that cannot be used; the message names the file, the field and what would be right."""


@dataclass(frozen=True)
class LipGapWeights:
    """The opening of the inner lips as a linear form of the coefficients, for use in other array libraries.

    `vector = rest + coefficients @ weights` is the (3,) vector from the lower to the upper inner lip in mm;
    its y part, clipped at 0, is `FaceBasis.lip_gap`. In torch::

        gap = torch.relu(rest[1] + coefficients @ weights[:, 1])
    """

    rest: Float
    """(3,) mm."""
    weights: Float
    """(52, 3) mm per unit of coefficient."""
    height_rest: Float
    """(3,) mm, chin to top of the face."""
    height_weights: Float
    """(52, 3) mm per unit of coefficient."""


@dataclass(frozen=True, eq=False)
class FaceBasis:
    """A face mesh with the 52 ARKit shapes as displacements.

    Attributes:
        template: (V, 3) neutral vertices, mm.
        basis: (52, V, 3) displacement of each shape at coefficient 1, mm, in the order of `ARKIT_NAMES`.
        triangles: (F, 3) vertex indices, counter-clockwise seen from outside.
        lip_ids: vertices of the lips (for LVE).
        upper_ids: vertices of eyes, brows and forehead (for EVE).
        inner_lip_ids: (P, 2) pairs (upper, lower) of facing inner-lip vertices at the middle of the mouth.
        mouth_corner_ids: (2,) the subject's right and left mouth corner.
        face_height_ids: (2,) top of the forehead and chin (MediaPipe's landmarks 10 and 152).
        colours: (V, 3) uint8 sRGB per vertex or None.
        name: what to call it in reports.
        missing: names of the shapes that the source lacked (their displacement is zero).
    """

    template: Float
    basis: Float
    triangles: NDArray[np.int32]
    lip_ids: Ids
    upper_ids: Ids
    inner_lip_ids: Ids
    mouth_corner_ids: Ids
    face_height_ids: Ids
    colours: NDArray[np.uint8] | None = None
    name: str = "face"
    missing: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Bring every array to its type and check that they fit together."""
        set_ = object.__setattr__
        for key in ("template", "basis"):
            set_(self, key, np.ascontiguousarray(getattr(self, key), dtype=np.float32))
        set_(self, "triangles", np.ascontiguousarray(self.triangles, dtype=np.int32))
        for key in ("lip_ids", "upper_ids", "inner_lip_ids", "mouth_corner_ids", "face_height_ids"):
            set_(self, key, np.ascontiguousarray(getattr(self, key), dtype=np.int64))
        if self.colours is not None:
            set_(self, "colours", np.ascontiguousarray(self.colours, dtype=np.uint8))
        self._check()

    def _check(self) -> None:
        count = len(self.template)
        shapes = {
            "template": (self.template.shape, (count, 3)),
            "basis": (self.basis.shape, (COUNT, count, 3)),
            "triangles": (self.triangles.shape, (len(self.triangles), 3)),
            "inner_lip_ids": (self.inner_lip_ids.shape, (len(self.inner_lip_ids), 2)),
            "mouth_corner_ids": (self.mouth_corner_ids.shape, (2,)),
            "face_height_ids": (self.face_height_ids.shape, (2,)),
            "colours": ((count, 3) if self.colours is None else self.colours.shape, (count, 3)),
        }
        for key, (got, want) in shapes.items():
            if got != want:
                raise BasisError(f"{self.name}: {key} has the shape {got}, expected {want}")
        for key in ("triangles", "lip_ids", "upper_ids", "inner_lip_ids", "mouth_corner_ids", "face_height_ids"):
            ids = getattr(self, key)
            if ids.size == 0:
                raise BasisError(f"{self.name}: {key} is empty")
            if ids.min() < 0 or ids.max() >= count:
                raise BasisError(f"{self.name}: {key} names vertex {ids.max()}, there are {count}")
        if not (np.isfinite(self.template).all() and np.isfinite(self.basis).all()):
            raise BasisError(f"{self.name}: template or basis holds values that are not finite")

    def __len__(self) -> int:
        """Number of vertices."""
        return len(self.template)

    # -- coefficients to vertices ---------------------------------------------------------------------------

    def displacement(self, coefficients: ArrayLike, ids: ArrayLike | None = None) -> Float:
        """Offsets from the template, (..., 52) to (..., V, 3) mm, for all vertices or only those of `ids`."""
        values = checked_coefficients(coefficients)
        basis = self.basis if ids is None else self.basis[:, np.asarray(ids, dtype=np.int64)]
        flat = values.reshape(-1, COUNT) @ basis.reshape(COUNT, -1)
        return flat.reshape(*values.shape[:-1], basis.shape[1], 3)

    def vertices(self, coefficients: ArrayLike, ids: ArrayLike | None = None) -> Float:
        """Vertices in mm, (..., 52) to (..., V, 3); `ids` restricts them. A minute of all vertices of a large mesh
        is gigabytes: go through `iterate` instead.
        """
        template = self.template if ids is None else self.template[np.asarray(ids, dtype=np.int64)]
        moved = self.displacement(coefficients, ids)
        moved += template
        return moved

    def iterate(
        self, coefficients: ArrayLike, ids: ArrayLike | None = None, megabytes: float = 64.0
    ) -> Iterator[Float]:
        """Yield `vertices` of (T, 52) in blocks of frames that take about `megabytes` each: (t, V, 3) mm."""
        values = checked_coefficients(coefficients)
        if values.ndim != 2:
            raise ValueError(f"expected (frames, {COUNT}) coefficients, got the shape {values.shape}")
        count = len(self) if ids is None else len(np.asarray(ids))
        block = max(1, int(megabytes * 2**20 // (count * 12)))
        for start in range(0, len(values), block):
            yield self.vertices(values[start : start + block], ids)

    # -- the mouth ------------------------------------------------------------------------------------------

    def lip_gap_weights(self) -> LipGapWeights:
        """The linear form behind `lip_gap`: mean over the middle pairs of upper minus lower inner lip."""
        upper, lower = self.inner_lip_ids.T
        top, chin = self.face_height_ids
        return LipGapWeights(
            rest=(self.template[upper] - self.template[lower]).mean(0),
            weights=(self.basis[:, upper] - self.basis[:, lower]).mean(1),
            height_rest=self.template[top] - self.template[chin],
            height_weights=self.basis[:, top] - self.basis[:, chin],
        )

    def lip_opening(self, coefficients: ArrayLike) -> Float:
        """Signed vertical distance of the inner lips at the middle, (..., 52) to (...) mm; negative: they overlap.

        Only the vertical part counts: a jaw that opens also carries the lower lip back, which parts no lips.
        """
        form = self.lip_gap_weights()
        return (form.rest[1] + checked_coefficients(coefficients) @ form.weights[:, 1]).astype(np.float32)

    def lip_gap(self, coefficients: ArrayLike) -> Float:
        """How far the lips are apart, (..., 52) to (...) mm. Lips that overlap are closed: 0."""
        return np.maximum(self.lip_opening(coefficients), np.float32(0))

    def relative_lip_gap(self, coefficients: ArrayLike) -> Float:
        """`lip_gap` over the height of the face of the same frame, (..., 52) to (...), without unit.

        Comparable with the distance of MediaPipe's landmarks 13 and 14 over that of 10 and 152.
        """
        form = self.lip_gap_weights()
        height = np.linalg.norm(form.height_rest + checked_coefficients(coefficients) @ form.height_weights, axis=-1)
        return (self.lip_gap(coefficients) / np.maximum(height, 1e-6)).astype(np.float32)

    # -- files ----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as a compressed npz that `load` reads (never leaves a half-written file)."""
        arrays = {key: getattr(self, key) for key in _SAVED}
        if self.colours is not None:
            arrays["colours"] = self.colours
        with replacing(path) as part, open(part, "wb") as stream:
            np.savez_compressed(
                stream, names=np.array(ARKIT_NAMES), missing=np.array(self.missing, dtype=np.str_), **arrays
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaceBasis:
        """Read an npz with `template`, `basis`, `triangles`, `lip_ids`, `upper_ids` and, optionally, `names` (the
        order of the shapes), `landmarks68` or the explicit ids that `save` writes. Raises BasisError.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as archive:
                data = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile, AttributeError, EOFError) as error:
            raise BasisError(f"{path}: not a readable npz face ({error})") from error
        lacking = [key for key in ("template", "basis", "triangles", "lip_ids", "upper_ids") if key not in data]
        if lacking:
            raise BasisError(
                f"{path}: no {', '.join(lacking)} in this npz; it holds {', '.join(sorted(data)) or 'nothing'}"
            )
        return cls._from_arrays(path, data)

    @classmethod
    def _from_arrays(cls, path: Path, data: dict[str, NDArray]) -> FaceBasis:
        names = [str(n) for n in data["names"]] if "names" in data else list(ARKIT_NAMES)
        basis, missing = arrange_shapes(names, data["basis"])
        template = np.asarray(data["template"], dtype=np.float32)
        found = ids_from_landmarks68(template, data["landmarks68"]) if "landmarks68" in data else {}
        try:
            ids = {key: data[key] if key in data else found[key] for key in _LANDMARKS}
        except KeyError as error:
            raise BasisError(f"{path}: neither {error.args[0]} nor landmarks68, needed to find the lips") from error
        stored = tuple(str(n) for n in data.get("missing", ()))
        return cls(
            template=template,
            basis=basis,
            triangles=data["triangles"],
            lip_ids=data["lip_ids"],
            upper_ids=data["upper_ids"],
            colours=data.get("colours"),
            name=path.stem,
            missing=tuple(n for n in ARKIT_NAMES if n in missing or n in stored),
            **ids,
        )


_LANDMARKS = ("inner_lip_ids", "mouth_corner_ids", "face_height_ids")
_SAVED = ("template", "basis", "triangles", "lip_ids", "upper_ids", *_LANDMARKS)


def checked_coefficients(coefficients: ArrayLike) -> Float:
    """`coefficients` as float32 (..., 52). Raises ValueError naming the shape otherwise."""
    values = np.asarray(coefficients, dtype=np.float32)
    if values.ndim == 0 or values.shape[-1] != COUNT:
        raise ValueError(f"expected coefficients of shape (..., {COUNT}), got {values.shape}")
    return values


def arrange_shapes(names: list[str], shapes: NDArray) -> tuple[Float, list[str]]:
    """`shapes` (K, V, 3) named `names` as (52, V, 3) in home order, zero where a name is missing, and those names."""
    shapes = np.asarray(shapes, dtype=np.float32)
    if shapes.ndim != 3 or shapes.shape[2] != 3 or len(shapes) != len(names):
        raise BasisError(f"basis has the shape {shapes.shape}, expected ({len(names)}, vertices, 3) to match its names")
    where = {name.lower(): k for k, name in enumerate(names)}
    missing = [name for name in ARKIT_NAMES if name.lower() not in where]
    if len(missing) == COUNT:
        raise BasisError(f"none of the 52 ARKit shapes among the names {', '.join(names[:8])} ...")
    out = np.zeros((COUNT, *shapes.shape[1:]), dtype=np.float32)
    for k, name in enumerate(ARKIT_NAMES):
        if name.lower() in where:
            out[k] = shapes[where[name.lower()]]
    return out, missing


def ids_from_landmarks68(template: NDArray, landmarks: NDArray) -> dict[str, Ids]:
    """Inner lips, mouth corners, forehead top and chin from the 68 iBUG landmarks' vertex ids.

    The 68 have no point on the forehead: the vertex on the middle line is taken whose height above the chin has
    MediaPipe's proportion to the width of the eyes.
    """
    landmarks = np.asarray(landmarks, dtype=np.int64)
    if landmarks.shape != (68,):
        raise BasisError(f"landmarks68 has the shape {landmarks.shape}, expected (68,)")
    points = np.asarray(template, dtype=np.float64)
    chin = landmarks[8]
    width = np.linalg.norm(points[landmarks[36]] - points[landmarks[45]])
    target = points[chin] + [0.0, FACE_HEIGHT_PER_EYE_WIDTH * width, 0.0]
    front = points[:, 2] > points[landmarks[27], 2] - 0.5 * width
    distance = np.hypot(points[:, 0] - target[0], points[:, 1] - target[1])
    top = int(np.argmin(np.where(front, distance, np.inf)))
    return {
        "inner_lip_ids": np.array([[landmarks[62], landmarks[66]]]),
        "mouth_corner_ids": landmarks[[48, 54]],
        "face_height_ids": np.array([top, chin]),
    }
