"""FaceFormer (Fan et al., CVPR 2022) for coefficients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig
from transformers import initialization as init

from emotalk_ros.model.baselines.base import Baseline, BaselineConfig
from emotalk_ros.model.causal import head_slopes
from emotalk_ros.model.decoder import DecoderLayer
from emotalk_ros.model.speech import build_encoder


class FaceFormerConfig(BaselineConfig):
    """Sizes of `FaceFormer`; defaults are the paper's.

    Args:
        feature_dim: width of the decoder (64).
        decoder_heads: heads of its attention (4).
        period: frames of one period of the position code and of the attention bias (30).
        decoder_dropout: dropout in the decoder.
        **kwargs: see `SpeechConfig`.
    """

    model_type = "faceformer"

    def __init__(
        self,
        feature_dim: int = 64,
        decoder_heads: int = 4,
        period: int = 30,
        decoder_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.feature_dim = feature_dim
        self.decoder_heads = decoder_heads
        self.period = period
        self.decoder_dropout = decoder_dropout
        super().__init__(**kwargs)
        if feature_dim % decoder_heads or feature_dim % 2:
            raise ValueError(f"feature_dim must be even and a multiple of decoder_heads, got {feature_dim}")


class FaceFormer(Baseline):
    """Autoregressive: each frame's token is the coefficients before it, plus the style, plus a periodic position.

    One post-norm decoder layer with biased causal self-attention and the diagonal memory attention, zero-initialised
    output; trained by rolling it out. Keys and values of past frames are kept, so a frame costs O(t).
    """

    config: FaceFormerConfig
    config_class: type[PreTrainedConfig] | None = FaceFormerConfig

    def __init__(self, config: FaceFormerConfig) -> None:
        super().__init__(config)
        width = config.feature_dim
        self.content_encoder = build_encoder(config, config.content_config, config.frontend)
        self.audio_head = nn.Linear(config.content_config.hidden_size, width)
        self.motion_head = nn.Linear(config.num_coefficients, width)
        self.style_embedding = nn.Linear(config.num_persons, width, bias=False)
        self.decoder = DecoderLayer(
            width, config.decoder_heads, 2 * width, config.decoder_dropout, config.period, "relu", guided=True
        )
        self.output = nn.Linear(width, config.num_coefficients)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.zeros_(self.output.weight)
            init.zeros_(self.output.bias)

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
        memory = self.audio_head(self._content_states(values, lengths, frames, size))
        style = self.style_embedding(persons)
        positions = self._positions(memory)
        past = _Past(self.decoder, size)
        token, made = style, []
        for frame in range(size):
            hidden = self._step(token + positions[frame % self.config.period], memory[:, frame], past)
            coefficients = self.output(hidden)
            made.append(coefficients)
            token = self.motion_head(coefficients) + style
        return torch.stack(made, dim=1), None

    def _positions(self, like: Tensor) -> Tensor:
        """(period, width) sines and cosines; they repeat, so that any length can be rolled out."""
        width = self.config.feature_dim
        rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
        angle = torch.arange(self.config.period, device=like.device)[:, None] * rate
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)

    def _step(self, token: Tensor, memory: Tensor, past: _Past) -> Tensor:
        """One frame of the decoder layer, (B, D) to (B, D)."""
        layer = self.decoder
        hidden = layer.norm1(token + layer.dropout(past.attend(token)))
        hidden = layer.norm2(hidden + layer.dropout(layer.emotion_attention(memory)))
        inner = layer.dropout(torch.relu(layer.linear1(hidden)))
        return layer.norm3(hidden + layer.dropout(layer.linear2(inner)))


class _Past:
    """Keys and values of the frames so far, and the biased attention of the next frame to them."""

    def __init__(self, layer: DecoderLayer, size: int) -> None:
        self.layer, self.size = layer, size
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.buffer: Tensor | None = None

    def attend(self, token: Tensor) -> Tensor:
        attention, heads = self.layer.self_attn, self.layer.heads
        batch, width = token.shape
        packed = functional.linear(token, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = packed.view(batch, 3, heads, 1, width // heads).unbind(1)
        keys, values = self._append(key, value)
        count = keys.shape[2]
        steps = torch.arange(count - 1, -1, -1, device=token.device) // self.layer.period
        slopes = head_slopes(heads, token.device)
        bias = (-slopes[:, None] * steps)[None, :, None].to(query.dtype)
        drop = attention.dropout if self.layer.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias, dropout_p=drop)
        return attention.out_proj(mixed.reshape(batch, width))

    def _append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():  # gradients need every state as it was
            self.keys.append(key)
            self.values.append(value)
            return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)
        if self.buffer is None:
            batch, heads, _, width = key.shape
            self.buffer = key.new_empty(2, batch, heads, self.size, width)
        count = len(self.keys)
        self.buffer[0, :, :, count : count + 1] = key
        self.buffer[1, :, :, count : count + 1] = value
        self.keys.append(key)
        return self.buffer[0, :, :, : count + 1], self.buffer[1, :, :, : count + 1]
