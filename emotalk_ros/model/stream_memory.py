"""What a causal content encoder keeps of a stream between two windows, so that a hop costs its own frames only.

Without it a hop of 0.1 s encodes 2.3 s of speech again, of which 2.2 s were encoded before. With it the keys and values
of each attention, the inputs of the positional convolution and the finished states stay, and a window adds its new
positions. In each layer a position sees as many before it as a window has, however the stream is cut into hops; deep
layers so hear of somewhat earlier speech than a window holds. Where windows begin with the stream, nothing differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Attention

from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.frontend import WindowMemory
from emotalk_ros.model.kept_rows import KeptRows


@dataclass
class LayerMemory:
    """Keys and values (1, heads, positions, width) of one attention."""

    keys: Tensor
    values: Tensor


@dataclass
class EncoderMemory:
    """What an encoder has seen of a stream, up to position `next` (exclusive)."""

    reach: int
    """Positions that each position sees, itself among them."""
    next: int = 0
    states: Tensor | None = None
    """(1, n, H) what came out of the last n positions."""
    recent: Tensor | None = None
    """(1, kernel - 1, H) the last inputs of the positional convolution."""
    layers: list[LayerMemory] = field(default_factory=list)

    def clear(self, next_position: int) -> None:
        """Forget everything and go on from there."""
        self.next = next_position
        self.states = self.recent = None
        self.layers = []


@dataclass
class StreamMemory(KeptRows):
    """All that a causal network keeps of one stream."""

    content: EncoderMemory = field(default_factory=lambda: EncoderMemory(1))
    emotion: WindowMemory = field(default_factory=WindowMemory)
    """Of the emotion encoder's analysis; its running statistics begin with each window."""
    emotion_step: int = 1
    """Windows a frame of the emotion's analysis."""

    def begin(self, frame: int) -> None:
        """The window at hand begins with the stream's `frame`."""
        self.emotion.origin = frame * self.emotion_step

    def form(self, start: int) -> tuple[int, ...]:
        """Streams whose memories have the same form, seen from their windows' first frames, fit into one batch."""
        content, emotion = self.content, self.emotion
        before, found = start * self.emotion_step, emotion.found
        heard = (0, 0) if found is None else (emotion.first - before, found[0].shape[1])
        keys = content.layers[0].keys.shape[2] if content.layers else -1
        states = -1 if content.states is None else content.states.shape[1]
        rows = -1 if self.rows is None else self.rows.shape[1]
        return content.next - start, content.reach, states, keys, *heard, rows, self.decoded - start

    @classmethod
    def side_by_side(cls, memories: Sequence[StreamMemory], starts: Sequence[int]) -> StreamMemory:
        """One memory of several streams of the same form, whose windows all begin at frame 0."""
        first, start = memories[0], starts[0]
        content = EncoderMemory(first.content.reach, first.content.next - start)
        content.states = _stacked([m.content.states for m in memories])
        content.recent = _stacked([m.content.recent for m in memories])
        for layers in zip(*(m.content.layers for m in memories), strict=True):
            keys, values = _stacked([la.keys for la in layers]), _stacked([la.values for la in layers])
            assert keys is not None and values is not None
            content.layers.append(LayerMemory(keys, values))
        emotion = WindowMemory(first=first.emotion.first - start * first.emotion_step)
        if first.emotion.found is not None:
            found = (m.emotion.found or () for m in memories)
            emotion.found = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        rows = _stacked([m.rows for m in memories])
        return cls(rows, first.decoded - start, content, emotion, first.emotion_step)

    def share_out(self, memories: Sequence[StreamMemory], starts: Sequence[int]) -> None:
        """`side_by_side` back to the memory of each stream."""
        for k, (memory, start) in enumerate(zip(memories, starts, strict=True)):
            content = memory.content
            content.next = self.content.next + start
            content.states, content.recent = _row(self.content.states, k), _row(self.content.recent, k)
            content.layers = [
                LayerMemory(la.keys[k : k + 1].clone(), la.values[k : k + 1].clone()) for la in self.content.layers
            ]
            memory.emotion.first = self.emotion.first + start * self.emotion_step
            if self.emotion.found is not None:
                memory.emotion.found = tuple(part[k : k + 1].clone() for part in self.emotion.found)
            memory.rows, memory.decoded = _row(self.rows, k), self.decoded + start


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


def _row(values: Tensor | None, row: int) -> Tensor | None:
    return None if values is None else values[row : row + 1].clone()


def remembered_states(
    encoder: SpeechEncoder, memory: EncoderMemory, values: Tensor, first: int, positions: int, fps: int
) -> Tensor:
    """States (B, positions, H) of windows (B, N) whose position 0 is the stream's `first`; new ones are computed.

    Starts anew where the window does not go on from what is remembered.
    """
    known = memory.next - first
    kept = 0 if memory.states is None else memory.states.shape[1]
    # Features near a window's start hear silence before it: with so little known it begins anew.
    if not encoder.settled <= known <= min(positions, kept):
        memory.clear(first)
        known = 0
    states = [] if memory.states is None else [memory.states[:, kept - known :]]
    if known < positions:
        features = encoder.grid_features(values, positions - known, fps, first=known)
        with torch.autocast(values.device.type, enabled=False):
            states.append(_extend(encoder, memory, features.to(encoder.feature_projection.projection.weight.dtype)))
        memory.next = first + positions
    memory.states = torch.cat(states, 1)
    return memory.states


def _extend(encoder: SpeechEncoder, memory: EncoderMemory, features: Tensor) -> Tensor:
    """`SpeechEncoder.forward` of the positions that follow what `memory` holds: (B, n, channels) to (B, n, H)."""
    hidden, _ = encoder.feature_projection(features)
    reach = encoder.config.num_conv_pos_embeddings - 1
    if memory.recent is None:
        memory.recent = hidden.new_zeros(hidden.shape[0], reach, hidden.shape[2])
    heard = torch.cat([memory.recent, hidden], 1)
    memory.recent = heard[:, heard.shape[1] - reach :]
    hidden = hidden + encoder.positions(heard)[:, reach:]
    stable = encoder.config.do_stable_layer_norm
    if not stable:
        hidden = encoder.encoder.layer_norm(hidden)
    if not memory.layers:
        heads = encoder.config.num_attention_heads
        empty = hidden.new_zeros(hidden.shape[0], heads, 0, hidden.shape[2] // heads)
        memory.layers = [LayerMemory(empty, empty) for _ in encoder.encoder.layers]
    for layer, kept in zip(encoder.encoder.layers, memory.layers, strict=True):
        if stable:
            hidden = hidden + _attend(layer.attention, layer.layer_norm(hidden), kept, memory.reach)
            hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
        else:
            hidden = layer.layer_norm(hidden + _attend(layer.attention, hidden, kept, memory.reach))
            hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
    return encoder.encoder.layer_norm(hidden) if stable else hidden


def _attend(attention: Wav2Vec2Attention, hidden: Tensor, kept: LayerMemory, reach: int) -> Tensor:
    """Self-attention of new positions (B, n, H), each to the `reach` up to itself; their keys and values are kept."""
    batch, count, width = hidden.shape
    query, key, value = (
        projection(hidden).view(batch, count, attention.num_heads, -1).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    before = kept.keys.shape[2]
    keys, values = torch.cat([kept.keys, key], 2), torch.cat([kept.values, value], 2)
    seen = torch.ones(count, before + count, dtype=torch.bool, device=hidden.device)
    seen = seen.tril(before).triu(before - reach + 1)
    mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=attention.scaling)
    kept.keys, kept.values = keys[:, :, 1 - reach :], values[:, :, 1 - reach :]
    return attention.out_proj(mixed.transpose(1, 2).reshape(batch, count, width))
