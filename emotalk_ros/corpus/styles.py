"""The mouth of each personal style: how distinctly a person speaks, how far the lips round. See `face.styles`."""

from __future__ import annotations

from dataclasses import replace

from emotalk_ros.corpus.visemes import MouthStyle
from emotalk_ros.face.styles import PERSONS, PersonalStyle, personal_style

__all__ = ["PERSONS", "PersonalStyle", "mouth_style", "personal_style"]


def mouth_style(style: PersonalStyle, articulation: float = 1.0, base: MouthStyle | None = None) -> MouthStyle:
    """The mouth of `style`, speaking `articulation` times as distinctly as usual (emotion changes that)."""
    base = base or MouthStyle()
    size = style.articulation * articulation
    return replace(
        base,
        jaw=base.jaw * size,
        lower_lip=base.lower_lip * size,
        upper_lip=base.upper_lip * size,
        pucker=base.pucker * style.rounding,
        funnel=base.funnel * style.rounding,
        stretch=base.stretch * size,
        smile=base.smile * size,
    )
