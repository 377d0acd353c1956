"""Recognition figures and confidence intervals."""

import math

import numpy as np
import pytest

from emotalk_ros.evaluation.metrics.emotion import (
    accuracy,
    confusion_matrix,
    recalls,
    unweighted_average_recall,
)
from emotalk_ros.evaluation.metrics.statistics import bootstrap_mean, bootstrap_ratio

ACTUAL = ["happy", "happy", "happy", "sad"]
HEARD = ["happy", "angry", "happy", "happy"]


def test_confusion_has_the_actual_label_in_its_rows():
    matrix = confusion_matrix(HEARD, ACTUAL, ("happy", "sad", "angry"))
    np.testing.assert_array_equal(matrix, [[2, 0, 1], [1, 0, 0], [0, 0, 0]])
    assert accuracy(matrix) == pytest.approx(0.5)
    np.testing.assert_allclose(recalls(matrix), [2 / 3, 0, np.nan])
    assert unweighted_average_recall(matrix) == pytest.approx(1 / 3)


def test_faults_and_nothing():
    with pytest.raises(ValueError, match="bored"):
        confusion_matrix(["bored"], ["sad"])
    with pytest.raises(ValueError, match="1 predicted labels for 2"):
        confusion_matrix(["sad"], ["sad", "happy"])
    assert math.isnan(accuracy(confusion_matrix([], [])))


def test_bootstrap_interval_is_near_the_normal_one_and_repeats():
    values = np.random.default_rng(0).normal(10, 2, size=400)
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert bootstrap_mean(values) == found


def test_actors_are_drawn_whole():
    values = np.repeat([0.0, 1.0], 50)
    alone = bootstrap_mean(values)
    grouped = bootstrap_mean(values, groups=["a"] * 50 + ["b"] * 50)
    assert alone.high - alone.low < 0.25
    assert (grouped.low, grouped.value, grouped.high) == (0, 0.5, 1)


def test_ratio_weighs_clips_by_their_count_and_skips_nan():
    found = bootstrap_ratio([1, 0, np.nan], [1, 3, 2])
    assert found.value == pytest.approx(0.25)
    assert math.isnan(bootstrap_mean([3.0]).low) and bootstrap_mean([3.0]).value == 3
    assert math.isnan(bootstrap_mean([]).value)
