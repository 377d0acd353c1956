"""What a model of this room returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class EmoTalkOutput(ModelOutput):
    """Typed output of `EmoTalk.forward` and of every baseline.

    Attributes:
        coefficients: (B, T, 52) blendshape coefficients, zero past a clip's frame count.
        emotion_logits: (B, L) over the configuration's `emotion_labels`, for the whole clip; None for models without.
        content: (B, T, C) content embedding; None for models without.
        emotion: (B, T, E) emotion embedding that drove the decoder (E832 in the paper); None for models without.
        frame_lengths: (B,) frames of each clip.
        frame_emotion_logits: (B, T, L) logits of each frame by itself (with running statistics: of what was heard up
            to it), if asked.
        speech, expression: (B, T, 52) the parts that sum up to the coefficients, of a network that tells them apart.
        closure_logits: (B, T) how sure the network is that the lips are closed, before the sigmoid.
        features: (B, n, levels, width) of the speech trunk, for distillation and for the ear.
        loss: scalar, a baseline's own training terms, a mean over frames; None for most.
    """

    coefficients: Tensor | None = None
    emotion_logits: Tensor | None = None
    content: Tensor | None = None
    emotion: Tensor | None = None
    frame_lengths: Tensor | None = None
    frame_emotion_logits: Tensor | None = None
    speech: Tensor | None = None
    expression: Tensor | None = None
    closure_logits: Tensor | None = None
    features: Tensor | None = None
    loss: Tensor | None = None
