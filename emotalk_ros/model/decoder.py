"""Emotion-guided decoder: biased causal self-attention, diagonal memory attention; O(block * T) memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotalk_ros.model.causal import AttentionState, attend, head_slopes, split_heads

QUERY_BLOCK = 512
"""Queries per piece of the self-attention: the bias of one piece is all that is ever materialised."""


def attention_bias(slopes: Tensor, start: int, stop: int, period: int) -> Tensor:
    """Bias of queries start..stop - 1 against keys 0..stop - 1: -slope * floor((i - j) / period), -inf for j > i.

    Returns:
        (heads, stop - start, stop), the type of `slopes`.
    """
    queries = torch.arange(start, stop, device=slopes.device)[:, None]
    distance = queries - torch.arange(stop, device=slopes.device)[None, :]
    steps = torch.div(distance, period, rounding_mode="floor").to(slopes.dtype)
    bias = -slopes[:, None, None] * steps
    return bias.masked_fill(distance < 0, float("-inf"))


class DecoderLayer(nn.Module):
    """One post-norm layer of the emotion-guided decoder.

    Self-attention is causal with a bias that grows once per `period` frames. The memory mask of the paper opens only
    the diagonal; a softmax over one key is 1, so that attention is `out_proj(v_proj(emotion_t))` frame by frame, and
    its query and key weights never act (they load and save with the rest).

    With a `reach` a frame sees so many frames before its own, and the layer streams with an `AttentionState`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        period: int,
        activation: str,
        guided: bool,
        reach: int | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.period, self.reach = heads, period, reach
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.guided = guided
        if guided:
            self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
            self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.activation = functional.relu if activation == "relu" else functional.gelu

    def forward(
        self,
        hidden: Tensor,
        emotion: Tensor | None = None,
        states: Sequence[AttentionState] | None = None,
        counts: Sequence[int] | None = None,
        last: int | None = None,
    ) -> Tensor:
        """(B, T, D) hidden and (B, T, D) emotion embedding to (B, T, D). Frame t depends on frames up to t only.

        `states`, for a layer with a `reach`: these are the next frames, `counts` of them, of streams side by side;
        None: a stream of its own. `last`, for one without: (B, last, D), the last frames only.
        """
        if states is None:
            states, counts = [AttentionState()], [hidden.shape[1]]
        mixed = self._self_attention(hidden, last) if self.reach is None else self._local(hidden, states, counts or [])
        if last is not None:
            hidden, emotion = hidden[:, -last:], None if emotion is None else emotion[:, -last:]
        hidden = self.norm1(hidden + self.dropout(mixed))
        if self.guided:
            assert emotion is not None
            hidden = self.norm2(hidden + self.dropout(self.emotion_attention(emotion)))
        inner = self.dropout(self.activation(self.linear1(hidden)))
        return self.norm3(hidden + self.dropout(self.linear2(inner)))

    def emotion_attention(self, emotion: Tensor) -> Tensor:
        """The diagonal memory attention: (..., D) to (..., D), each frame on its own."""
        attention = self.multihead_attn
        width = emotion.shape[-1]
        value = functional.linear(emotion, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
        return attention.out_proj(value)

    def _local(self, hidden: Tensor, states: Sequence[AttentionState], counts: Sequence[int]) -> Tensor:
        assert self.reach is not None
        attention = self.self_attn
        packed = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
        drop = attention.dropout if self.training else 0.0
        mixed = []
        for part, state, count in zip(packed.split(list(counts), 1), states, counts, strict=True):
            if count:
                query, key, value = (split_heads(p, self.heads) for p in part.chunk(3, -1))
                state.extend(key, value)
                mixed.append(attend(query, state, (self.heads, self.period), self.reach, 0, drop))
                state.advance(count, self.reach)
        return attention.out_proj(torch.cat(mixed, 1) if mixed else hidden)

    def _self_attention(self, hidden: Tensor, last: int | None = None) -> Tensor:
        attention = self.self_attn
        batch, frames, width = hidden.shape
        packed = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = packed.view(batch, frames, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        slopes = head_slopes(self.heads, hidden.device)
        drop = attention.dropout if self.training else 0.0
        pieces = []
        for start in range(0 if last is None else frames - last, frames, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, frames)
            bias = attention_bias(slopes, start, stop, self.period).to(query.dtype)
            pieces.append(
                functional.scaled_dot_product_attention(
                    query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop], attn_mask=bias[None], dropout_p=drop
                )
            )
        mixed = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
        return attention.out_proj(mixed.transpose(1, 2).reshape(batch, -1, width))
