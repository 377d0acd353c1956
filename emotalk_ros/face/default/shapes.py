"""How each of the 52 shapes moves the project's own face: displacement fields in mm, evaluated at its vertices.

The jaw turns about an axis before the ears; lids slide over the eyeball; eyes turn; the rest are smooth fields around
the muscles' places. A shape of one side fades out across the middle line. Amplitudes are those of a strong but human
movement.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emotalk_ros.face.default.mesh import (
    EYE,
    EYE_CENTRE,
    GLINT,
    LINING,
    LOWER_LID,
    LOWER_LIP,
    LOWER_TEETH,
    MOUTH_CORNER,
    SKIN,
    TONGUE,
    UPPER_LID,
    UPPER_LIP,
    Mesh,
    Real,
    gauss,
    lid_openings,
    ramp,
)
from emotalk_ros.face.default.parts import Grid
from emotalk_ros.face.names import ARKIT_NAMES

JAW_AXIS = np.array([0.0, 6.0, 14.0])
JAW_ANGLE = np.radians(19.85)
"""Turn of the jaw at jawOpen 1: the chin then travels 42 mm."""
MEETING = 0.30
"""Where lips meet that mouthClose closes over an open jaw, as a share of the jaw's motion."""
BLINK_LINE = 0.62
"""Where the lids meet, as a share of the lower lid's opening below the eye's line."""


class Shapes:
    """Displacement fields of one mesh; `all()` gives the basis."""

    def __init__(self, mesh: Mesh, grid: Grid) -> None:
        self.grid = grid
        self.points = np.concatenate(mesh.points)
        self.anchor = np.concatenate(mesh.anchors)
        numbers = np.concatenate(mesh.numbers)
        self.kind, self.side, self.row, self.depth, self.column, follows = numbers.T
        self.follows = follows.astype(np.int64)
        self.x, self.y, self.z = self.anchor.T
        self.ax = np.abs(self.x)
        self.soft = np.isin(self.kind, (SKIN, LINING)).astype(float)
        self.skin = (self.kind == SKIN).astype(float)
        shallow = 1 - 0.75 * self.depth
        self.u = np.clip(np.abs(self.column) / MOUTH_CORNER, 0, 1.5)
        self.opening = np.clip(1 - self.u**2, 0, None) * self.soft
        """1 at the middle of the mouth, 0 at its corners and beyond."""
        self.upper_fade = (self.side > 0) * ramp((20 - self.row) / (20 - UPPER_LIP)) * shallow
        self.lower_fade = (self.side < 0) * ramp((23 + self.row) / (23 - LOWER_LIP)) * shallow
        self.upper_lip = self.upper_fade * self.opening
        self.lower_lip = self.lower_fade * self.opening
        self.mouth = gauss(self.x, 0, 33) * gauss(self.y, -35, 17) * self.soft * shallow
        self.jaw_base = self._jaw_base()
        self.jaw = self._jaw_weight()

    # -- helpers --------------------------------------------------------------------------------------------

    def vector(self, weight: Real, dx: float | Real, dy: float | Real, dz: float | Real) -> Real:
        """(V, 3) of one direction times a weight (V,)."""
        return np.stack([weight * dx, weight * dy, weight * dz], axis=1)

    def half(self, sign: int, blend: float = 5.0) -> Real:
        """1 on the side `sign`, 0 on the other."""
        return ramp((sign * self.x + blend) / (2 * blend))

    def spot(self, x: float, y: float, width: float, height: float) -> Real:
        """A soft spot on both sides of the face, `x` from the middle."""
        return gauss(self.ax, x, width) * gauss(self.y, y, height) * self.soft * (self.z > -5)

    # -- jaw ------------------------------------------------------------------------------------------------

    def _jaw_base(self) -> Real:
        """Share of the jaw's motion of cheeks, corners and chin: 0 at the ear's height, 1 at the chin."""
        down = ramp((2 - self.y) / 78)
        neck = ramp((self.y + 122) / 38)
        return down * neck * ramp((self.z - 2) / 50)

    def _jaw_weight(self) -> Real:
        # Round at the lips, without a crease in the skin further off.
        lips = gauss(self.row, 0, 10) * self.soft
        near = ramp(self.u) * (1 - lips) + np.clip(self.u, 0, 1) ** 2.7 * lips
        upper = self.jaw_base * near**1.2
        lower = self.jaw_base + (ramp((self.y + 122) / 38) * ramp((self.z - 20) / 50) - self.jaw_base) * (1 - near)
        weight = np.where(self.side > 0, upper, lower)
        deep = np.where(self.side > 0, 0.0, 1.0)
        weight = np.where(self.kind == LINING, weight + (deep - weight) * ramp(self.depth * 1.3), weight)
        weight = np.where(np.isin(self.kind, (LOWER_TEETH, TONGUE)), 1.0, weight)
        return np.where(np.isin(self.kind, (SKIN, LINING, LOWER_TEETH, TONGUE)), weight, 0.0)

    def _turned(self) -> Real:
        """Displacement by the full turn of the jaw."""
        rest = (
            self.anchor
            if self.anchor is self.points
            else np.where((self.kind == LINING)[:, None], self.anchor, self.points)
        )
        y, z = rest[:, 1] - JAW_AXIS[1], rest[:, 2] - JAW_AXIS[2]
        c, s = np.cos(JAW_ANGLE), np.sin(JAW_ANGLE)
        return np.stack([np.zeros_like(y), y * c - z * s - y, z * c + y * s - z], axis=1)

    def jaw_open(self) -> Real:
        """The jaw turns; the corners are drawn in a little."""
        moved = self._turned() * self.jaw[:, None]
        return moved + self.vector(self.spot(26, -36, 13, 14), -2.4 * np.sign(self.x), 0, 0)

    def mouth_close(self) -> Real:
        """Undoes what jawOpen does to the lips: at equal coefficients both lips are at the same place."""
        inside = np.clip(1 - self.u**2, 0, None)
        meeting = MEETING * inside + self.jaw_base * (1 - inside)
        fade = np.where(self.side > 0, self.upper_fade, self.lower_fade) * (self.u < 1) * self.soft
        return self._turned() * (fade * (meeting - self.jaw))[:, None]

    def jaw_slide(self, dx: float, dz: float) -> Real:
        """The jaw moves sideways or forwards, the upper lip follows a little."""
        weight = self.jaw + 0.2 * self.upper_lip * (1 - self.jaw)
        return self.vector(weight, dx, 0, dz - 0.006 * dx * self.x)

    # -- eyes -----------------------------------------------------------------------------------------------

    def lids(self, sign: int, upper: Callable[[Real, Real], Real], lower: Callable[[Real, Real], Real]) -> Real:
        """Lids of one eye open by `upper(up, low)` and `lower(up, low)` instead of their openings at rest."""
        grid = self.grid
        up, low = lid_openings(grid.column)
        here = np.sign(grid.column) == sign
        rest = grid.points()
        moved = grid.points(np.where(here, upper(up, low), up), np.where(here, lower(up, low), low))
        out = np.zeros_like(self.points)
        out[: len(rest)] = moved - rest
        tied = self.follows >= 0
        out[tied] = out[self.follows[tied]]
        return out

    def blink(self, sign: int) -> Real:
        """The upper lid comes down most of the way, the lower rises to it."""
        return self.lids(sign, lambda up, low: -BLINK_LINE * low - 0.1, lambda up, low: BLINK_LINE * low)

    def look(self, sign: int, right: float, up: float) -> Real:
        """The eye turns, degrees towards +x and up; upper and lower lid follow a look up or down."""
        centre = EYE_CENTRE * [sign, 1, 1]
        yaw, pitch = np.radians(right), np.radians(up)
        rel = self.points - centre
        x = rel[:, 0] * np.cos(yaw) + rel[:, 2] * np.sin(yaw)
        z = rel[:, 2] * np.cos(yaw) - rel[:, 0] * np.sin(yaw)
        y, z = rel[:, 1] * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - rel[:, 1] * np.sin(pitch)
        turned = np.stack([x, y, z], axis=1) - rel
        mine = (self.kind == EYE) & (self.side == sign)
        lift = 0.11 if up > 0 else 0.21
        drop = 0.05
        follow = self.lids(sign, lambda a, b: a + lift * up * a / UPPER_LID, lambda a, b: b - drop * up * b / LOWER_LID)
        return turned * mine[:, None] + follow

    def squint(self, sign: int) -> Real:
        """The lower lid rises, the upper sinks a little, the cheek is drawn up."""
        moved = self.lids(sign, lambda a, b: a - 1.7 * a / UPPER_LID, lambda a, b: b - 3.0 * b / LOWER_LID)
        return moved + self.vector(self.spot(34, 20, 16, 6) * self.half(sign), 0, 1.6, 1.2)

    # -- brows, nose, cheeks ----------------------------------------------------------------------------------

    def fold(self, weight: Real, distance: Real, width: float, depth: float) -> Real:
        """A furrow `depth` mm deep where `distance` (mm) is 0, with a swelling on either side of it."""
        groove = gauss(distance, 0, width) - 0.55 * gauss(np.abs(distance), 2.2 * width, width)
        return self.vector(weight * self.skin * groove, 0, 0, -depth)

    def forehead_lines(self, weight: Real, depth: float) -> Real:
        """Wrinkles across the forehead, 7.5 mm apart, drooping a little towards the temples."""
        distance = np.mod(self.y - 64.5 + 0.0016 * self.x**2 + 3.75, 7.5) - 3.75
        return self.fold(weight * ramp((self.y - 59) / 5) * ramp((91 - self.y) / 8), distance, 1.3, depth)

    def beside_the_mouth(self, sign: int, depth: float) -> Real:
        """The fold from the nose's wing to the mouth's corner."""
        distance = self.ax - 19.5 - 0.42 * (-self.y - 6)
        weight = gauss(self.y, -20, 15) * ramp((self.y + 44) / 12) * self.half(sign)
        return self.fold(weight, distance, 3.0, depth)

    def brow_down(self, sign: int) -> Real:
        """Inner and middle brow sink and draw together, with furrows between them and over the nose's root."""
        side = self.half(sign, 9)
        weight = self.spot(19, 51, 19, 10) * side
        upright = self.fold(gauss(self.y, 53, 8) * self.half(sign, 1.5), self.ax - 4.6 - 0.06 * (self.y - 53), 1.6, 1.8)
        across = self.fold(gauss(self.x, 0, 9) * side * 0.5, self.y - 42, 1.7, 1.6)
        return self.vector(weight, -3.4 * sign, -8.6 + 0.05 * (self.ax - 12), 1.8) + upright + across

    def brow_inner_up(self) -> Real:
        """Inner ends of both brows rise and draw together a little; the forehead wrinkles above them."""
        moved = self.vector(self.spot(8, 55, 17, 15), -1.2 * np.tanh(self.x / 6), 11.0, 0.4)
        return moved + self.forehead_lines(gauss(self.x, 0, 24), 1.1)

    def brow_outer_up(self, sign: int) -> Real:
        """The outer part of a brow rises; the forehead wrinkles above it."""
        moved = self.vector(self.spot(40, 57, 19, 14) * self.half(sign), 0, 10.0, -0.6)
        return moved + self.forehead_lines(gauss(self.ax, 34, 18) * self.half(sign), 0.9)

    def sneer(self, sign: int) -> Real:
        """The nose's wing and the lip beneath rise, the nose's side wrinkles."""
        side = self.half(sign)
        wing = self.vector(self.spot(14, -1, 8, 9) * side, 0.8 * sign, 5.0, 0.6)
        # The muscle of the nose's wing lifts the whole half of the lip, the middle as well (as in scans of real faces).
        lip = self.vector(self.upper_fade * self.opening**0.5 * self.half(sign, 12), 0, 5.8, 0.4)
        root = self.vector(self.spot(10, 42, 10, 9) * side, 0, -2.6, 1.2)
        cheek = self.vector(self.spot(24, 4, 11, 12) * side, 0, 3.8, 2.2)
        slanted = np.mod(self.y + 0.3 * self.ax - 31 + 3.0, 6.0) - 3.0
        bridge = self.fold(gauss(self.ax, 8, 6) * gauss(self.y, 28, 9) * side, slanted, 1.5, 1.5)
        return wing + lip + root + cheek + bridge + self.beside_the_mouth(sign, 1.8)

    def cheek_puff(self) -> Real:
        """Both cheeks blow out; lips stay shut and push forwards a little."""
        weight = self.spot(42, -25, 19, 19)
        return self.vector(weight, 7.0 * np.sign(self.x), 0, 9.0) + self.vector(self.mouth, 0, 0, 1.6)

    def cheek_squint(self, sign: int) -> Real:
        """The cheek rises under the eye and lifts the lower lid."""
        cheek = self.vector(self.spot(37, 8, 16, 11) * self.half(sign), 0, 5.2, 2.8)
        bag = self.fold(gauss(self.ax, 31, 13) * self.half(sign), self.y - 24.5 - 0.01 * (self.ax - 31) ** 2, 1.6, 1.0)
        # Crow's feet: three lines that run out from the eye's corner.
        angle = np.arctan2(self.y - 33, self.ax - 44) / 0.42
        outside = gauss(self.ax, 55, 6) * gauss(self.y, 33, 9) * self.half(sign)
        lines = self.fold(outside, 5 * (angle - angle.round()), 1.3, 0.8)
        lids = self.lids(sign, lambda a, b: a, lambda a, b: b - 1.6 * b / LOWER_LID)
        return cheek + lids + bag + lines

    # -- mouth ----------------------------------------------------------------------------------------------

    def corner(self, sign: int, out: float, up: float, forward: float, height: float = 13.0) -> Real:
        """A corner of the mouth is drawn; lips and skin follow the nearer they are."""
        pull = gauss(self.ax, 27, 14) * gauss(self.y, -35, height)
        lips = np.maximum(self.upper_fade, self.lower_fade) * (self.u < 1.05) * np.clip(self.u, 0, 1) ** 1.8
        weight = np.maximum(pull, lips * gauss(self.y, -35, height + 4)) * self.soft * self.half(sign)
        weight = weight * np.where(self.kind == LINING, 1 - 0.5 * self.depth, 1)
        return self.vector(weight, out * sign, up, forward)

    def smile(self, sign: int) -> Real:
        """Corner up, out and back; the cheek bulges and rises, the lips thin."""
        cheek = self.vector(self.spot(42, -4, 15, 14) * self.half(sign), 1.8 * sign, 6.0, 5.4)
        thin = self.vector((self.upper_lip + self.lower_lip) * self.half(sign), 0, 0.6, -0.8)
        return self.corner(sign, 9.6, 11.2, -6.5) + cheek + thin + self.beside_the_mouth(sign, 2.2)

    def frown(self, sign: int) -> Real:
        """Corner down, with a furrow below it."""
        below = gauss(self.y, -48, 8) * self.half(sign)
        return self.corner(sign, 0.6, -9.4, -1.6) + self.fold(below, self.ax - 29.5 - 0.25 * (-self.y - 42), 2.2, 1.0)

    def stretch(self, sign: int) -> Real:
        """Corner out and a little down, the neck's muscle draws the lower lip."""
        lower = self.vector(self.lower_lip * gauss(self.ax, 14, 12) * self.half(sign), 0, -1.6, -0.6)
        return self.corner(sign, 9.2, -2.6, -6.0) + lower

    def shift(self, sign: int) -> Real:
        """The whole mouth moves to one side along the curve of the teeth."""
        return self.vector(self.mouth, 13.0 * sign, 0.6, -1.2 - 0.10 * sign * self.x)

    def funnel(self) -> Real:
        """Lips forward and apart, corners in."""
        moved = self.vector(self.mouth, -0.24 * self.x, 0, 7.0)
        return moved + self.vector(self.upper_lip, 0, 4.4, 2.2) + self.vector(self.lower_lip, 0, -5.4, 2.4)

    def pucker(self) -> Real:
        """Lips drawn together and forward."""
        return self.vector(self.mouth, -0.46 * self.x, 0, 8.5 + 2.5 * self.opening)

    def roll(self, lower: bool) -> Real:
        """A lip is rolled in over the teeth: its border comes to the mouth's line, its red goes in."""
        fade = self.lower_lip if lower else self.upper_lip
        share = np.clip(-self.row / LOWER_LIP if lower else self.row / UPPER_LIP, 0, 1)
        direction = 1.0 if lower else -1.0
        return self.vector(fade, 0, direction * (0.2 + 4.4 * share), -3.2 - 3.4 * np.sin(np.pi * np.clip(share, 0, 1)))

    def shrug_lower(self) -> Real:
        """The chin pushes the lower lip up and out, which lifts the upper."""
        chin = self.vector(gauss(self.x, 0, 20) * gauss(self.y, -62, 14) * self.soft, 0, 4.6, 1.8)
        chin = chin * (self.side < 0)[:, None] + self.fold(gauss(self.x, 0, 15), self.y + 54, 2.2, 1.2)
        return chin + self.vector(self.lower_lip, 0, 5.6, 3.6) + self.vector(self.upper_lip, 0, 3.4, 0.4)

    def shrug_upper(self) -> Real:
        """The upper lip rises and comes out, the lower follows."""
        return self.vector(self.upper_lip, 0, 3.4, 3.0) + self.vector(self.lower_lip, 0, 2.6, 0.6)

    def press(self, sign: int) -> Real:
        """The lips are pressed together on one side: their borders near, the red flattens."""
        side = gauss(self.ax, 10, 15) * self.half(sign, 8)
        up = np.clip(self.row / UPPER_LIP, 0, 1)
        low = np.clip(-self.row / LOWER_LIP, 0, 1)
        upper = self.vector(self.upper_lip * side, 0, -0.3 - 2.2 * up, -1.6)
        return upper + self.vector(self.lower_lip * side, 0, 0.3 + 2.6 * low, -1.6)

    def lower_down(self, sign: int) -> Real:
        """The lower lip is drawn down on one side and bares the teeth."""
        weight = self.lower_lip * gauss(self.ax, 9, 15) * self.half(sign, 10)
        return self.vector(weight, 1.0 * sign, -6.8, 0.8)

    def upper_up(self, sign: int) -> Real:
        """The upper lip is drawn up on one side, and the fold beside the nose with it."""
        weight = self.upper_lip * gauss(self.ax, 9, 15) * self.half(sign, 10)
        fold = self.vector(self.spot(22, -10, 9, 12) * self.half(sign), 0, 3.2, 1.4)
        return self.vector(weight, 0.6 * sign, 6.0, 0.4) + fold + self.beside_the_mouth(sign, 1.4)

    def tongue_out(self) -> Real:
        """The jaw opens a third, the tongue comes out over the lower lip and bends down."""
        jaw = 0.34 * self.jaw_open()
        v = self.depth * (self.kind == TONGUE)
        out = np.clip(v, 0, 1) ** 1.15
        bend = ramp((v - 0.45) / 0.55)
        rise = np.where(self.kind == TONGUE, 8.5 * ramp(v * 2), 0.0)
        return jaw + np.stack([np.zeros_like(v), rise - 7.0 * bend, 33.0 * out], axis=1)

    # -- all ------------------------------------------------------------------------------------------------

    def all(self) -> Real:
        """(52, V, 3) in the order of `ARKIT_NAMES`; the reflection in the eye never moves."""
        table = self._central() | self._sided("Left", 1) | self._sided("Right", -1)
        basis = np.stack([table[name]() for name in ARKIT_NAMES])
        basis[:, self.kind == GLINT] = 0.0
        return basis

    def _central(self) -> dict[str, Callable[[], Real]]:
        return {
            "browInnerUp": self.brow_inner_up,
            "cheekPuff": self.cheek_puff,
            "jawForward": lambda: self.jaw_slide(0, 9.0),
            "jawLeft": lambda: self.jaw_slide(9.0, 0),
            "jawOpen": self.jaw_open,
            "jawRight": lambda: self.jaw_slide(-9.0, 0),
            "mouthClose": self.mouth_close,
            "mouthFunnel": self.funnel,
            "mouthLeft": lambda: self.shift(1),
            "mouthPucker": self.pucker,
            "mouthRight": lambda: self.shift(-1),
            "mouthRollLower": lambda: self.roll(lower=True),
            "mouthRollUpper": lambda: self.roll(lower=False),
            "mouthShrugLower": self.shrug_lower,
            "mouthShrugUpper": self.shrug_upper,
            "tongueOut": self.tongue_out,
        }

    def _sided(self, end: str, sign: int) -> dict[str, Callable[[], Real]]:
        wide = (lambda a, b: a + 4.0 * a / UPPER_LID), (lambda a, b: b + 1.3 * b / LOWER_LID)
        table: dict[str, Callable[[], Real]] = {
            "browDown": lambda: self.brow_down(sign),
            "browOuterUp": lambda: self.brow_outer_up(sign),
            "cheekSquint": lambda: self.cheek_squint(sign),
            "eyeBlink": lambda: self.blink(sign),
            "eyeLookDown": lambda: self.look(sign, 0, -23),
            "eyeLookIn": lambda: self.look(sign, -24 * sign, 0),
            "eyeLookOut": lambda: self.look(sign, 24 * sign, 0),
            "eyeLookUp": lambda: self.look(sign, 0, 19),
            "eyeSquint": lambda: self.squint(sign),
            "eyeWide": lambda: self.lids(sign, *wide),
            "mouthDimple": lambda: self.corner(sign, 5.6, 1.2, -7.0, 11.0),
            "mouthFrown": lambda: self.frown(sign),
            "mouthLowerDown": lambda: self.lower_down(sign),
            "mouthPress": lambda: self.press(sign),
            "mouthSmile": lambda: self.smile(sign),
            "mouthStretch": lambda: self.stretch(sign),
            "mouthUpperUp": lambda: self.upper_up(sign),
            "noseSneer": lambda: self.sneer(sign),
        }
        return {f"{name}{end}": function for name, function in table.items()}
