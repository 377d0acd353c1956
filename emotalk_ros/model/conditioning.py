"""What both forms of EmoTalk do with the level and the emotion that they are given, and with stored prototypes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EmotionConditioned:
    """Buffers and layers are those of the network that inherits: see `EmoTalk` and `StreamingEmoTalk`."""

    emotion_prototypes: Tensor
    prototypes_set: Tensor
    level_embedding: nn.Linear

    @torch.no_grad()
    def set_prototypes(self, prototypes: Tensor) -> None:
        """Store the mean emotion embedding per label, (L, E), for label control; `prototypes_set` becomes true."""
        expected = tuple(self.emotion_prototypes.shape)
        if tuple(prototypes.shape) != expected:
            raise ValueError(
                f"expected prototypes (labels, emotion) of shape {expected}, got {tuple(prototypes.shape)}"
            )
        if not torch.isfinite(prototypes).all():
            raise ValueError("prototypes hold NaN or infinite values")
        self.emotion_prototypes.copy_(prototypes)
        self.prototypes_set.fill_(True)

    def _mix_emotion(self, heard: Tensor, given: Tensor | None, blend: Tensor | None) -> Tensor:
        if given is None:
            if blend is not None:
                raise ValueError("emotion_blend needs an emotion_embedding to blend with")
            return heard
        batch, size, width = heard.shape
        if given.dim() != 3 or given.shape[0] != batch or given.shape[1] not in (1, size) or given.shape[2] != width:
            raise ValueError(
                f"expected emotion_embedding of shape ({batch}, {size} or 1, {width}), got {tuple(given.shape)}"
            )
        given = given.to(heard.dtype).expand_as(heard)
        if blend is None:
            return given
        weight = blend.to(heard.dtype).view(-1, 1, 1)
        return heard + weight * (given - heard)

    def _level(self, level: Tensor | None, batch: int) -> Tensor:
        weight = self.level_embedding.weight
        if level is None:
            level = torch.ones(batch, device=weight.device)
        if level.shape != (batch,):
            raise ValueError(f"expected level of shape ({batch},), got {tuple(level.shape)}")
        level = level.to(weight.dtype)
        return self.level_embedding(torch.stack([1 - level, level], dim=-1))
