"""Layers that stream: each takes what is new and a typed state, and returns what is complete.

One `forward` serves whole clips and streams. A whole clip is a stream that comes in one piece: the layer begins with a
fresh state, and whatever its look-ahead needs beyond the clip's end is given to it as silence. A layer returns only
outputs whose look-ahead lies within its input so far, so cutting the input into pieces changes nothing but rounding.
`reset()` of a state forgets the stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

QUERY_BLOCK = 256
"""Positions whose attention is computed at a time: nothing grows with the square of a clip's length."""


@dataclass
class InputState:
    """The inputs (B, n, ...) that later outputs still need; None before the first."""

    kept: Tensor | None = None

    def reset(self) -> None:
        """Forget the stream."""
        self.kept = None

    def extend(self, new: Tensor, padding: int = 0) -> Tensor:
        """What is kept followed by `new` (B, n, ...); a stream begins with `padding` zeros."""
        if self.kept is None:
            self.kept = new.new_zeros(new.shape[0], padding, *new.shape[2:])
        return torch.cat([self.kept, new], 1)


@dataclass
class AttentionState:
    """Keys and values (B, heads, n, width) within reach, and inputs whose look-ahead is not there yet."""

    keys: Tensor | None = None
    values: Tensor | None = None
    waiting: Tensor | None = None
    first_key: int = 0
    """Position in the stream of the first key."""
    next_query: int = 0
    """Position in the stream of the next output."""

    def reset(self) -> None:
        """Forget the stream."""
        self.keys = self.values = self.waiting = None
        self.first_key = self.next_query = 0

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values within reach, the new ones (B, heads, n, width) at the end."""
        self.keys = key if self.keys is None else torch.cat([self.keys, key], 2)
        self.values = value if self.values is None else torch.cat([self.values, value], 2)
        return self.keys, self.values

    def advance(self, count: int, left: int) -> None:
        """`count` outputs were made: keys further than `left` before the next output are dropped."""
        assert self.keys is not None and self.values is not None
        self.next_query += count
        gone = max(0, self.next_query - left - self.first_key)
        if gone:
            self.keys, self.values = self.keys[:, :, gone:], self.values[:, :, gone:]
            self.first_key += gone


def convolve(layer: nn.Conv1d, new: Tensor, state: InputState, padding: int) -> Tensor:
    """An unpadded convolution (B, n, C) to (B, m, D) over a stream that begins with `padding` zeros."""
    values = state.extend(new, padding)
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    count = max(0, (values.shape[1] - kernel) // stride + 1)
    state.kept = values[:, count * stride :]
    if count == 0:
        return values.new_zeros(values.shape[0], 0, layer.out_channels)
    used = values[:, : (count - 1) * stride + kernel]
    return functional.conv1d(used.transpose(1, 2), layer.weight, layer.bias, stride).transpose(1, 2)


def attend(
    query: Tensor, state: AttentionState, bias: Tensor | None, left: int, right: int, dropout: float = 0.0
) -> Tensor:
    """Attention of the next positions to those from `left` before to `right` after each, with a bias by distance.

    Args:
        query: (B, heads, n, width), positions `state.next_query` and following; their look-ahead is among the keys.
        state: keys and values within reach.
        bias: (heads, left + right + 1) added to the score of the key at distance -left .. right; None: nothing is.
        left, right: reach in positions.
        dropout: of the attention weights.

    Returns:
        (B, n, heads * width).
    """
    assert state.keys is not None and state.values is not None
    batch, heads, count, width = query.shape
    pieces = [state.values[:, :, :0]]
    for start in range(0, count, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, count)
        at = torch.arange(start, stop, device=query.device) + state.next_query
        low = max(0, state.next_query + start - left - state.first_key)
        high = min(state.keys.shape[2], state.next_query + stop + right - state.first_key)
        distance = torch.arange(low, high, device=query.device) + state.first_key - at[:, None]
        within = (distance >= -left) & (distance <= right)
        if bias is not None:
            scores = bias[:, (distance + left).clamp(0, left + right)]
            within = scores.masked_fill(~within, float("-inf"))[None].to(query.dtype)
        pieces.append(
            functional.scaled_dot_product_attention(
                query[:, :, start:stop],
                state.keys[:, :, low:high],
                state.values[:, :, low:high],
                attn_mask=within,
                dropout_p=dropout,
            )
        )
    mixed = torch.cat(pieces, 2)
    return mixed.transpose(1, 2).reshape(batch, count, heads * width)


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(B, n, heads * width) to (B, heads, n, width)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)
