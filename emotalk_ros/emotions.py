"""The emotion labels that every room shares.

RAVDESS's eight (Livingstone and Russo 2018) in its numbering 01 to 08; the published EmoTalk knows seven
(no calm, and its own names and order), so a checkpoint's configuration carries its own label list.
"""

from __future__ import annotations

EMOTIONS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Home labels; index k is RAVDESS code k + 1."""

HIGH_AROUSAL: frozenset[str] = frozenset({"happy", "angry", "fearful", "surprised"})
"""Labels of high arousal; neutral, calm, sad and disgust count as low (RAVDESS convention of this package)."""

PUBLISHED_EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The seven labels of the published checkpoint, in the order of its logits."""

SYNONYMS: dict[str, str] = {
    "fear": "fearful",
    "surprise": "surprised",
    "anger": "angry",
    "sadness": "sad",
    "happiness": "happy",
}


def canonical(label: str) -> str:
    """The home label for `label` (any case, common synonyms). Raises ValueError that lists the known ones."""
    name = label.strip().lower()
    name = SYNONYMS.get(name, name)
    if name not in EMOTIONS:
        raise ValueError(f"unknown emotion {label!r}; known: {', '.join(EMOTIONS)}")
    return name
