"""Units that every room shares: samples per second, nanoseconds, the frame grid."""

from __future__ import annotations

SAMPLE_RATE = 16_000
"""Samples per second of all audio between rooms."""
NS = 1_000_000_000
"""Nanoseconds per second."""


def ratio_ceil(numerator: int, denominator: int) -> int:
    """ceil(numerator / denominator) in integers."""
    return -(-numerator // denominator)


def frame_count(samples: int, fps: int = 30) -> int:
    """Frames whose instant n / fps lies inside a clip: ceil(samples / 16000 * fps), exactly (in integers)."""
    return ratio_ceil(samples * fps, SAMPLE_RATE)
