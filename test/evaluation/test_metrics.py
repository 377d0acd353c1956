"""Vertex metrics on cases small enough to work out by hand."""

import math

import numpy as np
import pytest

from emotalk_ros.evaluation.metrics import faces as metrics
from emotalk_ros.face import COUNT, INDEX, FaceBasis


def motion(*frames):
    return np.array(frames, dtype=float)


STILL = motion([[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]])
# Errors of the two vertices: 5 and 1 mm in the first frame, 0 and 2 mm in the second.
OFF = motion([[3, 4, 0], [0, 0, 1]], [[0, 0, 0], [0, 2, 0]])


def test_largest_error_of_each_frame_then_the_mean():
    assert metrics.max_vertex_error(OFF, STILL) == pytest.approx((5 + 2) / 2)
    assert metrics.max_vertex_error_squared(OFF, STILL) == pytest.approx((25 + 4) / 2)
    assert metrics.max_vertex_error(OFF, OFF) == 0


def test_errors_do_not_depend_on_the_template():
    template = np.array([[10.0, 20, 30], [1, 2, 3]])
    assert metrics.max_vertex_error(OFF + template, STILL + template) == pytest.approx(3.5)


def test_velocity_error_is_per_second():
    # Differences over time: vertex 0 moves by (-3, -4, 0), vertex 1 by (0, 2, -1).
    assert metrics.velocity_error(OFF, STILL, fps=30) == pytest.approx(30 * (5 + math.sqrt(5)) / 2)
    assert math.isnan(metrics.velocity_error(OFF[:1], STILL[:1], fps=30))


def test_jitter_is_the_third_derivative():
    t = np.arange(20) / 25
    cubic = np.zeros((20, 1, 3))
    cubic[:, 0, 1] = 7.0 * t**3  # mm; its third derivative is 42 mm/s^3 everywhere
    assert metrics.jitter(cubic, fps=25) == pytest.approx(0.042, rel=1e-6)
    parabola = np.zeros((20, 1, 3))
    parabola[:, 0, 0] = t**2
    assert metrics.jitter(parabola, fps=25) == pytest.approx(0, abs=1e-9)
    assert math.isnan(metrics.jitter(cubic[:3], fps=25))


def test_upper_face_dynamics_is_positive_for_a_sleepy_prediction():
    lively = motion([[0, 0, 0], [0, 0, 0]], [[0, 4, 0], [2, 0, 0]])  # std of the norms: 2 and 1
    assert metrics.upper_face_dynamics_deviation(STILL, lively) == pytest.approx(1.5)
    assert metrics.upper_face_dynamics_deviation(lively, STILL) == pytest.approx(-1.5)
    assert metrics.upper_face_dynamics_deviation(lively, lively) == 0


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2, 3\).*\(1, 2, 3\)"):
        metrics.max_vertex_error(OFF, STILL[:1])


@pytest.fixture
def face():
    template = np.array([[0, 1, 0], [0, 0, 0], [-25, 0, 0], [25, 0, 0], [0, 130, 0], [0, -50, 0]], dtype=float)
    basis = np.zeros((COUNT, 6, 3))
    basis[INDEX["jawOpen"], 1] = [0, -30, 0]
    basis[INDEX["browInnerUp"], 4] = [0, 8, 0]
    return FaceBasis(template, basis, [[0, 1, 2]], [0, 1, 2, 3], [4], [[0, 1]], [2, 3], [4, 5])


def test_clip_score_is_made_of_the_parts(face):
    reference = np.zeros((40, COUNT))
    reference[:, INDEX["jawOpen"]] = 0.2 * (1 + np.sin(np.arange(40) / 3))
    prediction = reference.copy()
    prediction[:, INDEX["jawOpen"]] += 0.1
    prediction[:, INDEX["browInnerUp"]] = 0.5
    score = metrics.score_clip(prediction, reference, face, 30, [("B", 0.4, 0.45), ("AA", 0, 1)])
    assert score["lve_mm"] == pytest.approx(3, abs=1e-4)
    assert score["lve_squared_mm2"] == pytest.approx(9, abs=1e-3)
    assert score["eve_mm"] == pytest.approx(4, abs=1e-4)
    assert score["mve_mm"] == pytest.approx((3 + 4) / 6, abs=1e-4)
    assert score["lip_gap_correlation"] == pytest.approx(1)
    assert score["lip_gap_error_mm"] == pytest.approx(3, abs=1e-4)
    assert score["best_lag_s"] == 0 and score["lip_velocity_error_mm_s"] == pytest.approx(0, abs=1e-3)
    assert score["lip_jitter_m_s3"] == pytest.approx(score["lip_jitter_reference_m_s3"], rel=1e-3)
    assert score["coefficient_error"] == pytest.approx(0.6 / COUNT)
    # The smallest opening is at frame 14 (sin = -1), 0.467 s: closed within the b, widened by a frame.
    assert (score["closures"], score["bilabials"]) == (1, 1)
