"""Where the emotion of a performance comes from: the voice heard, another clip, labels, or a blend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import canonical

MAX_INTENSITY = 2.0


@dataclass(frozen=True, eq=False)
class EmotionControl:
    """The emotion embedding to perform with, against the one heard.

    With prototypes p (one mean embedding per label, stored with a trained model), heard embedding h_t, and the chosen
    embedding s (the weighted prototypes, or the clip's mean):

        E_t = h_t + blend * (p_neutral + intensity * (s - p_neutral) - h_t)

    and with neither labels nor clip, E_t = p_neutral + intensity * (h_t - p_neutral). A network that makes speech and
    expression apart (`splits_expression`) takes E_t at intensity 1 and multiplies the expression by the intensity.

    Attributes:
        labels: weight per emotion label; normalised to sum to 1. Synonyms (fear, fearful) are understood.
        clip: (n,) float32 samples at 16 kHz of another voice to take the emotion from.
        intensity: 0 (neutral) to 2 (twice as far from neutral); anything but 1 needs prototypes.
        blend: share 0..1 of the chosen emotion against the heard one.
        stretch: perform the clip's emotion frame by frame, stretched to the content's duration (the paper's
            cross-drive), not its mean. For whole clips only, with blend 1.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    clip: NDArray[np.float32] | None = None
    intensity: float = 1.0
    blend: float = 1.0
    stretch: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.intensity) and 0 <= self.intensity <= MAX_INTENSITY):
            raise ValueError(f"emotion intensity must be 0..{MAX_INTENSITY:g}, got {self.intensity}")
        if not (math.isfinite(self.blend) and 0 <= self.blend <= 1):
            raise ValueError(f"emotion blend must be 0..1, got {self.blend}")
        if self.labels and self.clip is not None:
            raise ValueError("take the emotion from labels or from a clip, not from both")
        weights: dict[str, float] = {}
        for label, weight in self.labels.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of emotion {label!r} must be 0 or more, got {weight}")
            weights[canonical(label)] = weights.get(canonical(label), 0.0) + float(weight)
        if self.labels and sum(weights.values()) <= 0:
            raise ValueError(f"the weights of the emotion labels sum to 0: {dict(self.labels)}")
        object.__setattr__(self, "labels", weights)
        if self.stretch and (self.clip is None or self.blend != 1):
            raise ValueError("stretch needs a clip to take the emotion from, and blend 1")

    @classmethod
    def heard(cls, intensity: float = 1.0) -> EmotionControl:
        """The emotion of the voice itself, damped or exaggerated about neutral."""
        return cls(intensity=intensity)

    @classmethod
    def of(cls, label: str, intensity: float = 1.0, blend: float = 1.0) -> EmotionControl:
        """One label's prototype."""
        return cls(labels={label: 1.0}, intensity=intensity, blend=blend)

    @classmethod
    def from_clip(
        cls, clip: NDArray[np.float32], intensity: float = 1.0, blend: float = 1.0, stretch: bool = False
    ) -> EmotionControl:
        """Another voice's emotion (cross-drive)."""
        return cls(clip=clip, intensity=intensity, blend=blend, stretch=stretch)

    @property
    def is_heard(self) -> bool:
        """Whether this is just the emotion heard."""
        return not self.labels and self.clip is None and self.intensity == 1

    def model_inputs(self, model: Any) -> dict[str, Any]:
        """The arguments of `EmoTalk.forward` that realise this control for a batch of one.

        They do not depend on the content, so a stream computes them once. Tensors on the model's device, or numpy
        arrays for a model that computes with those.

        Raises:
            ValueError: the model has no prototypes, or none of that label; the clip does not suit the model.
        """
        if self.is_heard or (self.blend == 0 and (self.labels or self.clip is not None)):
            return {}
        if not hasattr(model, "embed_emotion"):
            raise ValueError(f"{type(model).__name__} has no emotion input; leave the emotion to the voice")
        inputs: dict[str, Any] = {}
        chosen: Any = None
        if self.labels:
            chosen = self._prototype_mix(model)
        elif self.clip is not None:
            values = model.check_audio(self.clip, name="emotion clip")[None]
            if self.stretch:
                inputs["emotion_values"] = values
            else:
                chosen = _embedded(model, values)
        if getattr(model, "splits_expression", False):  # the network scales the expression itself
            if self.intensity != 1:
                inputs["intensity"] = _numbers(model, float(self.intensity))
            if chosen is not None:
                inputs["emotion_embedding"] = chosen[None, None]
                inputs["emotion_blend"] = _numbers(model, float(self.blend))
            return inputs
        if chosen is None:  # heard, or a stretched clip: pull towards neutral, or push away from it
            if self.intensity != 1:
                inputs["emotion_embedding"] = _prototype(model, "neutral")[None, None]
                inputs["emotion_blend"] = _numbers(model, 1.0 - self.intensity)
            return inputs
        if self.intensity != 1:
            neutral = _prototype(model, "neutral")
            chosen = neutral + self.intensity * (chosen - neutral)
        return {
            "emotion_embedding": chosen[None, None],
            "emotion_blend": _numbers(model, float(self.blend)),
        }

    def _prototype_mix(self, model: Any) -> Any:
        total = sum(self.labels.values())
        parts = [weight / total * _prototype(model, label) for label, weight in self.labels.items() if weight > 0]
        return sum(parts[1:], parts[0])


def _embedded(model: Any, values: Any) -> Any:
    """(E,) mean emotion embedding of a clip."""
    if getattr(model, "computes_arrays", False):
        return model.embed_emotion(values).mean(1)[0]
    import torch

    with torch.inference_mode():
        return model.embed_emotion(values).mean(1)[0]


def _numbers(model: Any, value: float) -> Any:
    """(1,) float32, as the model computes."""
    array = np.array([value], dtype=np.float32)
    if getattr(model, "computes_arrays", False):
        return array
    import torch

    return torch.as_tensor(array, device=model.device)


def _prototype(model: Any, label: str) -> Any:
    if not bool(model.prototypes_set):
        raise ValueError(
            f"this model stores no emotion prototypes, so it cannot perform {label!r} or change the intensity; "
            "use a model trained with them, or take the emotion from the voice or from a clip"
        )
    names = [canonical_or_same(name) for name in model.config.emotion_labels]
    if label not in names:
        raise ValueError(f"this model knows no emotion {label!r}; known: {', '.join(model.config.emotion_labels)}")
    return model.emotion_prototypes[names.index(label)]


def canonical_or_same(label: str) -> str:
    """The home label of a model's own label, or that label itself if it has none."""
    try:
        return canonical(label)
    except ValueError:
        return label
