"""Speech encoder: transformers' Wav2Vec2 parts, with masking by length, causal attention and linear memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2Encoder,
    Wav2Vec2EncoderStableLayerNorm,
    Wav2Vec2FeatureEncoder,
    Wav2Vec2FeatureProjection,
    Wav2Vec2PreTrainedModel,
)

from emotalk_ros.model.frontend import FrameAnalysis, FrameFrontEnd
from emotalk_ros.model.positions import WindowPositions
from emotalk_ros.model.timing import conv_extent, conv_lengths, sample_grid, valid_mask

CHUNK_FEATURES = 1500
"""Features per piece of the convolutional front end outside of training (30 s at 50 Hz)."""


class SpeechEncoder(Wav2Vec2PreTrainedModel):
    """Samples to features to hidden states, in two calls, because the paper resamples between them.

    Built from `Wav2Vec2FeatureEncoder` (or `FrameFrontEnd`), `Wav2Vec2FeatureProjection` and
    `Wav2Vec2Encoder(StableLayerNorm)` under their own names, so that a Hugging Face wav2vec2 checkpoint fits.

    Args:
        config: sizes; `do_stable_layer_norm` and `feat_extract_norm` choose between the two wav2vec2 kinds.
        analysis: the windows of a front end on the frame grid ("mel", "prosody"); None: wav2vec2's convolutions.
        causal: position t sees positions up to t only, in attention and in the positional convolution.
    """

    stack: Callable[[Tensor], Tensor] | None = None
    """What computes the layers in place of torch: (B, T, H) their input to states, all of them valid."""

    def __init__(self, config: Wav2Vec2Config, analysis: FrameAnalysis | None = None, causal: bool = False) -> None:
        super().__init__(config)
        self.causal = causal
        self.feature_extractor = FrameFrontEnd(config, analysis) if analysis else Wav2Vec2FeatureEncoder(config)
        self.feature_projection = Wav2Vec2FeatureProjection(config)
        stack = Wav2Vec2EncoderStableLayerNorm if config.do_stable_layer_norm else Wav2Vec2Encoder
        self.encoder = stack(config)
        for layer in self.encoder.layers:
            layer.attention.is_causal = causal  # read by transformers' SDPA when it is given no mask
        self.stride = math.prod(config.conv_stride)
        self.extent = conv_extent(config.conv_kernel, config.conv_stride)
        self._window_positions = WindowPositions()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FrameAnalysis):
            module.reset_constants()

    @property
    def on_frames(self) -> bool:
        """Whether features lie on the frame grid already: log-mel spectra, prosody."""
        return isinstance(self.feature_extractor, FrameFrontEnd)

    @property
    def _group_width(self) -> int:
        """Channels per group of the positional convolution."""
        return int(self.config.hidden_size // self.config.num_conv_pos_embedding_groups)

    def feature_lengths(self, lengths: Tensor) -> Tensor:
        """Features (B,) of clips with `lengths` (B,) samples, for the "wave" front end."""
        return conv_lengths(lengths, self.config.conv_kernel, self.config.conv_stride)

    def feature_count(self, samples: int) -> int:
        """`feature_lengths` of one clip."""
        return (samples - self.extent) // self.stride + 1

    def features(
        self, values: Tensor, lengths: Tensor | None = None, statistics: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """wav2vec2's convolutions: (B, N) samples to (B, S, channels) at 50 Hz.

        `lengths` (B,) matter only to group normalisation, whose statistics run over each clip's own features, or are
        given (`group_statistics`).
        Outside of training the clip is worked off in overlapping pieces, equal to the whole within rounding.
        """
        values = values.to(self.feature_projection.projection.weight.dtype)
        total = self.feature_count(values.shape[1])
        if statistics is None:
            statistics = self.group_statistics(values, lengths)
        if self.training or total <= CHUNK_FEATURES:
            return self._convolve(values, statistics).transpose(1, 2)
        pieces = []
        for start in range(0, total, CHUNK_FEATURES):
            stop = min(start + CHUNK_FEATURES, total)
            piece = values[:, start * self.stride : (stop - 1) * self.stride + self.extent]
            pieces.append(self._convolve(piece, statistics).transpose(1, 2))
        return torch.cat(pieces, dim=1)

    def grid_features(self, values: Tensor, positions: int, fps: int) -> Tensor:
        """(B, N) samples to (B, positions, channels) at the instants t / fps; silence surrounds the clip."""
        if self.on_frames:
            return self.feature_extractor(values, positions)
        # Pad so that feature k is centred at sample k * stride - offset, and the first instant lies between two.
        left = self.stride
        while left < self.extent // 2:
            left += self.stride
        offset = left - self.extent // 2
        count = ((positions - 1) * 16_000 + offset * fps) // (self.stride * fps) + 2
        needed = (count - 1) * self.stride + self.extent
        padded = functional.pad(values, (left, max(0, needed - left - values.shape[1])))[:, :needed]
        return sample_grid(self.features(padded), positions, fps, self.stride, offset)

    def forward(self, features: Tensor, lengths: Tensor | None = None, window: bool = False) -> Tensor:
        """Feature projection and transformer.

        Args:
            features: (B, T, channels).
            lengths: (B,) valid positions, None when all are. Padding never reaches a valid position.
            window: these are one of many windows of a stream: see `model.positions`. Not for causal encoders.

        Returns:
            (B, T, hidden_size); padded positions hold nothing meaningful.
        """
        hidden, _ = self.feature_projection(features)
        mask = None
        if lengths is not None and not self.causal:
            valid = valid_mask(lengths, hidden.shape[1])
            hidden = hidden * valid[..., None].to(hidden.dtype)  # the positional convolution must see zeros, as alone
            mask = valid[:, None, None, :]
        places = self._window_positions(self.encoder.pos_conv_embed, hidden) if window else self.positions(hidden)
        hidden = hidden + places
        if self.stack is not None:
            if mask is not None:
                raise ValueError("a network whose transformers are computed elsewhere takes clips one by one")
            return self.stack(hidden)
        stable = self.config.do_stable_layer_norm
        if not stable:
            hidden = self.encoder.layer_norm(hidden)
        hidden = self.encoder.dropout(hidden)
        for layer in self.encoder.layers:
            if self.training and self.config.layerdrop > 0 and torch.rand([]) < self.config.layerdrop:
                continue
            hidden = layer(hidden, attention_mask=mask)
        return self.encoder.layer_norm(hidden) if stable else hidden

    def positions(self, hidden: Tensor) -> Tensor:
        """The convolutional position embedding of hidden states (B, T, H)."""
        # oneDNN on processors with AMX computes a grouped bfloat16 convolution wrongly where a group's width is no
        # multiple of 16 (torch 2.13: errors four times as large as the output); torch's own kernel is right.
        broken = hidden.dtype is torch.bfloat16 and hidden.device.type == "cpu" and self._group_width % 16 != 0
        with torch.backends.mkldnn.flags(enabled=False) if broken else nullcontext():
            embed = self.encoder.pos_conv_embed
            if not self.causal:
                return embed(hidden)
            # The module's output t sees inputs up to t + reach: shift the input right by that much.
            reach = (self.config.num_conv_pos_embeddings - 1) // 2
            return embed(functional.pad(hidden, (0, 0, reach, 0)))[:, : hidden.shape[1]]

    def _convolve(self, values: Tensor, statistics: tuple[Tensor, Tensor] | None) -> Tensor:
        layers: Any = self.feature_extractor.conv_layers
        first, *rest = layers
        hidden = values[:, None]
        if statistics is None:
            hidden = first(hidden)
        else:
            mean, inverse = statistics
            norm = first.layer_norm
            hidden = (first.conv(hidden) - mean) * (inverse * norm.weight[:, None]) + norm.bias[:, None]
            hidden = first.activation(hidden)
        for layer in rest:
            hidden = layer(hidden)
        return hidden

    def group_statistics(self, values: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
        """Mean and 1 / std (B, C, 1) of the first convolution over each clip's own outputs, in pieces; None of an
        encoder without group normalisation.
        """
        if self.config.feat_extract_norm != "group":
            return None
        values = values.to(self.feature_projection.projection.weight.dtype)
        layers: Any = self.feature_extractor.conv_layers
        layer = layers[0]
        kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
        total = (values.shape[1] - kernel) // stride + 1
        if lengths is None:
            counts = torch.full((values.shape[0],), total, device=values.device)
        else:
            counts = conv_lengths(lengths, [kernel], [stride])
        size = total if self.training else CHUNK_FEATURES * self.stride // stride
        sums = squares = torch.zeros((), device=values.device)
        shift = None
        for start in range(0, total, size):
            stop = min(start + size, total)
            hidden = layer.conv(values[:, None, start * stride : (stop - 1) * stride + kernel]).float()
            if shift is None:  # sums about a typical value do not cancel
                shift = hidden[..., : min(64, hidden.shape[-1])].mean(-1, keepdim=True).detach()
            valid = valid_mask(counts - start, stop - start)[:, None]
            hidden = torch.where(valid, hidden - shift, 0.0)
            sums = sums + hidden.sum(-1, keepdim=True, dtype=torch.float64)
            squares = squares + hidden.square().sum(-1, keepdim=True, dtype=torch.float64)
        number = counts[:, None, None].clamp(min=1)
        mean = sums / number
        variance = (squares / number - mean.square()).clamp(min=0)
        assert shift is not None
        inverse = torch.rsqrt(variance + layer.layer_norm.eps)
        return (mean + shift).to(values.dtype), inverse.to(values.dtype)
