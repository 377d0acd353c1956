"""Confidence intervals by the bootstrap (Efron and Tibshirani 1993, percentile intervals), seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap


class Interval(NamedTuple):
    """A figure and its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[object] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Sum of `numerators` over sum of `denominators`, (N,) each, with its interval (for closures over bilabials).

    `groups` names the group of each item (its actor): whole groups are then drawn, because clips of one actor are
    alike and drawing them singly would promise more than is known. Items with a NaN are left out. With fewer than
    two items or groups the interval is (NaN, NaN).
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"expected two equal rows of figures, got {top.shape} and {bottom.shape}")
    if groups is not None and len(groups) != len(top):
        raise ValueError(f"{len(groups)} groups for {len(top)} figures")
    keep = np.isfinite(top) & np.isfinite(bottom)
    names = np.arange(len(top)) if groups is None else np.unique([str(g) for g in groups], return_inverse=True)[1]
    _, index = np.unique(names[keep], return_inverse=True)
    tops = np.bincount(index, weights=top[keep])
    bottoms = np.bincount(index, weights=bottom[keep])
    value = float(tops.sum() / bottoms.sum()) if bottoms.sum() > 0 else math.nan
    counted = bottoms > 0
    if counted.sum() < 2:
        return Interval(value, math.nan, math.nan)
    found = bootstrap(
        (tops[counted], bottoms[counted]),
        lambda tops, bottoms, axis: tops.sum(axis=axis) / bottoms.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def bootstrap_mean(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean of `values` (N,) with its interval; `groups` and NaN as in `bootstrap_ratio`."""
    figures = np.asarray(values, dtype=np.float64)
    return bootstrap_ratio(figures, np.ones_like(figures), groups, level, resamples, seed)
