"""Sheets of stills: emotions at several intensities, faces of several persons, or faces without a name for a stranger.

A still is the face in a pause of its speech (the mouth at rest, nothing but the expression on it), or any frame of
speech given, to which `face.composition` adds the expression just as the motion pipeline does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.emotions import EMOTIONS, canonical
from emotalk_ros.face import COUNT, FaceBasis, default_face
from emotalk_ros.face.composition import compose
from emotalk_ros.face.styles import expressions_of, personal_style
from emotalk_ros.files import replacing
from emotalk_ros.reports.render import Frames, contact_sheet, render_frames

INTENSITIES: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
_MARGIN = 0.12
"""Share of a picture cut off on either side: a sheet shows faces, not shoulders."""


@dataclass(frozen=True)
class Still:
    """One picture of a sheet."""

    emotion: str
    intensity: float = 1.0
    person: int = 0
    title: str = ""
    """What is written beneath it."""

    def coefficients(self, speech: ArrayLike | None = None) -> NDArray[np.float32]:
        """(52,): the expression on a mouth at rest, or on a frame of `speech` (52,)."""
        face = np.float32(self.intensity) * expressions_of(self.person)[EMOTIONS.index(canonical(self.emotion))]
        if speech is None:
            return compose(personal_style(self.person).resting(), face, busy=0.0)
        return compose(np.asarray(speech, dtype=np.float32) + personal_style(self.person).resting(), face)


def emotions_by_intensity(person: int = 0, intensities: Sequence[float] = INTENSITIES) -> list[Still]:
    """Every emotion at every intensity, emotion by emotion."""
    return [Still(e, i, person, f"{e} {i:g}") for e in EMOTIONS for i in intensities]


def persons_by_emotion(persons: Sequence[int], intensity: float = 1.0) -> list[Still]:
    """Every emotion of every person, person by person."""
    return [Still(e, intensity, p, f"{p}: {e}") for p in persons for e in EMOTIONS]


def without_names(person: int, seed: int, intensity: float = 1.0) -> list[Still]:
    """The eight emotions of a person in an order that `seed` draws, under letters: what a stranger is asked to name."""
    order = np.random.default_rng(seed).permutation(len(EMOTIONS))
    return [Still(EMOTIONS[k], intensity, person, chr(ord("A") + place)) for place, k in enumerate(order)]


def draw_sheet(
    stills: Sequence[Still],
    columns: int,
    size: int = 240,
    basis: FaceBasis | None = None,
    speech: ArrayLike | None = None,
    yaw: float = 0.0,
) -> Frames:
    """The stills in rows of `columns`, (H, W, 3) uint8 sRGB; `size` is the height of a whole picture in pixels."""
    faces = np.stack([still.coefficients(speech) for still in stills]).reshape(-1, COUNT)
    cut = round(_MARGIN * size)
    pictures = render_frames(basis or default_face(), faces, size, yaw=yaw)[:, cut // 2 : -cut // 2, cut:-cut]
    return contact_sheet(pictures, [still.title for still in stills], columns=columns)


def save_picture(picture: Frames, path: Path) -> None:
    """Write a PNG of 256 well chosen colours: small, and good enough for a page. An existing file is replaced."""
    from PIL import Image

    with replacing(path) as part:
        Image.fromarray(picture).quantize(256, kmeans=2, dither=Image.Dither.NONE).save(part, "PNG", optimize=True)
