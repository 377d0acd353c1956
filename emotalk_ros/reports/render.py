"""Pictures of a face in motion: a small software rasteriser in numpy, so that no GPU and no display is needed.

Per frame: perspective projection, light at the vertices, a depth buffer over the pixels that the triangles cover
(worked through in batches of triangles of like size), two samples a pixel each way. Files are written by `video`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from emotalk_ros.face import FaceBasis

Frames = NDArray[np.uint8]
Real = NDArray[np.float32]

SKIN = (222, 178, 152)
LIPS = (190, 105, 100)

FRAMED_FACE_HEIGHTS = 1.5
"""Height of the picture in heights of the face (top of the forehead to chin)."""
FURROWS = 2.2
"""How much darker a furrow is than the skin around it, for each unit of its curvature (1 / distance of vertices)."""
STILL_MM = 0.02
"""What no shape moves further than this is drawn once for all frames."""
VIEW_DISTANCE_MM = 900.0
"""Distance of the eye of the viewer: close enough for depth, far enough not to swell the nose."""


@dataclass(frozen=True)
class View:
    """How the face is looked at.

    Attributes:
        size: width and height of the picture in pixels.
        yaw: degrees the head is turned to its left (the picture's right).
        pitch: degrees the head is tilted up.
        samples: samples a pixel each way against jagged edges; 1 is quickest.
        background: sRGB.
    """

    size: int = 320
    yaw: float = 0.0
    pitch: float = 0.0
    samples: int = 2
    background: tuple[int, int, int] = (236, 239, 244)

    def __post_init__(self) -> None:
        """Refuse sizes that make no picture."""
        if self.size < 16 or self.samples < 1:
            raise ValueError(f"size must be at least 16 and samples at least 1, got {self.size} and {self.samples}")


class Renderer:
    """Draws frames of one face; what does not change between frames is worked out once."""

    def __init__(self, basis: FaceBasis, view: View | None = None) -> None:
        self.basis = basis
        self.view = view or View()
        colours = vertex_colours(basis)
        self._albedo = ((colours.astype(np.float32) / 255.0) ** 2.2).astype(np.float32)
        self._triangles = basis.triangles
        still = np.abs(basis.basis).max(axis=(0, 2)) < STILL_MM
        resting = still[basis.triangles].all(axis=1)
        self._moving = basis.triangles[~resting]
        self._gather = _incidence(basis.triangles, len(basis))
        self._around, self._spacing = _neighbours(basis)
        self._hollow = np.zeros(len(basis), dtype=np.float32)
        self._rotation = _rotation(self.view.yaw, self.view.pitch)
        top, chin = basis.template[basis.face_height_ids]
        height = float(np.linalg.norm(top - chin))
        middle = (top + chin) / 2 + np.array([0, 0.045 * height, 0], dtype=np.float32)
        # Turn about an axis inside the head, so that a turned face stays in the picture.
        self._pivot = middle - np.array([0, 0.02 * height, 0.55 * height], dtype=np.float32)
        self._scale = self.view.size * self.view.samples / (FRAMED_FACE_HEIGHTS * height)
        self._focus = VIEW_DISTANCE_MM * height / 175.0
        # Skull, ears, hair and neck never move: they are drawn once, beneath every frame.
        side = self.view.size * self.view.samples
        self._canvas = np.tile(np.array(self.view.background, dtype=np.float32), (side * side, 1))
        self._depth = np.zeros(side * side, dtype=np.float32)
        turned = (basis.template - self._pivot) @ self._rotation.T
        self._hollow = self._curvature(turned, self._normals(turned))
        _rasterise(self._project(turned), basis.triangles[resting], self._light(turned), self._canvas, self._depth)

    def frame(self, coefficients: ArrayLike) -> Frames:
        """One picture, (52,) to (H, W, 3) uint8."""
        return self.draw(self.basis.vertices(coefficients))

    def draw(self, vertices: Real) -> Frames:
        """One picture of vertices (V, 3) in mm, to (H, W, 3) uint8."""
        turned = (vertices - self._pivot) @ self._rotation.T
        canvas, depth = self._canvas.copy(), self._depth.copy()
        _rasterise(self._project(turned), self._moving, self._light(turned), canvas, depth)
        n = self.view.samples
        image = canvas.reshape(self.view.size, n, self.view.size, n, 3)
        if n > 1:
            image = image.sum(axis=3).sum(axis=1) * np.float32(1 / n**2)
        return (image.reshape(self.view.size, self.view.size, 3) + 0.5).clip(0, 255).astype(np.uint8)

    def _project(self, turned: Real) -> Real:
        """(V, 3): column, row (pixels, real) and nearness (larger is closer, linear on the screen)."""
        side = self.view.size * self.view.samples
        nearness = self._focus / np.maximum(self._focus - turned[:, 2], 1.0)
        out = np.empty_like(turned)
        out[:, 0] = side / 2 + turned[:, 0] * nearness * self._scale
        out[:, 1] = side / 2 - turned[:, 1] * nearness * self._scale
        out[:, 2] = nearness
        return out

    def _normals(self, turned: Real) -> Real:
        """(V, 3) unit normals."""
        a, b, c = (turned[self._triangles[:, k]] for k in range(3))
        normal = self._gather @ np.cross(b - a, c - a)
        return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9), dtype=np.float32)

    def _curvature(self, turned: Real, normal: Real) -> Real:
        """(V,) how hollow the surface is at each vertex, a mean over its neighbourhood; positive in a furrow."""
        hollow = np.einsum("vc,vc->v", self._around @ turned, normal) * self._spacing
        return hollow + np.float32(0.5) * (self._around @ hollow)

    def _light(self, turned: Real) -> Real:
        """(V, 3) sRGB 0..255 of each vertex: soft key light from the upper left, fill, sky, a little shine."""
        normal = self._normals(turned)
        key, fill, half = (_unit(v) for v in ((-0.55, 0.5, 0.75), (0.8, 0.05, 0.55), (-0.3, 0.28, 0.95)))
        wrapped = np.maximum((normal @ key + 0.25) / 1.25, 0)
        diffuse = 0.80 * wrapped[:, None] * np.array([1.0, 0.97, 0.92], dtype=np.float32)
        diffuse += 0.24 * np.maximum(normal @ fill, 0)[:, None] * np.array([0.85, 0.92, 1.0], dtype=np.float32)
        diffuse += (0.22 + 0.10 * normal[:, 1:2]) * np.array([0.95, 0.98, 1.0], dtype=np.float32)
        shine = 0.07 * np.maximum(normal @ half, 0)[:, None] ** 24
        # Furrows that the expression makes hold their own shadow; ridges catch a little more light.
        hollow = self._curvature(turned, normal) - self._hollow
        diffuse *= (1.0 - FURROWS * np.clip(hollow, -0.05, 0.2))[:, None]
        # Blood under the skin keeps its shadows red: the albedo itself scatters a little.
        linear = self._albedo * diffuse + shine * (0.3 + self._albedo)
        return (255.0 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.float32)


def vertex_colours(basis: FaceBasis) -> NDArray[np.uint8]:
    """The face's own colours, or skin with tinted lips where it has none; (V, 3) sRGB."""
    if basis.colours is not None:
        return basis.colours
    colours = np.tile(np.array(SKIN, dtype=np.uint8), (len(basis), 1))
    colours[basis.lip_ids] = LIPS
    return colours


def render_frames(
    basis: FaceBasis, coefficients: ArrayLike, size: int = 320, yaw: float = 0.0, pitch: float = 0.0, samples: int = 2
) -> Frames:
    """Pictures of a motion, (T, 52) to (T, size, size, 3) uint8 sRGB. For long motions use `iterate_frames`."""
    values = np.atleast_2d(np.asarray(coefficients, dtype=np.float32))
    out = np.empty((len(values), size, size, 3), dtype=np.uint8)
    view = View(size=size, yaw=yaw, pitch=pitch, samples=samples)
    for k, image in enumerate(iterate_frames(basis, values, view)):
        out[k] = image
    return out


def iterate_frames(basis: FaceBasis, coefficients: ArrayLike, view: View | None = None) -> Iterator[Frames]:
    """The pictures of `render_frames` one by one, so that memory does not grow with the motion."""
    renderer = Renderer(basis, view)
    for values in np.atleast_2d(np.asarray(coefficients, dtype=np.float32)):
        yield renderer.frame(values)


def side_by_side(*motions: Iterable[Frames], gap: int = 4) -> Iterator[Frames]:
    """Pictures of several renderings next to each other, for as long as the shortest runs."""
    for images in zip(*motions, strict=False):
        height = max(image.shape[0] for image in images)
        parts: list[Frames] = []
        for image in images:
            if parts:
                parts.append(np.full((height, gap, 3), 255, dtype=np.uint8))
            pad = height - image.shape[0]
            parts.append(np.pad(image, ((pad // 2, pad - pad // 2), (0, 0), (0, 0)), constant_values=255))
        yield np.concatenate(parts, axis=1)


def contact_sheet(
    images: ArrayLike, labels: list[str] | None = None, columns: int | None = None, text_height: int = 14
) -> Frames:
    """Pictures (N, H, W, 3) in rows of `columns` (about square unless told), each with its label beneath."""
    from PIL import Image, ImageDraw, ImageFont

    tiles = np.asarray(images, dtype=np.uint8)
    count, height, width = tiles.shape[:3]
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    cell = height + (text_height if labels else 0)
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * cell), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=text_height - 3)
    for k, tile in enumerate(tiles):
        x, y = (k % columns) * width, (k // columns) * cell
        sheet.paste(Image.fromarray(tile), (x, y))
        if labels:
            draw.text((x + width / 2, y + height), labels[k], fill=(40, 40, 40), font=font, anchor="ma")
    return np.asarray(sheet)


_HALF = np.float32(0.5)
_BLOCKS = np.unique(np.round(2 ** np.arange(0, 14.1, 0.5)).astype(np.int64))

# -- the rasteriser --------------------------------------------------------------------------------------------


def _unit(vector: tuple[float, float, float]) -> Real:
    out = np.array(vector, dtype=np.float32)
    return out / np.linalg.norm(out)


def _rotation(yaw: float, pitch: float) -> Real:
    y, p = math.radians(yaw), math.radians(-pitch)
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    return (about_x @ about_y).astype(np.float32)


def _incidence(triangles: NDArray[np.int32], vertices: int) -> csr_matrix:
    """(V, F) matrix that sums what belongs to the triangles at each vertex."""
    rows = triangles.reshape(-1)
    columns = np.repeat(np.arange(len(triangles)), 3)
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(vertices, len(triangles)))


def _neighbours(basis: FaceBasis) -> tuple[csr_matrix, Real]:
    """(V, V) matrix that gives the mean of a vertex's neighbours minus itself, and 1 / their mean distance (V,).

    Both are 0 on the borders of a sheet, where neighbours lie on one side only.
    """
    t, count = basis.triangles.astype(np.int64), len(basis)
    one = np.concatenate([t[:, 0], t[:, 1], t[:, 2]])
    two = np.concatenate([t[:, 1], t[:, 2], t[:, 0]])
    edges = csr_matrix((np.ones(len(one), dtype=np.float32), (one, two)), shape=(count, count))
    lone = (edges - edges.T).tocoo()
    border = np.zeros(count, dtype=bool)
    border[lone.row[lone.data != 0]] = border[lone.col[lone.data != 0]] = True
    both = (edges + edges.T).tocoo()
    row, column = both.row, both.col
    many = np.bincount(row, minlength=count).clip(1)
    distance = np.linalg.norm(basis.template[row] - basis.template[column], axis=1)
    spacing = np.bincount(row, weights=distance, minlength=count) / many
    inner = ~border & (spacing > 0)
    weights = np.where(inner[row], 1.0 / many[row], 0.0).astype(np.float32)
    mean = csr_matrix((weights, (row, column)), shape=(count, count))
    self_weight = csr_matrix((inner.astype(np.float32), (np.arange(count), np.arange(count))), shape=(count, count))
    return mean - self_weight, np.where(inner, 1.0 / np.maximum(spacing, 1e-6), 0.0).astype(np.float32)


def _rasterise(points: Real, triangles: NDArray[np.int32], light: Real, canvas: Real, depth: Real) -> None:
    """Draw the triangles that face the viewer into `canvas` (side * side, 3), nearest on top.

    `depth` (side * side,) is the nearness of what is there already, and is brought up to date as well.
    """
    side = math.isqrt(len(depth))
    corners = points[triangles]
    x, y = corners[..., 0], corners[..., 1]
    # Rows grow downwards, so a triangle that is counter-clockwise in the world turns the other way here.
    area = (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0]) - (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
    first_x, first_y = np.ceil(x.min(axis=1) - 0.5), np.ceil(y.min(axis=1) - 0.5)
    last_x, last_y = np.floor(x.max(axis=1) - 0.5), np.floor(y.max(axis=1) - 0.5)
    seen = (area > 1e-6) & (last_x >= first_x) & (last_y >= first_y)
    seen &= (last_x >= 0) & (last_y >= 0) & (first_x < side) & (first_y < side)
    chosen = np.flatnonzero(seen)
    if len(chosen) == 0:
        return
    # Triangles of like size share one block of pixels; the blocks come in a few widths and heights only.
    wide = np.searchsorted(_BLOCKS, (last_x - first_x)[chosen] + 1)
    high = np.searchsorted(_BLOCKS, (last_y - first_y)[chosen] + 1)
    kinds = wide * len(_BLOCKS) + high
    found: list[tuple[NDArray, ...]] = []
    for kind in np.unique(kinds):
        group = chosen[kinds == kind]
        block = int(_BLOCKS[kind // len(_BLOCKS)]), int(_BLOCKS[kind % len(_BLOCKS)])
        found.extend(_cover(corners[group], area[group], group, first_x[group], first_y[group], block, side))
    pixel, triangle, w1, w2, nearness = (np.concatenate(part) for part in zip(*found, strict=True))
    np.maximum.at(depth, pixel, nearness)
    on_top = nearness == depth[pixel]
    pixel, triangle, w1, w2 = pixel[on_top], triangle[on_top], w1[on_top, None], w2[on_top, None]
    a, b, c = (light[triangles[triangle, k]] for k in range(3))
    canvas[pixel] = a + w1 * (b - a) + w2 * (c - a)


def _cover(
    corners: Real, area: Real, ids: NDArray[np.intp], first_x: Real, first_y: Real, block: tuple[int, int], side: int
) -> Iterator[tuple[NDArray, ...]]:
    """Pixels covered by triangles that fit blocks of `block` (width, height).

    Yields index of the pixel, triangle, two barycentric weights, nearness.
    """
    step = max(1, 2**20 // (block[0] * block[1]))
    for start in range(0, len(ids), step):
        part = slice(start, start + step)
        c, inverse = corners[part], 1 / area[part]
        x0, y0 = first_x[part] + _HALF - c[:, 0, 0], first_y[part] + _HALF - c[:, 0, 1]
        e1, e2 = c[:, 1, :2] - c[:, 0, :2], c[:, 2, :2] - c[:, 0, :2]
        ax, ay = -e2[:, 1] * inverse, e2[:, 0] * inverse
        bx, by = e1[:, 1] * inverse, -e1[:, 0] * inverse
        w1 = _plane(ax, ay, x0, y0, block)
        w2 = _plane(bx, by, x0, y0, block)
        inside = (w1 >= -1e-5) & (w2 >= -1e-5) & (w1 + w2 <= 1 + 1e-5)
        n, row, column = np.nonzero(inside)
        u, v = w1[inside], w2[inside]
        px = first_x[part][n].astype(np.int64) + column
        py = first_y[part][n].astype(np.int64) + row
        near = c[:, :, 2]
        z = near[n, 0] + u * (near[n, 1] - near[n, 0]) + v * (near[n, 2] - near[n, 0])
        keep = (px >= 0) & (py >= 0) & (px < side) & (py < side)
        if not keep.all():
            px, py, n, u, v, z = px[keep], py[keep], n[keep], u[keep], v[keep], z[keep]
        yield py * side + px, ids[part][n], u, v, z


def _plane(gx: NDArray, gy: NDArray, x0: NDArray, y0: NDArray, block: tuple[int, int]) -> NDArray:
    """A linear form with gradient (gx, gy) on each triangle's block of pixels, (n, height, width)."""
    columns, rows = (np.arange(n, dtype=np.float32) for n in block)
    base = gx * x0 + gy * y0
    return (base[:, None] + gy[:, None] * rows)[:, :, None] + (gx[:, None] * columns)[:, None, :]
