"""How 24 made-up persons move their faces: personal styles, drawn once from a fixed seed.

Person 0 is the average face (every gain 1, no asymmetry), so that the default of the network is nobody in particular.
Sizes: people differ by about a fifth in articulation and by about a third in expressiveness (Cohn et al. 2002 found
stable individual differences of that order in smiles and brows); left-right differences of spontaneous expression lie
near a tenth (Borod et al. 1997); 12 to 26 blinks a minute while talking (Bentivoglio et al. 1997: 26 in conversation,
17 at rest).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emotalk_ros.corpus.visemes import MouthStyle

PERSONS = 24
"""Number of personal styles (as many as RAVDESS has actors)."""

_SEED = 5309


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
    )


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
