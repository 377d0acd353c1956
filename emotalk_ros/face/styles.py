"""How 24 made-up persons show what they feel: personal styles of expression and mouth, drawn once from a fixed seed.

Person 0 is the average face (every gain 1, no asymmetry), so that the default is nobody in particular. Sizes: people
differ by about a fifth in articulation and by about a third in expressiveness (Cohn et al. 2002 found stable
individual differences of that order in smiles and brows); left-right differences of spontaneous expression lie near a
tenth (Borod et al. 1997); 12 to 26 blinks a minute while talking (Bentivoglio et al. 1997: 26 in conversation, 17 at
rest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.emotions import EMOTIONS, canonical
from emotalk_ros.face.expressions import expression
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, INDEX

PERSONS = 24
"""Number of personal styles (as many as RAVDESS has actors)."""
STRONGEST = 0.56
"""No expression at intensity 1 goes beyond this in any coefficient: at intensity 2 it is 1.74 times as wide."""
STRONGEST_CORNERS = 0.53
"""The same for the corners of the mouth, which speech moves as well."""

_SEED = 5309

_GROUPS: dict[str, tuple[str, ...]] = {
    "brows": ("brow",),
    "eyes": ("eyeWide", "eyeSquint", "eyeBlink", "eyeLook"),
    "cheeks": ("cheek", "nose"),
    "corners": ("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch"),
    "open_mouth": ("mouthUpperUp", "mouthLowerDown", "jawOpen"),
    "pressed_mouth": ("mouthPress", "mouthShrug", "mouthRoll"),
}


@dataclass(frozen=True)
class PersonalStyle:
    """One person's face. Gains multiply, `asymmetry` -1..1 is the share by which the left side leads the right."""

    articulation: float = 1.0
    rounding: float = 1.0
    brows: float = 1.0
    eyes: float = 1.0
    cheeks: float = 1.0
    corners: float = 1.0
    asymmetry: float = 0.0
    brow_beat: float = 0.10
    """How far the brows rise with loud syllables (coefficient value)."""
    resting_smile: float = 0.0
    resting_brow: float = 0.0
    """Resting browDown (> 0) or browInnerUp (< 0)."""
    blinks_per_minute: float = 18.0
    open_mouth: float = 1.0
    """Gain of what parts the lips in an expression: some smile with their teeth, some with closed lips."""
    pressed_mouth: float = 1.0
    inner_brow: float = 0.0
    """-1..1: the share by which the inner brow leads the outer one."""

    def gains(self) -> NDArray[np.float32]:
        """What multiplies each coefficient of an expression, (52,)."""
        gains = np.ones(COUNT, dtype=np.float32)
        for k, name in enumerate(ARKIT_NAMES):
            for group, starts in _GROUPS.items():
                if name.startswith(starts):
                    gains[k] = getattr(self, group)
            if name.startswith(("browInner", "browOuter")):
                gains[k] *= 1.0 + (self.inner_brow if name.startswith("browInner") else -self.inner_brow)
            if name.endswith(("Left", "Right")):
                gains[k] *= 1.0 + (self.asymmetry if name.endswith("Left") else -self.asymmetry)
        return gains

    def resting(self) -> NDArray[np.float32]:
        """The face at rest, (52,)."""
        face = np.zeros(COUNT, dtype=np.float32)
        for side in ("Left", "Right"):
            face[INDEX[f"mouthSmile{side}"]] = self.resting_smile
            face[INDEX[f"browDown{side}"]] = max(self.resting_brow, 0.0)
        face[INDEX["browInnerUp"]] = max(-self.resting_brow, 0.0)
        return face


@lru_cache(maxsize=PERSONS)
def personal_style(person: int) -> PersonalStyle:
    """The style of `person` 0..23. Raises ValueError outside of that."""
    if not 0 <= person < PERSONS:
        raise ValueError(f"person must lie in 0..{PERSONS - 1}, got {person}")
    if person == 0:
        return PersonalStyle()
    rng = np.random.default_rng([_SEED, person])

    def gain(spread: float) -> float:
        return float(np.exp(np.clip(rng.normal(0.0, spread), -2 * spread, 2 * spread)))

    return PersonalStyle(
        articulation=gain(0.14),
        rounding=gain(0.14),
        brows=gain(0.22),
        eyes=gain(0.20),
        cheeks=gain(0.22),
        corners=gain(0.20),
        asymmetry=float(np.clip(rng.normal(0.0, 0.08), -0.2, 0.2)),
        brow_beat=float(rng.uniform(0.03, 0.20)),
        resting_smile=float(rng.uniform(0.0, 0.05)),
        resting_brow=float(rng.normal(0.0, 0.03)),
        blinks_per_minute=float(rng.uniform(12.0, 26.0)),
        open_mouth=gain(0.30),
        pressed_mouth=gain(0.25),
        inner_brow=float(np.clip(rng.normal(0.0, 0.14), -0.28, 0.28)),
    )


@lru_cache(maxsize=PERSONS)
def personal_expressions(person: int) -> NDArray[np.float32]:
    """The eight expressions of `person` at intensity 1, (8, 52) in the order of `EMOTIONS`; do not write to it."""
    faces = np.stack([expression(label) for label in EMOTIONS]) * personal_style(person).gains()
    corners = [k for k, name in enumerate(ARKIT_NAMES) if name.startswith(_GROUPS["corners"])]
    faces = np.minimum(faces, np.float32(STRONGEST))
    faces[:, corners] = np.minimum(faces[:, corners], np.float32(STRONGEST_CORNERS))
    faces.setflags(write=False)
    return faces


def personal_expression(emotion: str | Mapping[str, float], person: int | ArrayLike = 0) -> NDArray[np.float32]:
    """The expression (52,) at intensity 1 of a label, or of several by weight, as a person shows it.

    `person` is an index 0..23 or 24 weights that sum to 1. Weights of labels are taken as they are: where they sum to
    less than 1, or part of them lies on neutral, the face is milder. Raises ValueError for an unknown label or person.
    """
    shares = {emotion: 1.0} if isinstance(emotion, str) else emotion
    weights = np.zeros(len(EMOTIONS), dtype=np.float32)
    for label, share in shares.items():
        weights[EMOTIONS.index(canonical(label))] += share
    return weights @ expressions_of(person)


def expressions_of(person: int | ArrayLike) -> NDArray[np.float32]:
    """`personal_expressions` of an index, or of 24 weights that sum to 1: the mean of the persons' faces, (8, 52)."""
    if np.ndim(person) == 0:
        return personal_expressions(int(np.asarray(person)))
    weights: Sequence[float] = np.asarray(person, dtype=np.float32).tolist()
    if len(weights) != PERSONS:
        raise ValueError(f"person weights must be {PERSONS} numbers, got {len(weights)}")
    out = np.zeros((len(EMOTIONS), COUNT), dtype=np.float32)
    for k, weight in enumerate(weights):
        if weight:
            out += np.float32(weight) * personal_expressions(k)
    return out
