"""The parts of the project's own face, put together: skin, lining of the mouth, teeth, tongue, eyes, hair."""

from __future__ import annotations

import numpy as np

from emotalk_ros.face.default.mesh import (
    EAR,
    EYE,
    EYE_CENTRE,
    EYE_INNER,
    EYE_OUTER,
    EYE_RADIUS,
    EYE_ROW,
    GLINT,
    HALF_WIDTH,
    LINING,
    LOWER_LIP,
    LOWER_TEETH,
    MOUTH_CORNER,
    MOUTH_ROW,
    SKIN,
    TONGUE,
    UPPER_LIP,
    UPPER_TEETH,
    Ids,
    Mesh,
    Real,
    gauss,
    lid_openings,
    lid_rows,
    lip_bulge,
    mouth_rows,
    ramp,
    skin_point,
)

_SKIN = np.array([226, 180, 155.0])
_LIPS = np.array([196, 124, 112.0])
_BROW = np.array([66, 44, 33.0])
_HAIR = np.array([70, 47, 36.0])
_LASH = np.array([58, 38, 34.0])
_INSIDE = np.array([128, 58, 58.0])
_DARK = np.array([46, 18, 20.0])

_NONE = np.zeros((0, 3), dtype=np.int64)


def _columns() -> Real:
    """Columns from ear to ear, close together where the face moves."""
    mouth = np.linspace(0, MOUTH_CORNER, 20)
    rest = np.linspace(MOUTH_CORNER, EYE_OUTER, 11)[1:]
    side = np.array([46.8, 49.4, 52.4, 56, 60, 64, 68, 71.6, 74, 76, 82, 90, 100])
    half = np.concatenate([mouth, rest, side])
    half[np.argmin(np.abs(half - EYE_INNER))] = EYE_INNER
    return np.concatenate([-half[:0:-1], half])


def _rows() -> Real:
    """Rows from the neck to the crown, each of the mouth's line and the eye's line once."""
    neck = [-150, -135, -122, -112, -105, -99, -94, -90, -86, -82.5, -79.5, -76.5, -73, -69.5, -66, -62.5, -59.5]
    lower = [-57, -54.5, -52, -50, -48, -46.3, -45, -44.3, -43.6, -42.4, -41, -39.5, -38, -36.8, -35.7, -34.8, -34.3]
    upper = [-34, -33.7, -33.2, -32.4, -31.3, -30, -28.6, -27.2, -26.3, -25.7, -24.8, -23.2, -21.4, -19.5, -17.5, -15.5]
    nose = [-13.7, -12.2, -10.9, -9.7, -8.5, -7.2, -5.8, -4.2, -2.4, -0.4, 1.8, 4.2, 7, 10, 13.2, 16.4]
    eye = [19.4, 22, 24.2, 26.2, 28, 29.6, 31, 32.2, 33.2, 34, 34.9, 36, 37.3, 38.7, 40.1, 41.6, 43.2, 45, 46.8]
    brow = [48.5, 50.1, 51.6, 53.1, 54.6, 56.2, 57.9]
    forehead = np.arange(59.6, 90, 1.7)  # close enough for wrinkles
    crown = [92.5, 97, 102, 107.5, 113, 118, 121.5, 124]
    return np.array([*neck, *lower, *upper, *nose, *eye, *brow, *forehead, *crown], dtype=float)


class Grid:
    """The skin's vertices: which of them each place in the grid has, seen from above and from below a slit."""

    def __init__(self) -> None:
        self.a, self.r = _columns(), _rows()
        self.mouth_row = int(np.argmin(np.abs(self.r - MOUTH_ROW)))
        self.eye_row = int(np.argmin(np.abs(self.r - EYE_ROW)))
        columns, rows = np.meshgrid(self.a, self.r)
        count = columns.size
        self.above = np.arange(count).reshape(columns.shape)  # as a quad above sees it
        self.below = self.above.copy()
        self.mouth_columns = np.flatnonzero(np.abs(self.a) < MOUTH_CORNER - 0.01)
        inside = (np.abs(self.a) > EYE_INNER + 0.01) & (np.abs(self.a) < EYE_OUTER - 0.01)
        self.eye_columns = {sign: np.flatnonzero(inside & (np.sign(self.a) == sign)) for sign in (1, -1)}
        slits = [(self.mouth_row, c) for c in self.mouth_columns]
        slits += [(self.eye_row, c) for part in self.eye_columns.values() for c in part]
        i, j = np.array(slits).T
        self.below[i, j] = count + np.arange(len(slits))
        self.column = np.concatenate([columns.ravel(), columns[i, j]])
        self.row = np.concatenate([rows.ravel(), rows[i, j]])
        # +1: on or above the line; the doubles are the lower lip and lids.
        self.side = np.concatenate(
            [np.where(rows.ravel() < MOUTH_ROW, -1.0, 1.0), np.where(i == self.mouth_row, -1, 1)]
        )
        self.eye_side = np.concatenate([np.where(rows.ravel() < EYE_ROW, -1.0, 1.0), -np.ones(len(i))])

    def triangles(self) -> Ids:
        """Two triangles for each cell; the lower edge of a cell is seen from above, the upper from below."""
        a, b = self.above[:-1, :-1].ravel(), self.above[:-1, 1:].ravel()
        c, d = self.below[1:, 1:].ravel(), self.below[1:, :-1].ravel()
        # Mirror the diagonals about the middle line, so that the two halves are alike.
        left = np.broadcast_to((self.a[:-1] >= 0)[None, :], (len(self.r) - 1, len(self.a) - 1)).ravel()
        one = np.where(left[:, None], np.stack([a, b, c], 1), np.stack([a, b, d], 1))
        two = np.where(left[:, None], np.stack([a, c, d], 1), np.stack([b, c, d], 1))
        return np.concatenate([one, two])

    def points(self, upper: Real | None = None, lower: Real | None = None) -> Real:
        """The skin (n, 3) with the eye open by `upper` and `lower` (per vertex, mm; default: at rest)."""
        rest_upper, rest_lower = lid_openings(self.column)
        upper = rest_upper if upper is None else upper
        lower = rest_lower if lower is None else lower
        rows = mouth_rows(self.column, self.row, self.side)
        rows = lid_rows(self.column, rows, self.eye_side, upper, lower)
        points = skin_point(self.column, rows)
        points[:, 2] += lip_bulge(self.column, self.row - MOUTH_ROW, self.side)
        points[:, 2] -= self._crease()
        return points

    def _crease(self) -> Real:
        """The fold of the upper lid: a groove that follows the lid's edge."""
        t = np.clip((np.abs(self.column) - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
        d = self.row - EYE_ROW
        return 1.1 * gauss(d, 4.6, 1.5) * np.sin(np.pi * t).clip(0) ** 0.5 * (d > 0)


def _skin_colours(grid: Grid, points: Real) -> Real:
    x, y = np.abs(points[:, 0]), points[:, 1]
    colours = np.tile(_SKIN, (len(points), 1))
    blush = 0.26 * gauss(x, 40, 17) * gauss(y, 0, 15) + 0.16 * gauss(x, 0, 12) * gauss(y, 1, 9)
    colours = _mix(colours, np.array([214, 134, 118]), blush)
    colours = _mix(colours, np.array([176, 120, 104]), 0.45 * gauss(x, 30, 17) * gauss(y, 35, 12))  # around the eyes
    row = grid.row - MOUTH_ROW
    red = (np.abs(grid.column) < MOUTH_CORNER + 0.1) & (row <= UPPER_LIP - 0.1) & (row >= -LOWER_LIP + 0.1)
    colours[red] = _mix(np.tile(_LIPS, (int(red.sum()), 1)), _INSIDE, 0.55 * gauss(row[red], 0, 1.1))
    corner = 0.6 * gauss(np.abs(grid.column), MOUTH_CORNER, 2.4) * gauss(row, 0, 2.2)
    colours = _mix(colours, _DARK + 40, corner)
    colours = _mix(colours, _DARK, 0.95 * np.clip(1.35 * gauss(x, 6.8, 3.5) * gauss(y, -10.3, 2.1), 0, 1))  # nostrils
    lash = gauss(grid.row - EYE_ROW, 0, 1.2) * _in_eye(grid.column)
    return _mix(colours, _LASH, np.where(grid.eye_side > 0, 0.9, 0.4) * lash)


def _in_eye(column: Real) -> Real:
    return ((np.abs(column) > EYE_INNER - 0.01) & (np.abs(column) < EYE_OUTER + 0.01)).astype(float)


def _mix(colours: Real, other: Real, share: Real | float) -> Real:
    share = np.clip(np.asarray(share, dtype=float), 0, 1)[..., None]
    return colours * (1 - share) + other * share


def strip(rows: list[Ids], flip: bool = False) -> Ids:
    """Triangles of a sheet whose rows are vertex ids of equal length."""
    table = np.stack(rows)
    a, b, c, d = table[:-1, :-1].ravel(), table[:-1, 1:].ravel(), table[1:, 1:].ravel(), table[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return triangles[:, ::-1] if flip else triangles


def build() -> tuple[Mesh, Grid]:
    """The whole neutral face."""
    mesh, grid = Mesh(), Grid()
    points = grid.points()
    mesh.add(
        points,
        grid.triangles(),
        _skin_colours(grid, points),
        SKIN,
        side=grid.side,
        row=grid.row - MOUTH_ROW,
        column=grid.column,
    )
    _add_hair(mesh)
    _add_lining(mesh, grid, points)
    _add_lid_margins(mesh, grid, points)
    _add_teeth(mesh, upper=True)
    _add_teeth(mesh, upper=False)
    _add_tongue(mesh)
    for sign in (1, -1):
        _add_eye(mesh, sign)
        _add_brow(mesh, sign)
        _add_ear(mesh, sign)
    return mesh, grid


_HAIRLINE = np.array(
    [
        [0, 91],
        [14, 92],
        [28, 92.5],
        [40, 89],
        [48, 82],
        [54, 72],
        [58, 62],
        [62, 52],
        [65.5, 44],
        [68, 34],
        [69.5, 20],
        [73, 18],
        [75, 30],
        [80, 38],
        [86, 0],
        [100, -40],
    ],
    dtype=float,
)
"""Column and row of the edge of the hair."""


def _add_hair(mesh: Mesh) -> None:
    """A cap of short hair: sheets of the head's surface above the hairline, lifted off it."""
    columns = np.concatenate([np.linspace(-100, -46, 32), np.linspace(-44, 44, 41), np.linspace(46, 100, 32)])
    edge = np.interp(np.abs(columns), _HAIRLINE[:, 0], _HAIRLINE[:, 1])
    share = np.array([0, 0.012, 0.04, 0.09, 0.16, 0.25, 0.36, 0.48, 0.6, 0.72, 0.84, 0.94, 1.0])
    strand = 0.10 * np.sin(columns * 2.1) + 0.08 * np.sin(columns * 0.83 + 1) + 0.06 * np.sin(columns * 4.7)
    rows = []
    for k in share:
        row = edge + (124.0 - edge) * k
        points = skin_point(columns, row)
        away = points - np.array([0, 40, 0.0])
        lift = 0.4 + 7.6 * (1 - np.exp(-(row - edge) / 7.0)) + 0.5 * strand * min(1.0, k * 9)
        points = points + away / np.linalg.norm(away, axis=1, keepdims=True) * lift[:, None]
        colours = np.tile(_HAIR, (len(columns), 1)) * (1 + strand[:, None])
        colours = _mix(colours, _SKIN * 0.82, 0.75 if k == 0 else 0.35 if k < 0.02 else 0.0)
        rows.append(mesh.add(points, _NONE, colours, SKIN, row=row - MOUTH_ROW, column=columns))
    mesh.triangles.append(strip(rows))
    top = np.concatenate(mesh.points)[rows[-1]].mean(axis=0, keepdims=True) + np.array([[0, 3.0, 0]])
    crown = mesh.add(top, _NONE, _HAIR, SKIN, row=EYE_ROW * 4)[0]
    mesh.triangles.append(np.stack([rows[-1][:-1], rows[-1][1:], np.full(len(columns) - 1, crown)], axis=1))


_LINING_STEPS = (
    (0.0, 0.0, 0.0),
    (0.25, -1.6, 0.08),
    (0.9, -3.6, 0.2),
    (3.0, -6.0, 0.45),
    (8.0, -10.0, 0.7),
    (13.0, -26.0, 1.0),
)
"""From the lip's edge inwards: away from the mouth's line, forwards (mm), and depth 0..1."""


def _add_lining(mesh: Mesh, grid: Grid, points: Real) -> None:
    """From each lip's edge back into the mouth, its sides, and the dark wall at its end.

    Laid twice, facing in and, darker, facing out: seen from the side one looks at the back of the far lip.
    """
    columns = np.concatenate([[grid.mouth_columns[0] - 1], grid.mouth_columns, [grid.mouth_columns[-1] + 1]])
    rims = {1: points[grid.above[grid.mouth_row, columns]], -1: points[grid.below[grid.mouth_row, columns]]}
    inside = [_mix(_LIPS, _INSIDE, 0.4), _mix(_LIPS, _INSIDE, 0.8), _INSIDE, _INSIDE * 0.85, _DARK * 1.3, _DARK]
    for outwards in (False, True):
        shades = [_DARK * 1.2] * 6 if outwards else inside
        sheets = {side: _lining_rows(mesh, rims[side], grid.a[columns], side, shades) for side in (1, -1)}
        for side, rows in sheets.items():
            mesh.triangles.append(strip(rows, flip=(side < 0) != outwards))
        mesh.triangles.append(strip([sheets[-1][-1], sheets[1][-1]], flip=outwards))
        for place in (0, -1):
            walls = [np.array([row[place] for row in sheets[side]]) for side in (-1, 1)]
            mesh.triangles.append(strip(walls, flip=(place == -1) != outwards))


def _lining_rows(mesh: Mesh, rim: Real, column: Real, side: int, shades: list[Real]) -> list[Ids]:
    rows = []
    opening = np.clip(1 - (column / MOUTH_CORNER) ** 2, 0, 1) ** 0.5
    for (dy, dz, depth), shade in zip(_LINING_STEPS, shades, strict=True):
        moved = rim + np.stack([-0.25 * depth * rim[:, 0], side * dy * opening, np.full(len(rim), dz)], axis=1)
        rows.append(mesh.add(moved, _NONE, shade, LINING, anchors=rim, side=side, depth=depth, column=column))
    return rows


def _add_lid_margins(mesh: Mesh, grid: Grid, points: Real) -> None:
    """The thickness of the lids, from their edges in to the eyeball."""
    for sign, inner in grid.eye_columns.items():
        columns = np.concatenate([[inner[0] - 1], inner, [inner[-1] + 1]])
        for side, table in ((1, grid.above), (-1, grid.below)):
            edge = table[grid.eye_row, columns]
            rim = points[edge]
            rows = [edge]
            for inwards, share in ((1.3, 0.35), (4.0, 0.8), (9.0, 1.0)):
                centre = EYE_CENTRE * [sign, 1, 1]
                moved = rim + (centre - rim) / np.linalg.norm(centre - rim, axis=1, keepdims=True) * inwards
                colour = _LASH if side > 0 else _mix(np.array([206, 150, 138.0]), _LASH, share - 0.3)
                rows.append(
                    mesh.add(
                        moved,
                        _NONE,
                        colour,
                        SKIN,
                        anchors=rim,
                        side=1.0,
                        row=EYE_ROW - MOUTH_ROW,
                        column=grid.a[columns],
                        follows=edge,
                    )
                )
            mesh.triangles.append(strip(rows, flip=side < 0))


def _add_brow(mesh: Mesh, sign: int) -> None:
    """A brow of its own just above the skin, so that its outline is clean."""
    t, across = np.meshgrid(np.linspace(0, 1, 34), np.linspace(-1, 1, 9), indexing="ij")
    column = 9.5 + 41.5 * t
    middle = 51.6 + 4.0 * np.sin(np.pi * np.clip(0.06 + 0.86 * t, 0, 1) ** 1.35) - 2.0 * t
    half = 3.5 * (0.55 + 0.45 * ramp(t / 0.25)) * np.clip(1 - (1 - np.clip(t / 0.07, 0, 1)) ** 2, 0, 1) ** 0.5
    half = half * (1 - 0.72 * t**1.8)
    points = skin_point(sign * column, middle + half * across).reshape(-1, 3)
    lift = (0.5 + 0.9 * (1 - across**2)).reshape(-1)
    points = points + lift[:, None] * np.array([sign * 0.25, 0.15, 1.0])
    ids = np.arange(t.size).reshape(t.shape)
    thin = (0.45 * np.abs(across) ** 3 + 0.5 * np.abs(2 * t - 1) ** 5).reshape(-1)
    colours = _mix(np.tile(_BROW, (t.size, 1)), _SKIN * 0.8, thin)
    mesh.add(
        points,
        strip(list(ids), flip=sign > 0),
        colours,
        SKIN,
        row=middle.reshape(-1) - MOUTH_ROW,
        column=sign * column.reshape(-1),
    )


def _add_teeth(mesh: Mesh, upper: bool) -> None:
    """A row of twelve teeth on an arch, with gums."""
    per = 5
    along = np.linspace(-1, 1, 12 * per + 1)
    half, front, depth = (22.5, 104.5, 24.0) if upper else (20.5, 101.5, 22.0)
    across = half * np.sin(along * 1.25) / np.sin(1.25)
    arch = front - depth * (across / half) ** 2 * (0.55 + 0.45 * (across / half) ** 2)
    phase = np.abs(np.mod(along * 6, 1) - 0.5) * 2  # 0 in the middle of a tooth, 1 between two
    bulge = 0.8 * (1 - phase**4)
    heights, shades = (0.0, 2.2, 3.0, 7.6, 10.2), (0.9, 0.9, 0.0, 0.0, 0.0)
    edge, direction = (-36.2, 1) if upper else (-36.6, -1)
    rows = []
    for height, gum in zip(heights[::-1], shades[::-1], strict=True):
        y = edge + direction * (10.2 - height) + direction * 0.6 * phase**3 * (height > 10)
        points = np.stack([across, np.broadcast_to(y, across.shape), arch + bulge * (1 - gum) - 0.5 * gum], axis=1)
        white = _mix(np.tile([238.0, 232, 218], (len(across), 1)), np.array([150, 120, 105]), 0.75 * phase**8)
        back = 0.55 * (np.abs(across) / half) ** 2
        colours = _mix(_mix(white, np.array([190, 96, 92.0]), gum), _DARK, back)
        rows.append(mesh.add(points, _NONE, colours, UPPER_TEETH if upper else LOWER_TEETH))
    mesh.triangles.append(strip(rows, flip=not upper))


def _add_tongue(mesh: Mesh) -> None:
    """The upper side of a tongue from its root to its tip, with the tip rounded down."""
    v, u = np.meshgrid(np.linspace(0, 1, 16), np.linspace(-1, 1, 13), indexing="ij")
    forwards = np.sin(np.clip(v, 0, 1) * np.pi / 2)
    width = 17.0 * np.sqrt(np.clip(1 - np.clip((v - 0.5) / 0.505, 0, 1) ** 2.4, 0, 1)) * (0.8 + 0.2 * ramp(v * 2))
    x = width * u
    z = 62 + 36.5 * forwards
    y = (
        -39.5
        + 3.0 * np.sin(np.pi * np.clip(v * 1.05, 0, 1))
        - 3.4 * (width / 17) * np.abs(u) ** 2.5
        - 4.5 * ramp((v - 0.78) / 0.22)
    )
    y = y - 0.9 * gauss(u, 0, 0.16) * ramp(v * 3) * ramp((0.85 - v) * 4)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    shade = np.clip(0.75 - v, 0, 1).reshape(-1)
    ids = np.arange(v.size).reshape(v.shape)
    colours = _mix(np.tile([196.0, 106, 104], (v.size, 1)), _DARK, shade)
    mesh.add(points, strip(list(ids), flip=True), colours, TONGUE, depth=v.reshape(-1), column=u.reshape(-1))


_EYE_RINGS: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.0, (14, 12, 14)),
    (8.0, (14, 12, 14)),
    (8.6, (70, 88, 96)),
    (14.0, (104, 132, 140)),
    (19.5, (74, 98, 110)),
    (21.6, (34, 42, 50)),
    (22.6, (150, 150, 152)),
    (24.0, (236, 232, 228)),
    (32.0, (238, 233, 229)),
    (44.0, (232, 220, 214)),
    (56.0, (214, 186, 178)),
    (68.0, (186, 140, 132)),
    (82.0, (140, 92, 88)),
)
"""Angle from the line of sight (degrees) and colour of the eyeball's rings."""


def _add_eye(mesh: Mesh, sign: int) -> None:
    around = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    centre = EYE_CENTRE * [sign, 1, 1]
    points, colours = [], []
    for degrees, colour in _EYE_RINGS:
        angle = np.radians(degrees)
        ring = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.full(28, np.cos(angle))], 1)
        points.append(centre + EYE_RADIUS * ring)
        # The upper lid throws its shadow on the ball.
        shadow = 0.42 * ramp((EYE_RADIUS * ring[:, 1] - 1.5) / 6.5) if degrees > 8 else np.zeros(28)
        colours.append(_mix(np.tile(np.array(colour, dtype=float), (28, 1)), np.array([70, 50, 50]), shadow))
    ids = np.arange(28 * len(points)).reshape(len(points), 28)
    rows = [np.append(row, row[0]) for row in ids]
    mesh.add(np.concatenate(points), strip(rows, flip=True), np.concatenate(colours), EYE, side=sign)
    _add_glint(mesh, centre, sign)


def _add_glint(mesh: Mesh, centre: Real, sign: int) -> None:
    """The reflection of the lamp: it stays where it is when the eye turns."""
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    offset = np.stack([1.25 * np.cos(around) - 2.6, 1.25 * np.sin(around) + 3.0], 1)
    offset = np.concatenate([[[-2.6, 3.0]], offset])
    z = np.sqrt((EYE_RADIUS + 0.15) ** 2 - (offset**2).sum(1))
    points = centre + np.concatenate([offset, z[:, None]], 1)
    fan = np.stack([np.zeros(10, dtype=int), np.arange(1, 11), np.append(np.arange(2, 11), 1)], 1)
    mesh.add(points, fan, np.array([255, 255, 255.0]), GLINT, side=sign)


def _add_ear(mesh: Mesh, sign: int) -> None:
    """A shell with a hollow, standing off the side of the head."""
    rings, around = np.linspace(0, 1, 8), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    v, t = np.meshgrid(rings, around, indexing="ij")
    tall = np.where(np.sin(t) > 0, 30.0, 29.0)
    wide = 17.0 * (1 - 0.35 * np.clip(-np.sin(t), 0, 1))
    rim = 3.6 * gauss(v, 0.8, 0.16) - 3.5 * gauss(v, 0.15, 0.4) - 4.0 * ramp((v - 0.9) / 0.1)
    y = 15 + v * tall * np.sin(t) + 0.2 * v * wide * np.cos(t)
    z = -6 - 0.75 * v * wide * np.cos(t)
    x = sign * (HALF_WIDTH + 4.0 + rim + 9.5 * v * np.cos(t) + 2.5 * v * np.sin(t))
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    ids = np.arange(v.size).reshape(v.shape)
    rows = [np.append(row, row[0]) for row in ids]
    hollow = 0.4 * gauss(v.reshape(-1), 0.1, 0.45)
    colours = _mix(_mix(np.tile(_SKIN, (v.size, 1)), np.array([214, 134, 118.0]), 0.3), _DARK + 60, hollow)
    mesh.add(points, strip(rows, flip=sign > 0), colours, EAR, side=sign)
