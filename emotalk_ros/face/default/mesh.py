"""The neutral mesh of the face made by this project: a grid laid over a head, with slits for the mouth and the eyes.

The grid's columns are numbered by `a`, the distance from the middle line at the widest place (mm, to the subject's
left), its rows by `r`, the height on the middle line (mm; below the chin it runs on under the jaw and down the neck).
`skin_point` is the whole surface as a function of both, so that the lids can slide over it. Where the mouth and the
eyes open, the vertices of one row are doubled: one belongs to the upper lip or lid, one to the lower. Everything is
procedural, in proportions of an average adult.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Ids = NDArray[np.int64]

MOUTH_ROW, EYE_ROW = -34.0, 34.0
HALF_WIDTH = 75.0
MOUTH_CORNER = 28.9
"""Column of the mouth's corner: 25 mm from the middle at that height."""
EYE_INNER, EYE_OUTER = 15.6, 44.7
"""Columns of the eye's corners: 16 and 45 mm from the middle."""
UPPER_LIP, LOWER_LIP = 8.0, 10.0
"""Rows above and below the mouth's line that are the red of the lips."""
EYE_CENTRE = np.array([31.0, 34.6, 76.4])
EYE_RADIUS = 15.5
"""Larger than an eyeball, since it stands for all that shows between the lids."""
UPPER_LID, LOWER_LID = 4.6, 4.0
"""How far the lids stand above and below the eye's line in the middle of a resting eye; mm."""
LID_REACH = 17.0
"""Rows from the eye's line over which a lid stretches."""

SKIN, LINING, UPPER_TEETH, LOWER_TEETH, TONGUE, EYE, GLINT, EAR = range(8)


@dataclass
class Mesh:
    """Vertices with what the shapes need to know of them; grows by `add`.

    `anchor` is the point of skin that a vertex moves with (itself for skin), `side` +1 on or above the upper lip and -1
    on or below the lower, `row` the grid row counted from the mouth's line, `depth` 0 at the lips to 1 at the back of
    the mouth, `column` the grid's column, `follows` the skin vertex whose motion by the lids it shares (or -1).
    """

    points: list[Real] = field(default_factory=list)
    anchors: list[Real] = field(default_factory=list)
    colours: list[Real] = field(default_factory=list)
    numbers: list[Real] = field(default_factory=list)
    triangles: list[Ids] = field(default_factory=list)
    count: int = 0

    def add(
        self,
        points: Real,
        triangles: Ids,
        colours: Real,
        kind: int,
        *,
        anchors: Real | None = None,
        side: Real | float = 1.0,
        row: Real | float = 0.0,
        depth: Real | float = 0.0,
        column: Real | float = 0.0,
        follows: Ids | float = -1.0,
    ) -> Ids:
        """Add a part, (n, 3) points and its triangles within itself; returns the vertex ids."""
        n = len(points)
        values = [np.broadcast_to(np.asarray(v, dtype=float), (n,)) for v in (kind, side, row, depth, column, follows)]
        self.points.append(points)
        self.anchors.append(points if anchors is None else anchors)
        self.colours.append(np.broadcast_to(colours, (n, 3)))
        self.numbers.append(np.stack(values, axis=1))
        ids = np.arange(self.count, self.count + n)
        self.triangles.append(np.asarray(triangles, dtype=np.int64) + self.count)
        self.count += n
        return ids


def gauss(value: Real, centre: float, width: float) -> Real:
    """A bell of height 1 that is 1/e at `width` from its centre."""
    return np.exp(-(((value - centre) / width) ** 2))


def ramp(value: Real) -> Real:
    """0 below 0, 1 above 1, smooth between."""
    v = np.clip(value, 0.0, 1.0)
    return v * v * (3 - 2 * v)


def larger(a: Real, b: Real, softness: float) -> Real:
    """The larger of both with a rounded seam."""
    return (a + b + np.sqrt((a - b) ** 2 + softness**2)) / 2


# -- the head without its features -----------------------------------------------------------------------------

# row, then height and depth of the middle line, half width, height and depth of the side
_HEAD = np.array(
    [
        [-150, -152, 40, 60, -150, -14],
        [-125, -122, 40, 51, -118, -12],
        [-108, -100, 45, 46, -92, -8],
        [-98, -88, 53, 44, -76, 0],
        [-90, -83.5, 66, 44, -68, 6],
        [-84, -82, 80, 45, -62, 9],
        [-79, -79, 90, 46.5, -56, 10],
        [-72, -72, 98, 49, -49, 9],
        [-60, -60, 102, 54.5, -41, 7],
        [-45, -45, 102.5, 61, -31, 5],
        [-30, -30, 102, 66, -21, 4],
        [-10, -10, 101, 70.5, -6, 3],
        [10, 10, 101, 73, 11, 2],
        [30, 30, 102, 74.5, 30, 1],
        [50, 50, 103, 75, 49, 0],
        [70, 70, 101, 73, 68, -2],
        [88, 88, 95, 68, 83, -4],
        [102, 102, 85, 60, 94, -6],
        [112, 112, 71, 50, 102, -7],
        [119, 119, 52, 38, 109, -8],
        [124, 124, 24, 22, 116, -9],
    ],
    dtype=float,
)


def _spline(x: Real, knots: Real, values: Real) -> Real:
    """Natural cubic spline through `values` (K, C) at `knots`, evaluated at any shape of `x`: (..., C)."""
    h = np.diff(knots)
    n = len(knots)
    system = np.eye(n)
    right = np.zeros((n, values.shape[1]))
    for k in range(1, n - 1):
        system[k, k - 1 : k + 2] = h[k - 1], 2 * (h[k - 1] + h[k]), h[k]
        right[k] = 6 * ((values[k + 1] - values[k]) / h[k] - (values[k] - values[k - 1]) / h[k - 1])
    bend = np.linalg.solve(system, right)
    i = np.clip(np.searchsorted(knots, x) - 1, 0, n - 2)
    left, rest, step = (x - knots[i])[..., None], (knots[i + 1] - x)[..., None], h[i][..., None]
    return (
        (bend[i] * rest**3 + bend[i + 1] * left**3) / (6 * step)
        + (values[i] / step - bend[i] * step / 6) * rest
        + (values[i + 1] / step - bend[i + 1] * step / 6) * left
    )


def skin_point(a: Real, r: Real) -> Real:
    """The surface without lips at column `a` and row `r`, (..., 3) mm. Columns beyond +-75 run on round the head."""
    yc, zc, w, ys, zs = np.moveaxis(_spline(r, _HEAD[:, 0], _HEAD[:, 1:]), -1, 0)
    angle = np.where(np.abs(a) <= HALF_WIDTH, np.arcsin(np.clip(a / HALF_WIDTH, -1, 1)), 0.0)
    behind = np.clip(np.abs(a) - HALF_WIDTH, 0, None) / HALF_WIDTH
    angle = np.where(behind > 0, np.sign(a) * (np.pi / 2 + behind), angle)
    s = np.abs(np.sin(angle))
    square = 2.08 + 0.44 * ramp((r + 82) / 60) - 0.2 * ramp((r - 70) / 40)
    front = np.sign(np.cos(angle)) * np.sqrt(np.clip(1 - s**square, 0, None))
    x = np.sign(a) * w * s
    y = yc + (ys - yc) * np.clip(1 - front, 0, 1) ** 1.4
    z = zs + (zc - zs) * front
    return np.stack([x, y, _features(np.abs(x), y, z)], axis=-1)


_NOSE = np.array(
    [  # height, how far the nose stands out, half width of its ridge
        [60, 0, 11],
        [50, 2.2, 11],
        [42, 3.2, 9.0],
        [36, 4.2, 7.6],
        [29, 7.6, 7.4],
        [21, 12.6, 7.8],
        [13, 18.6, 8.6],
        [6, 24.4, 9.8],
        [2, 26.6, 10.4],
        [-2, 25.6, 10.4],
        [-6, 20.5, 9.8],
        [-9, 14.0, 9.0],
        [-12, 8.0, 8.4],
        [-16, 3.4, 8.6],
        [-22, 0, 9.0],
    ],
    dtype=float,
)


def _features(x: Real, y: Real, z: Real) -> Real:
    """Depth `z` of the bare head with its features added; `x` is the distance from the middle."""
    z = z + 4.0 * gauss(x, 0, 46) * gauss(y, 78, 30)  # forehead
    z = z + 5.2 * gauss(x, 27, 21) * gauss(y, 53, 8.5) + 2.0 * gauss(x, 0, 12) * gauss(y, 50, 9)  # brow
    z = z - 13.0 * gauss(x, 29.5, 18.5) * gauss(y, 34, 12.5)  # socket
    z = z - 5.0 * gauss(x, 15.5, 6.5) * gauss(y, 33, 13)  # beside the root of the nose
    z = z + 6.0 * gauss(x, 46, 17) * gauss(y, 8, 14)  # cheekbone
    z = z + 2.5 * gauss(x, 30, 13) * gauss(y, -4, 14)  # cheek
    z = z - 3.0 * gauss(x, 47, 13) * gauss(y, -32, 18)  # below the cheekbone
    z = z + 9.5 * gauss(x, 0, 30) * gauss(y, -33, 19)  # the arch of the teeth
    z = z - 4.0 * gauss(x, 0, 22) * gauss(y, -51.5, 5.5)  # under the lower lip
    z = z + 10.5 * gauss(x, 0, 18) * gauss(y, -67, 11)  # chin
    z = z - 2.0 * gauss(x - 0.42 * (-y - 6), 19.5, 3.2) * gauss(y, -20, 13)  # fold from nose to mouth
    z = z - 1.3 * gauss(x, 0, 2.6) * gauss(y, -19, 6.5) + 0.9 * gauss(x, 5.4, 2.6) * gauss(y, -20, 6.5)  # philtrum
    z = _nose(x, y, z)
    return _lid_dome(x, y, z)


def _nose(x: Real, y: Real, z: Real) -> Real:
    height, width = np.moveaxis(_spline(np.clip(y, -22, 60), _NOSE[::-1, 0], _NOSE[::-1, 1:]), -1, 0)
    z = z + np.clip(height, 0, None) * np.exp(-((x / width) ** 2.3))
    z = z + 11.5 * gauss(x, 12.6, 5.4) * gauss(y, -2.2, 6.0)  # wings
    z = z + 1.5 * gauss(x, 0, 7.5) * gauss(y, 1, 6.5)  # tip
    return z - 6.5 * gauss(x, 6.6, 3.4) * gauss(y, -9.6, 2.6)  # nostrils


def _lid_dome(x: Real, y: Real, z: Real) -> Real:
    """Skin over the eyeball: the closed lid, of which an open eye shows the part above and below its opening."""
    far2 = (x - EYE_CENTRE[0]) ** 2 + ((y - EYE_CENTRE[1]) * 1.02) ** 2
    radius = EYE_RADIUS + 1.5
    ball = EYE_CENTRE[2] + np.sqrt(np.clip(radius**2 - far2, 4.0, None)) - 0.05 * np.clip(far2 - radius**2 + 4, 0, None)
    return np.where(far2 < 30.0**2, larger(z, ball, 2.2), z)


# -- where the lips and the lids lie in the grid ------------------------------------------------------------------


def lip_heights(u: Real) -> tuple[Real, Real]:
    """Height of the red of the upper and the lower lip at `u`, 0 in the middle and +-1 at the corners; mm."""
    v = np.abs(u)
    body = np.clip(1 - v**2.1, 0, None)
    upper = 7.9 * body**0.85 * (1 - 0.17 * gauss(v, 0, 0.10) + 0.08 * gauss(v, 0.21, 0.12))
    lower = 9.6 * body**0.72
    fan = ramp((v - 1) / 0.6)
    return 0.9 + upper + fan * (UPPER_LIP - 0.9), 0.9 + lower + fan * (LOWER_LIP - 0.9)


def mouth_rows(a: Real, r: Real, side: Real) -> Real:
    """Rows bent so that those of the lips follow their outline."""
    d = r - MOUTH_ROW
    upper, lower = lip_heights(a / MOUTH_CORNER)
    above = np.where(d <= UPPER_LIP, d * upper / UPPER_LIP, upper + (d - UPPER_LIP) * (21 - upper) / (21 - UPPER_LIP))
    above = np.where(d > 21, d, above)
    e = -d
    below = np.where(e <= LOWER_LIP, e * lower / LOWER_LIP, lower + (e - LOWER_LIP) * (24 - lower) / (24 - LOWER_LIP))
    below = np.where(e > 24, e, below)
    bent = np.where((d > 0) | ((d == 0) & (side > 0)), above, -below)
    u = np.clip(np.abs(a) / MOUTH_CORNER, 0, 1.6)
    curve = (0.7 * gauss(u, 0.42, 0.3) - 1.3 * ramp(u)) * gauss(d, 0, 12)
    return MOUTH_ROW + bent + curve * gauss(u, 0.0, 1.9)


def lid_openings(a: Real) -> tuple[Real, Real]:
    """How far the upper lid stands above and the lower below the eye's line at column `a`; mm, 0 outside the eye."""
    t = np.clip((np.abs(a) - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
    upper = UPPER_LID * np.sin(np.pi * t**0.86) ** 0.72
    lower = LOWER_LID * np.sin(np.pi * t**1.12) ** 0.8
    return upper, lower


def lid_rows(a: Real, r: Real, eye_side: Real, upper: Real, lower: Real) -> Real:
    """Rows moved away from the eye's line by openings `upper` and `lower` (negative: beyond the line)."""
    d = r - EYE_ROW
    reach = np.clip(1 - np.abs(d) / LID_REACH, 0, None) ** 2
    t = np.clip((np.abs(a) - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
    tilt = 2.2 * (t - 0.45) * gauss(d, 0, 11) * gauss(np.abs(a), 30, 30)
    return r + np.where(eye_side > 0, upper, -lower) * reach + tilt


def lip_bulge(a: Real, row: Real, side: Real) -> Real:
    """How far the lips stand out at row `row` from the mouth's line; mm."""
    u = np.clip(np.abs(a) / MOUTH_CORNER, 0, 1)
    fullness = np.clip(1 - u**2.4, 0, None) ** 0.8
    up, low = np.clip(row / UPPER_LIP, 0, 3), np.clip(-row / LOWER_LIP, 0, 3)
    q_up, v_up = (
        np.array([0, 0.12, 0.35, 0.65, 0.95, 1.1, 1.5, 2.2, 3]),
        np.array([0.2, 2.6, 4.6, 5.0, 4.1, 3.5, 2.0, 0.6, 0]),
    )
    q_low, v_low = (
        np.array([0, 0.1, 0.3, 0.55, 0.85, 1.05, 1.4, 2, 3]),
        np.array([0.2, 2.8, 4.9, 5.5, 4.2, 2.6, 0.7, 0, 0]),
    )
    bulge = np.where(side > 0, np.interp(up, q_up, v_up), np.interp(low, q_low, v_low))
    corner = -1.7 * gauss(np.abs(a), MOUTH_CORNER + 2.0, 6.0) * gauss(row, 0, 7.5)
    return bulge * fullness + corner
