"""Layers that stream: each takes what is new and a typed state, and returns what is complete.

One `forward` serves whole clips and streams. A whole clip is a stream that comes in one piece: the layer begins with a
fresh state, and whatever its look-ahead needs beyond the clip's end is given to it as silence. A layer returns only
outputs whose look-ahead lies within its input so far, so cutting the input into pieces changes nothing but rounding.
`reset()` of a state forgets the stream.

Several streams run in one pass *side by side*: their new positions, n_1, n_2, .. of them, lie behind each other in one
tensor (B, n_1 + n_2 + .., C) beside the list of these counts. What treats each position by itself is one product for
all streams, so a network's weights are read once; only attention and convolutions look at single streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

QUERY_BLOCK = 256
"""Positions whose attention is computed at a time: nothing grows with the square of a clip's length."""
_SHORT = 8192
"""Numbers of a mask up to which it is kept for the next time."""
_SPARE = 64
"""Keys that there is room for when keys move to a larger place."""


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
    _room: Tensor | None = field(default=None, repr=False, compare=False)
    """(2, B, heads, m, width) that keys and values are views of, with room for more."""
    _start: int = field(default=0, repr=False, compare=False)

    def reset(self) -> None:
        """Forget the stream."""
        self.keys = self.values = self.waiting = self._room = None
        self.first_key = self.next_query = self._start = 0

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values within reach, the new ones (B, heads, n, width) at the end."""
        if self.keys is None or self.values is None:
            self.keys, self.values = key, value
        elif torch.is_grad_enabled():
            self.keys, self.values = torch.cat([self.keys, key], 2), torch.cat([self.values, value], 2)
        else:
            self._append(key, value)
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def _append(self, key: Tensor, value: Tensor) -> None:
        """In place, so that what is known is not copied with every piece."""
        assert self.keys is not None and self.values is not None
        count, new = self.keys.shape[2], key.shape[2]
        if self._room is None or self._start + count + new > self._room.shape[3]:
            batch, heads, _, width = key.shape
            self._room = key.new_empty(2, batch, heads, count + new + _SPARE, width)
            self._room[0, :, :, :count], self._room[1, :, :, :count] = self.keys, self.values
            self._start = 0
        begin, end = self._start, self._start + count + new
        self._room[0, :, :, end - new : end], self._room[1, :, :, end - new : end] = key, value
        self.keys, self.values = self._room[0, :, :, begin:end], self._room[1, :, :, begin:end]

    def advance(self, count: int, left: int) -> None:
        """`count` outputs were made: keys further than `left` before the next output are dropped."""
        assert self.keys is not None and self.values is not None
        self.next_query += count
        gone = max(0, self.next_query - left - self.first_key)
        if gone:
            self.keys, self.values = self.keys[:, :, gone:], self.values[:, :, gone:]
            self.first_key += gone
            self._start += gone


def convolve(
    layer: nn.Conv1d, new: Tensor, counts: Sequence[int], states: Sequence[InputState], padding: int
) -> tuple[Tensor, list[int]]:
    """An unpadded convolution over streams side by side, each of which begins with `padding` zeros.

    Args:
        layer: kernel and stride.
        new: (B, n_1 + n_2 + .., C).
        counts: the n of each stream.
        states: of each stream.
        padding: zeros.

    Returns:
        (B, m_1 + m_2 + .., D) that became complete, and the m of each stream.
    """
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    pieces, made = [], []
    for part, state in zip(new.split(list(counts), 1), states, strict=True):
        values = state.extend(part, padding)
        count = max(0, (values.shape[1] - kernel) // stride + 1)
        state.kept = values[:, count * stride :]
        made.append(count)
        if count:
            pieces.append(values[:, : (count - 1) * stride + kernel])
    if not pieces:
        return new.new_zeros(new.shape[0], 0, layer.out_channels), made
    if len(pieces) == 1 and sum(made) > QUERY_BLOCK:
        return functional.conv1d(pieces[0].transpose(1, 2), layer.weight, layer.bias, stride).transpose(1, 2), made
    # One matrix product for all streams.
    windows = torch.cat([piece.unfold(1, kernel, stride).flatten(2) for piece in pieces], 1)
    return functional.linear(windows, layer.weight.flatten(1), layer.bias), made


def attend(
    query: Tensor, state: AttentionState, slopes: tuple[int, int] | None, left: int, right: int, dropout: float = 0.0
) -> Tensor:
    """Attention of the next positions to those from `left` before to `right` after each.

    Args:
        query: (B, heads, n, width), positions `state.next_query` and following; their look-ahead is among the keys.
        state: keys and values within reach.
        slopes: (heads, period) of the bias `distance_bias`; None: nothing is added to the scores.
        left, right: reach in positions.
        dropout: of the attention weights.

    Returns:
        (B, n, heads * width).
    """
    assert state.keys is not None and state.values is not None
    batch, heads, count, width = query.shape
    pieces = []
    for start in range(0, count, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, count)
        low = max(0, state.next_query + start - left - state.first_key)
        high = min(state.keys.shape[2], state.next_query + stop + right - state.first_key)
        ahead = low + state.first_key - state.next_query - start  # of the first key before the first query
        form = (ahead, stop - start, high - low, left, right, slopes, query.dtype, query.device)
        mask = _short_mask(*form) if heads * (stop - start) * (high - low) <= _SHORT else _mask(*form)
        pieces.append(
            functional.scaled_dot_product_attention(
                query[:, :, start:stop],
                state.keys[:, :, low:high],
                state.values[:, :, low:high],
                attn_mask=mask,
                dropout_p=dropout,
            )
        )
    mixed = pieces[0] if len(pieces) == 1 else torch.cat([state.values[:, :, :0], *pieces], 2)
    return mixed.transpose(1, 2).reshape(batch, count, heads * width)


def head_slopes(heads: int, device: torch.device | None = None) -> Tensor:
    """Slopes (heads,) of the attention bias (Press et al. 2022): 1/4, 1/16, 1/64, 1/256 for four heads."""
    power = 2 ** math.floor(math.log2(heads))
    steps = torch.arange(1, power + 1, device=device, dtype=torch.float32)
    slopes = torch.exp2(-8.0 / power * steps)
    if power == heads:
        return slopes
    # The heads left over take every other slope of the next power of two.
    odd = torch.arange(1, 2 * (heads - power), 2, device=device, dtype=torch.float32)
    return torch.cat([slopes, torch.exp2(-4.0 / power * odd)])


def _mask(
    ahead: int,
    queries: int,
    keys: int,
    left: int,
    right: int,
    slopes: tuple[int, int] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor | None:
    """What is added to the scores of keys, the first of which lies `ahead` after the first query: -inf where a key is
    not seen, and -slope * floor(distance / period). None where nothing is added.
    """
    with torch.inference_mode(False):
        distance = torch.arange(keys, device=device) + ahead - torch.arange(queries, device=device)[:, None]
        within = (distance >= -left) & (distance <= right)
        if slopes is None:
            return None if bool(within.all()) else torch.where(within, 0.0, float("-inf")).to(dtype)
        heads, period = slopes
        steps = torch.div(-distance.clamp(max=0), period, rounding_mode="floor")
        bias = -head_slopes(heads, device)[:, None, None] * steps
        return bias.masked_fill(~within, float("-inf"))[None].to(dtype)


_short_mask = lru_cache(maxsize=4096)(_mask)
"""Streams ask for the same few masks again and again."""


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(B, n, heads * width) to (B, heads, n, width)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)
