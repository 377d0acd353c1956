"""Emotions as directions of pleasure and arousal, and the words that ROS4HRI has for facial expressions.

Russell's circumplex (A circumplex model of affect, Journal of Personality and Social Psychology 39, 1161-1178, 1980)
places words of emotion on a circle of valence (to the right) and arousal (up). `ANGLES` are the places that his direct
circular scaling of 28 words gave to the words of this package's labels. The paper itself was not at hand: happy,
astonished, sad and calm were checked against two public summaries of it; angry and afraid, which those leave out, were
only checked to lie where they must, between alarmed (96.5) and distress (135). Disgust is not among his words: its
place is this package's choice. The paper's other scalings put some words up to 35 degrees elsewhere. Between two places
the emotions mix in proportion to the angle; the distance from the centre is the intensity.

`EXPRESSIONS` are the words of `hri_msgs/Expression` as mixtures of the labels: a choice of this package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ANGLES: dict[str, float] = {
    "happy": 7.8,
    "surprised": 69.8,  # astonished
    "angry": 99.0,
    "fearful": 116.0,  # afraid
    "disgust": 140.0,
    "sad": 207.5,
    "calm": 316.2,
}
"""Degrees from pleasure towards arousal; neutral is the centre."""

EXPRESSIONS: dict[str, tuple[Mapping[str, float], float]] = {
    "neutral": ({"neutral": 1.0}, 1.0),
    "angry": ({"angry": 1.0}, 1.0),
    "sad": ({"sad": 1.0}, 1.0),
    "happy": ({"happy": 1.0}, 1.0),
    "surprised": ({"surprised": 1.0}, 1.0),
    "disgusted": ({"disgust": 1.0}, 1.0),
    "scared": ({"fearful": 1.0}, 1.0),
    "pleading": ({"sad": 0.6, "fearful": 0.4}, 0.8),
    "vulnerable": ({"sad": 0.5, "fearful": 0.5}, 0.6),
    "despaired": ({"sad": 0.8, "fearful": 0.2}, 1.5),
    "guilty": ({"sad": 0.7, "fearful": 0.3}, 0.7),
    "disappointed": ({"sad": 0.8, "disgust": 0.2}, 0.7),
    "embarrassed": ({"sad": 0.5, "happy": 0.3, "fearful": 0.2}, 0.6),
    "horrified": ({"fearful": 0.7, "surprised": 0.3}, 1.5),
    "skeptical": ({"disgust": 0.6, "surprised": 0.4}, 0.5),
    "annoyed": ({"angry": 1.0}, 0.5),
    "furious": ({"angry": 1.0}, 1.6),
    "suspicious": ({"angry": 0.6, "fearful": 0.4}, 0.5),
    "rejected": ({"sad": 0.8, "angry": 0.2}, 1.0),
    "bored": ({"calm": 0.6, "sad": 0.4}, 0.7),
    "tired": ({"calm": 0.5, "sad": 0.5}, 0.6),
    "asleep": ({"calm": 1.0}, 1.0),
    "confused": ({"surprised": 0.6, "fearful": 0.4}, 0.6),
    "amazed": ({"surprised": 0.7, "happy": 0.3}, 1.4),
    "excited": ({"happy": 0.8, "surprised": 0.2}, 1.4),
}
"""Word of `hri_msgs/Expression` -> weights of the labels, and intensity. No eyes are closed for `asleep`."""

WORDS: dict[str, str] = {
    next(iter(mix)): word for word, (mix, size) in EXPRESSIONS.items() if len(mix) == 1 and size == 1.0
} | {"calm": "neutral"}
"""Label -> the word that says it; calm has none."""


def emotion_at(valence: float, arousal: float) -> tuple[dict[str, float], float]:
    """Weights (sum 1) and intensity (0 to 1) of the emotion at a place, both coordinates -1 to 1 (more is cut off).

    Raises ValueError where one is not finite.
    """
    if not (math.isfinite(valence) and math.isfinite(arousal)):
        raise ValueError(f"valence {valence}, arousal {arousal}: must be finite, -1 to 1")
    intensity = min(1.0, math.hypot(valence, arousal))
    if intensity < 1e-6:
        return {"neutral": 1.0}, 1.0
    angle = math.degrees(math.atan2(arousal, valence)) % 360.0
    labels = sorted(ANGLES, key=ANGLES.__getitem__)
    after = next((k for k, label in enumerate(labels) if ANGLES[label] > angle), 0)
    low, high = labels[after - 1], labels[after]
    width = (ANGLES[high] - ANGLES[low]) % 360.0
    share = ((angle - ANGLES[low]) % 360.0) / width
    return {low: 1.0 - share, high: share}, intensity


def place_of(weights: Mapping[str, float], intensity: float = 1.0) -> tuple[float, float]:
    """(valence, arousal) of a mixture: the weighted mean of the places, times the intensity, within the unit circle."""
    total = sum(weights.values())
    if total <= 0.0:
        return 0.0, 0.0
    places = [(math.radians(ANGLES[label]), share / total) for label, share in weights.items() if label in ANGLES]
    valence = intensity * sum(share * math.cos(angle) for angle, share in places)
    arousal = intensity * sum(share * math.sin(angle) for angle, share in places)
    scale = max(1.0, math.hypot(valence, arousal))
    return valence / scale, arousal / scale
