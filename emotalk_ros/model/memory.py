"""What a causal content encoder keeps of a stream between two windows, so that a hop costs its own frames only.

Without it a hop of 0.1 s encodes 2.3 s of speech again, of which 2.2 s were encoded before. With it the keys and values
of each attention, the inputs of the positional convolution and the finished states stay, and a window adds its
new positions. Each layer hears what it would in the window; deep ones so hear of somewhat earlier speech than a window
holds. Where windows begin with the stream, nothing differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Attention

from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.frontend import WindowMemory


@dataclass
class LayerMemory:
    """Keys and values (1, heads, positions, width) of one attention."""

    keys: Tensor
    values: Tensor


@dataclass
class EncoderMemory:
    """Positions `first` .. `next` - 1 of a stream that an encoder has seen."""

    first: int = 0
    next: int = 0
    states: Tensor | None = None
    """(1, next - first, H) what came out."""
    recent: Tensor | None = None
    """(1, kernel - 1, H) the last inputs of the positional convolution."""
    layers: list[LayerMemory] = field(default_factory=list)

    def clear(self, first: int = 0) -> None:
        """Forget everything; `first` is the position that comes next."""
        self.first = self.next = first
        self.states = self.recent = None
        self.layers = []

    def forget_before(self, first: int) -> None:
        """Drop positions before `first`."""
        gone = min(first, self.next) - self.first
        if gone > 0 and self.states is not None:
            self.states = self.states[:, gone:]
            self.layers = [LayerMemory(m.keys[:, :, gone:], m.values[:, :, gone:]) for m in self.layers]
            self.first += gone


@dataclass
class StreamMemory:
    """All that a network keeps of one stream."""

    content: EncoderMemory = field(default_factory=EncoderMemory)
    emotion: WindowMemory = field(default_factory=WindowMemory)
    """Of the emotion encoder's analysis; its running statistics begin with each window."""
    sonority: WindowMemory = field(default_factory=WindowMemory)
    emotion_step: int = 1
    """Windows a frame of the emotion's analysis."""

    def begin(self, frame: int) -> None:
        """The window at hand begins with the stream's `frame`."""
        self.emotion.origin, self.sonority.origin = frame * self.emotion_step, frame


def remembered_states(
    encoder: SpeechEncoder, memory: EncoderMemory, values: Tensor, first: int, positions: int, fps: int
) -> Tensor:
    """States (1, positions, H) of a window (1, N) whose position 0 is the stream's `first`; new ones are computed.

    Starts anew where the window does not go on from what is remembered.
    """
    missing_from = memory.next - first
    # Features near a window's start hear silence before it: too little is known of what to go on from.
    if not encoder.settled <= missing_from <= positions or memory.first > first:
        memory.clear(first)
        missing_from = 0
    memory.forget_before(first)
    if missing_from < positions:
        count = positions - missing_from
        features = encoder.grid_features(values, count, fps, first=missing_from)
        with torch.autocast(values.device.type, enabled=False):
            made = _extend(encoder, memory, features.to(encoder.feature_projection.projection.weight.dtype))
        memory.states = made if memory.states is None else torch.cat([memory.states, made], 1)
        memory.next += count
    assert memory.states is not None
    return memory.states


def _extend(encoder: SpeechEncoder, memory: EncoderMemory, features: Tensor) -> Tensor:
    """`SpeechEncoder.forward` of the positions that follow what `memory` holds: (1, n, channels) to (1, n, H)."""
    hidden, _ = encoder.feature_projection(features)
    reach = encoder.config.num_conv_pos_embeddings - 1
    if memory.recent is None:
        memory.recent = hidden.new_zeros(1, reach, hidden.shape[2])
    heard = torch.cat([memory.recent, hidden], 1)
    memory.recent = heard[:, heard.shape[1] - reach :]
    hidden = hidden + encoder.positions(heard)[:, reach:]
    stable = encoder.config.do_stable_layer_norm
    if not stable:
        hidden = encoder.encoder.layer_norm(hidden)
    if not memory.layers:
        heads = encoder.config.num_attention_heads
        empty = hidden.new_zeros(1, heads, 0, hidden.shape[2] // heads)
        memory.layers = [LayerMemory(empty, empty) for _ in encoder.encoder.layers]
    for layer, kept in zip(encoder.encoder.layers, memory.layers, strict=True):
        if stable:
            hidden = hidden + _attend(layer.attention, layer.layer_norm(hidden), kept)
            hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
        else:
            hidden = layer.layer_norm(hidden + _attend(layer.attention, hidden, kept))
            hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
    return encoder.encoder.layer_norm(hidden) if stable else hidden


def _attend(attention: Wav2Vec2Attention, hidden: Tensor, kept: LayerMemory) -> Tensor:
    """Self-attention of new positions (1, n, H) to themselves, causally, and to all that is kept; keeps them too."""
    batch, count, width = hidden.shape
    query, key, value = (
        projection(hidden).view(batch, count, attention.num_heads, -1).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    before = kept.keys.shape[2]
    kept.keys, kept.values = torch.cat([kept.keys, key], 2), torch.cat([kept.values, value], 2)
    mask = torch.ones(count, before + count, dtype=torch.bool, device=hidden.device).tril(before)
    mixed = functional.scaled_dot_product_attention(
        query, kept.keys, kept.values, attn_mask=mask, scale=attention.scaling
    )
    return attention.out_proj(mixed.transpose(1, 2).reshape(batch, count, width))
