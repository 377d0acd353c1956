"""How well an emotion is recognised: accuracy, unweighted average recall, confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import EMOTIONS


def confusion_matrix(
    predicted: Sequence[str], actual: Sequence[str], labels: Sequence[str] = EMOTIONS
) -> NDArray[np.int64]:
    """(L, L) counts, row the actual label, column the predicted one. Raises ValueError for an unknown label."""
    if len(predicted) != len(actual):
        raise ValueError(f"{len(predicted)} predicted labels for {len(actual)} actual ones")
    where = {label: k for k, label in enumerate(labels)}
    unknown = sorted({*predicted, *actual} - set(where))
    if unknown:
        raise ValueError(f"unknown emotion {', '.join(unknown)}; known: {', '.join(labels)}")
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, ([where[a] for a in actual], [where[p] for p in predicted]), 1)
    return matrix


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of clips on the diagonal; NaN of none."""
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else math.nan


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """(L,) recall of each actual label; NaN where it never occurs."""
    counts = confusion.sum(axis=1)
    return np.where(counts > 0, np.diag(confusion) / np.maximum(counts, 1), np.nan)


def unweighted_average_recall(confusion: NDArray[np.int64]) -> float:
    """Mean of the recalls of the labels that occur, so that a frequent label counts no more than a rare one."""
    values = recalls(confusion)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan


def calibration_error(confidences: Sequence[float], hits: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): mean gap between confidence and accuracy, in bins of confidence,
    weighted by how many answers lie in each; NaN of none.
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(hits, np.float64)
    if not len(sure):
        return math.nan
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[bin_of == b].sum() - right[bin_of == b].sum()) for b in np.unique(bin_of)]
    return float(sum(gaps) / len(sure))
