"""Speech and expression on one face: a sum that never breaks the lips.

`coefficients = speech + expression`, coefficient by coefficient, so that twice the expression moves the face twice as
far until a coefficient reaches 1. Where both want the mouth, speech comes first:

- an expression that parts or presses the lips yields as far as speech closes or opens them;
- what it still changes of the gap between the lips is taken back by the jaw and by mouthClose: the gap of the inner
  lips (mm, default face) is what speech alone would give;
- rounded lips draw the corners in, so smiles and stretched corners give way to them, and they to the smile.

`busy` says how much of the mouth speech uses: 1 while somebody speaks, 0 in a pause, where parted or pressed lips and
a dropped jaw are part of the expression.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.face.default.face import default_face
from emotalk_ros.face.names import ARKIT_NAMES, INDEX, indices

Real = NDArray[np.float32]


def _named(*starts: str) -> NDArray[np.intp]:
    return indices([name for name in ARKIT_NAMES if name.startswith(starts)])


CORNERS = _named("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch")
"""What moves the corners of the mouth."""
PARTING = _named("jawOpen", "mouthUpperUp", "mouthLowerDown", "mouthFunnel")
"""What parts the lips."""
PRESSING = _named("mouthPress", "mouthRoll", "mouthShrug")
"""What presses the lips together or pushes them up."""

ROOM_MM = 2.0
"""A gap from which on an expression may part the lips as far as it likes, and below which it may press them."""
IN_SPEECH = 0.5
"""Share of an expression's parted or pressed lips that is left while somebody speaks."""
CONTACT_MM = 17.0
"""Lips touch at least this far from the middle when they close."""
ROUNDED = 0.4
"""Pucker or funnel of fully rounded lips in speech."""

_JAW, _CLOSE, _PUCKER = INDEX["jawOpen"], INDEX["mouthClose"], INDEX["mouthPucker"]
_ROUND = indices(["mouthPucker", "mouthFunnel"])
_SMILE = indices(["mouthSmileLeft", "mouthSmileRight"])


@lru_cache(maxsize=1)
def _gap_form() -> tuple[float, Real]:
    """The default face's signed gap in mm at the middle of the mouth: value at rest, and weights (52,)."""
    form = default_face().lip_gap_weights()
    return float(form.rest[1]), np.ascontiguousarray(form.weights[:, 1], dtype=np.float32)


@lru_cache(maxsize=1)
def _contact_form() -> Real:
    """The same along the whole mouth, (52, P): how far each shape parts facing places of the inner lips, mm."""
    face = default_face()
    ids = face.lip_ids[np.abs(face.template[face.lip_ids, 0]) < CONTACT_MM]
    points = face.template[ids].round(3)
    order = np.lexsort(points.T)
    same = np.flatnonzero((points[order[1:]] == points[order[:-1]]).all(axis=1))
    one, two = ids[order[same]], ids[order[same + 1]]
    # jawOpen tells the upper lip from the lower one.
    down = face.basis[_JAW, one, 1] < face.basis[_JAW, two, 1]
    upper, lower = np.where(down, two, one), np.where(down, one, two)
    return np.ascontiguousarray(face.basis[:, upper, 1] - face.basis[:, lower, 1], dtype=np.float32)


def lip_opening(coefficients: Real) -> Real:
    """Signed gap of the default face's inner lips, (..., 52) to (...) mm; negative where they overlap."""
    rest, weights = _gap_form()
    return np.asarray(rest + coefficients @ weights, dtype=np.float32)


def compose(speech: ArrayLike, expression: ArrayLike, busy: ArrayLike = 1.0) -> Real:
    """The face that shows `expression` while it says `speech`.

    Args:
        speech: (..., 52) coefficients of the words.
        expression: (..., 52) what is added, intensity included; may go beyond 1.
        busy: (...) 0..1, how much of the mouth speech uses.

    Returns:
        (..., 52) float32 within 0..1, `speech` itself where there is no expression.
    """
    said = np.asarray(speech, dtype=np.float32)
    shown = np.broadcast_to(np.asarray(expression, dtype=np.float32), said.shape).copy()
    hold = np.broadcast_to(np.asarray(busy, dtype=np.float32), said.shape[:-1]).clip(0.0, 1.0)
    gap = lip_opening(said)
    room = _smooth(gap / np.float32(ROOM_MM))
    shown[..., PARTING] *= (1 - hold * (1 - np.float32(IN_SPEECH) * room))[..., None]
    shown[..., PRESSING] *= (1 - hold * (1 - np.float32(IN_SPEECH) * (1 - room)))[..., None]
    rounded = hold * np.clip(said[..., _ROUND].max(axis=-1) / np.float32(ROUNDED), 0, 1)
    shown[..., CORNERS] *= (1 - np.float32(0.5) * rounded)[..., None]
    out = said + shown
    out[..., _PUCKER] -= np.float32(0.4) * said[..., _PUCKER] * shown[..., _SMILE].max(axis=-1).clip(0, 1)
    np.clip(out, 0.0, 1.0, out=out)
    return _lips_kept(said, out, gap, room, hold)


def _lips_kept(said: Real, out: Real, gap: Real, room: Real, hold: Real) -> Real:
    """Takes back what the expression did to the gap, in place; the jaw gives what it got, mouthClose the rest."""
    _, weights = _gap_form()
    added = out - said
    middle = added @ weights
    # Closed lips have to stay closed all along the mouth, not in its middle alone.
    widest = np.maximum((added @ _contact_form() / -_contact_form()[_CLOSE]).max(axis=-1) * weights[_JAW], middle)
    change = hold * (middle + (1 - room) * (widest - middle)) / weights[_JAW]
    # Lips that are closed may be pressed further: only what parts them counts there.
    change = np.where((gap <= 0) & (change < 0), 0, change)
    lifted = np.minimum(np.maximum(change, 0), np.maximum(out[..., _JAW] - said[..., _JAW], 0))
    out[..., _JAW] -= lifted
    out[..., _CLOSE] += np.maximum(change - lifted, 0)
    loosened = np.minimum(np.maximum(-change, 0), out[..., _CLOSE])
    out[..., _CLOSE] -= loosened
    out[..., _JAW] += np.maximum(-change - loosened, 0)
    return np.asarray(np.clip(out, 0.0, 1.0, out=out), dtype=np.float32)


def _smooth(value: Real) -> Real:
    """0 below 0, 1 above 1, smooth between."""
    v = np.clip(value, 0, 1)
    return np.asarray(v * v * (3 - 2 * v), dtype=np.float32)
