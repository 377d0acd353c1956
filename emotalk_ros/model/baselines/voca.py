"""VOCA (Cudeiro et al., CVPR 2019) for coefficients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from emotalk_ros.model.baselines.base import Baseline, BaselineConfig
from emotalk_ros.model.speech import build_encoder


class VocaConfig(BaselineConfig):
    """Sizes of `Voca`; defaults are the paper's, with wav2vec2-base for the speech recogniser.

    Args:
        window: frames of features that one frame of coefficients sees (16).
        freeze_recogniser: the features come from a fixed network, as in the paper. None: fixed if they are wav2vec2's
            (load its weights), learnt if they start from log-mel spectra.
        **kwargs: see `SpeechConfig`.
    """

    model_type = "voca"

    def __init__(self, window: int = 16, freeze_recogniser: bool | None = None, **kwargs: Any) -> None:
        self.window = window
        super().__init__(**kwargs)
        self.freeze_recogniser = self.frontend == "wave" if freeze_recogniser is None else freeze_recogniser
        if window < 16:
            raise ValueError(f"window must be at least 16: four convolutions of stride 2 halve it, got {window}")


class Voca(Baseline):
    """A window of speech features around each frame, convolved over time with the speaker's one-hot beside it.

    Four convolutions over the window (kernel 3, stride 2; 32, 32, 64, 64, ReLU), flattened, the one-hot once more,
    dense 128 tanh, dense 50, dense 52. Trained with the squared error and ten times that of the velocity.
    """

    config: VocaConfig
    config_class: type[PreTrainedConfig] | None = VocaConfig

    def __init__(self, config: VocaConfig) -> None:
        super().__init__(config)
        self.content_encoder = build_encoder(config, config.content_config, config.frontend)
        widths = [config.content_config.hidden_size + config.num_persons, 32, 32, 64, 64]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel_size=3, stride=2, padding=1) for i in range(4)
        )
        left = config.window
        for _ in range(4):
            left = (left + 1) // 2
        self.dense = nn.Linear(64 * left + config.num_persons, 128)
        self.bottleneck = nn.Linear(128, 50)
        self.output = nn.Linear(50, config.num_coefficients)
        if config.freeze_recogniser:
            self.content_encoder.requires_grad_(False)
        self.post_init()

    def animate(
        self,
        values: Tensor,
        lengths: Tensor | None,
        frames: Tensor | None,
        size: int,
        persons: Tensor,
        target: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """See `Baseline.animate`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_recogniser):
            features = self._content_states(values, lengths, frames, size)
        if frames is not None:  # a window that hangs over the clip's end sees zeros, as it does alone
            features = features * (torch.arange(size, device=features.device) < frames[:, None])[..., None]
        window = self.config.window
        padded = functional.pad(features, (0, 0, window // 2, window - 1 - window // 2))
        windows = padded.unfold(1, window, 1)  # (B, T, C, W)
        batch = windows.shape[0]
        rows = windows.reshape(batch * size, -1, window)
        person = persons[:, None].expand(-1, size, -1).reshape(batch * size, -1)
        hidden = torch.cat([rows, person[..., None].expand(-1, -1, window)], dim=1)
        for convolution in self.convolutions:
            hidden = torch.relu(convolution(hidden))
        hidden = torch.tanh(self.dense(torch.cat([hidden.flatten(1), person], dim=1)))
        return self.output(self.bottleneck(hidden)).view(batch, size, -1), None
