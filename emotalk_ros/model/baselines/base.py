"""What the baselines share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from emotalk_ros.model.config import SpeechConfig
from emotalk_ros.model.output import EmoTalkOutput
from emotalk_ros.model.speech import SpeechNetwork
from emotalk_ros.model.timing import valid_mask


class Baseline(SpeechNetwork):
    """A network without emotion and level.

    `wants_target`: training needs the true coefficients in `forward(target=...)`, and `EmoTalkOutput.loss` then holds
    the network's own terms, to be added to the reconstruction loss.
    """

    base_model_prefix = "baseline"
    wants_target = False

    def forward(
        self,
        input_values: Tensor,
        lengths: Tensor | None = None,
        person: Tensor | None = None,
        level: Tensor | None = None,
        emotion_values: Tensor | None = None,
        emotion_lengths: Tensor | None = None,
        emotion_embedding: Tensor | None = None,
        emotion_blend: Tensor | None = None,
        frames: Tensor | int | None = None,
        target: Tensor | None = None,
        **kwargs: Any,
    ) -> EmoTalkOutput:
        """Speech to coefficients; arguments and output as `EmoTalk.forward`, emotion and level are ignored.

        Args:
            input_values: (B, N) samples.
            lengths: (B,) samples of each clip.
            person: (B,) int or (B, num_persons).
            level: ignored.
            emotion_values: ignored.
            emotion_lengths: ignored.
            emotion_embedding: ignored.
            emotion_blend: ignored.
            frames: (B,) or int, frames wanted.
            target: (B, T, 52) true coefficients, read only in training by networks that want it.
            **kwargs: ignored.
        """
        self._check_inputs(input_values, lengths)
        batch = input_values.shape[0]
        frame_lengths, size = self._frames(input_values, lengths, frames)
        values = self._prepare(input_values, lengths)
        persons = self._person_weights(person, batch)
        coefficients, loss = self.animate(values, lengths, frame_lengths, size, persons, target)
        if frame_lengths is None:
            frame_lengths = torch.full((batch,), size, device=input_values.device)
        else:
            coefficients = coefficients * valid_mask(frame_lengths, size)[..., None].to(coefficients.dtype)
        return EmoTalkOutput(coefficients=coefficients, frame_lengths=frame_lengths, loss=loss)

    def animate(
        self,
        values: Tensor,
        lengths: Tensor | None,
        frames: Tensor | None,
        size: int,
        persons: Tensor,
        target: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N) normalised samples to (B, size, 52), and the network's own loss (scalar) if it has one."""
        raise NotImplementedError

    def freeze_feature_encoders(self) -> None:
        """Freeze wav2vec2's convolutions, where there are any."""
        encoder = getattr(self, "content_encoder", None)
        if encoder is not None and not encoder.on_frames:
            encoder.feature_extractor.requires_grad_(False)


class BaselineConfig(SpeechConfig):
    """`SpeechConfig` whose encoder is wav2vec2-base unless another is given."""

    def __init__(self, content_config: Wav2Vec2Config | dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(content_config=content_config or Wav2Vec2Config(), **kwargs)
