"""Sample, feature and frame counts, and the two ways from features to coefficient frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from emotalk_ros.units import SAMPLE_RATE

FEATURE_RATE = 50
"""wav2vec2's features per second, as the published code takes it (16000 / 320)."""


PROSODY_WINDOW = 800
"""Samples of a window of the prosody front end: 50 ms, three periods of the lowest voices."""


def published_frame_count(samples: int, fps: int = 30) -> int:
    """The same in the published code's floating point: at a few lengths one more (132800 samples: 250)."""
    return math.ceil(samples / SAMPLE_RATE * fps)


def conv_extent(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Input samples that one output of a stack of convolutions sees (400 for wav2vec2)."""
    extent, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        extent += (kernel - 1) * step
        step *= stride
    return extent


def conv_length(length: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Outputs of a stack of unpadded convolutions for `length` inputs (0 if too short)."""
    for kernel, stride in zip(kernels, strides, strict=True):
        length = max(0, (length - kernel) // stride + 1)
    return length


def conv_lengths(lengths: Tensor, kernels: Sequence[int], strides: Sequence[int]) -> Tensor:
    """`conv_length` for a tensor of lengths (B,)."""
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = torch.clamp(torch.div(lengths - kernel, stride, rounding_mode="floor") + 1, min=0)
    return lengths


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """(B, size) bool, True where position < length."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def stretch(features: Tensor, in_lengths: Tensor, out_lengths: Tensor, out_size: int) -> Tensor:
    """Linear interpolation with aligned corners of each clip's own part, as `interpolate(..., align_corners=True)`.

    Args:
        features: (B, S, C), clip b valid up to in_lengths[b].
        in_lengths: (B,) valid features.
        out_lengths: (B,) wanted frames.
        out_size: frames of the result, at least the largest of out_lengths.

    Returns:
        (B, out_size, C); past out_lengths[b] the last valid feature is repeated.
    """
    # Positions in float32, computed as torch does: on long clips its rounding is part of the published numbers.
    last = (in_lengths - 1).to(torch.float32)
    scale = torch.where(out_lengths > 1, last / (out_lengths - 1).clamp(min=1).to(torch.float32), 0.0)
    steps = torch.arange(out_size, device=features.device, dtype=torch.float32)
    position = torch.minimum(scale[:, None] * steps[None, :], last[:, None])
    lower = position.floor().long()
    upper = torch.minimum(lower + 1, (in_lengths - 1)[:, None])
    weight = (position - lower)[..., None].to(features.dtype)
    clip = torch.arange(features.shape[0], device=features.device)[:, None]
    return features[clip, lower] * (1 - weight) + features[clip, upper] * weight


def sample_grid(features: Tensor, count: int, fps: int, stride: int, offset: int) -> Tensor:
    """Linear interpolation at the instants t / fps, t = 0..count - 1, whatever the clip's length.

    Args:
        features: (B, S, C); feature k is centred at sample k * stride - offset.
        count: frames to read.
        fps: frames per second.
        stride: samples between features.
        offset: sample offset of feature 0, see above.

    Returns:
        (B, count, C).
    """
    # In integers, so that a window cut at a multiple of both grids gives bit-equal weights.
    numerator = torch.arange(count, device=features.device) * SAMPLE_RATE + offset * fps
    denominator = stride * fps
    lower = torch.div(numerator, denominator, rounding_mode="floor")
    weight = ((numerator - lower * denominator) / denominator).to(features.dtype)[None, :, None]
    return features.index_select(1, lower) * (1 - weight) + features.index_select(1, lower + 1) * weight
