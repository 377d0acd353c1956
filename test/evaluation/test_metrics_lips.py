"""Correlation, lag and closures of the lips."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotalk_ros.evaluation.metrics.lips import Closure, best_lag, bilabial_closure, correlation


def test_correlation_of_known_signals():
    assert correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert correlation([1, 0, -1, 0], [0, 1, 0, -1]) == pytest.approx(0)
    assert math.isnan(correlation([2, 2, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="3 frames, reference 2"):
        correlation([1, 2, 3], [1, 2])


@given(st.integers(-9, 9))
def test_best_lag_finds_a_shift_and_its_sign(shift):
    signal = np.random.default_rng(3).normal(size=120)
    late = np.roll(signal, shift)[20:-20]  # what happened at n now happens at n + shift
    lag = best_lag(late, signal[20:-20], fps=30, max_lag=0.3)
    assert lag.frames == shift and lag.seconds == pytest.approx(shift / 30) and lag.correlation == pytest.approx(1)


def test_a_still_face_has_no_lag():
    lag = best_lag(np.ones(30), np.arange(30.0), fps=30)
    assert lag.frames == 0 and math.isnan(lag.correlation)


GAP = np.array([5, 5, 5, 0, 5, 5, 5, 5, 1, 5], dtype=float)  # 10 fps; the 20th percentile is 4.2


def test_closures_within_a_frame_of_the_phone():
    phones = [("B", 0.4, 0.45), ("P", 0.51, 0.6), ("M", 0.72, 0.78), ("AA1", 0.3, 0.3)]
    assert np.percentile(GAP, 20) == pytest.approx(4.2)
    # b looks at frames 3..5 (frame 3 is closed), p at 5..7, m at 7..8 (8 is closed).
    assert bilabial_closure(GAP, 10, phones) == Closure(2, 3)
    assert bilabial_closure(GAP, 10, phones).rate == pytest.approx(2 / 3)


def test_the_stricter_variant_looks_at_the_centre_only():
    assert bilabial_closure(GAP, 10, [("B", 0.4, 0.45)], at_centre=True) == Closure(0, 1)
    assert bilabial_closure(GAP, 10, [("B", 0.2, 0.4)], at_centre=True) == Closure(1, 1)


def test_long_rests_set_no_mark_when_only_speech_counts():
    # Closed to 1 mm at the m, but to 0 in the silence of half the clip.
    gap = np.array([0, 0, 0, 0, 0, 0, 6, 5, 1, 5, 6, 6], dtype=float)
    phones = [("SIL", 0.0, 0.5), ("AA", 0.6, 0.75), ("M", 0.8, 0.8), ("IY", 0.85, 1.1)]
    assert bilabial_closure(gap, 10, phones) == Closure(0, 1)
    assert bilabial_closure(gap, 10, phones, speech_only=True) == Closure(1, 1)
    assert bilabial_closure(gap, 10, phones, speech_only=True, at_centre=True) == Closure(1, 1)


def test_a_threshold_in_the_unit_of_the_gap():
    phones = [("B", 0.3, 0.3), ("M", 0.8, 0.8)]
    assert bilabial_closure(GAP, 10, phones, threshold=0.5) == Closure(1, 2)
    assert bilabial_closure(GAP, 10, phones, threshold=1.0) == Closure(2, 2)


def test_a_face_that_never_moves_closes_at_nothing():
    assert bilabial_closure(np.full(10, 2.0), 10, [("B", 0.3, 0.4)]) == Closure(0, 1)


def test_phones_outside_the_clip_are_not_counted():
    assert bilabial_closure(GAP, 10, [("B", 5.0, 5.1)]) == Closure(0, 0)
    assert math.isnan(bilabial_closure(GAP, 10, []).rate)
    assert bilabial_closure([], 10, [("B", 0, 1)]) == Closure(0, 0)
