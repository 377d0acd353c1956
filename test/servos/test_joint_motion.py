"""A joint keeps its limits of position, speed and acceleration whatever it is told, and arrives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotalk_ros.servos import JointMotion

RATE = 50.0


def run(motion, targets):
    return np.array([motion.step(target, 1 / RATE) for target in targets])


@given(
    st.lists(st.floats(-3.0, 3.0) | st.just(math.nan), min_size=1, max_size=300),
    st.floats(0.5, 20.0),
    st.floats(2.0, 800.0),
    st.floats(0.0, 0.05),
)
def test_no_command_takes_a_joint_past_its_limits(targets, speed, acceleration, dead_band):
    motion = JointMotion(0.1, -0.4, 0.5, speed, acceleration, dead_band)
    positions = np.concatenate([[0.1, 0.1], run(motion, targets)])
    velocity = np.diff(positions) * RATE
    assert positions.min() >= -0.4 - 1e-9 and positions.max() <= 0.5 + 1e-9
    assert np.abs(velocity).max() <= speed + 1e-6
    assert np.abs(np.diff(velocity)).max() * RATE <= acceleration + 1e-3


@given(st.floats(-0.4, 0.5), st.floats(-0.4, 0.5), st.floats(1.0, 20.0), st.floats(5.0, 800.0))
def test_it_arrives_without_overshoot(start, target, speed, acceleration):
    motion = JointMotion(start, -0.4, 0.5, speed, acceleration)
    positions = run(motion, [target] * 400)
    assert positions[-1] == pytest.approx(target, abs=1e-6)
    low, high = min(start, target), max(start, target)
    assert low - 1e-9 <= positions.min() and positions.max() <= high + 1e-9


def test_a_dead_band_spares_the_servo_the_tremor():
    motion = JointMotion(0.0, -1.0, 1.0, 5.0, 100.0, dead_band=0.02)
    random = np.random.default_rng(0)
    assert not run(motion, 0.01 * random.standard_normal(200).clip(-1.9, 1.9)).any()
    assert run(motion, [0.3] * 100)[-1] == pytest.approx(0.3)


def test_at_rest_no_dead_band_leaves_it_a_little_off():
    motion = JointMotion(0.0, -1.0, 1.0, 5.0, 100.0, dead_band=0.02)
    run(motion, [0.3] * 100)
    run(motion, [0.01] * 100)
    run(motion, [0.0] * 100)
    assert motion.position == pytest.approx(0.01)
    for _ in range(50):
        motion.step(0.0, 1 / RATE, exact=True)
    assert motion.position == 0.0 and motion.settled


def test_a_joint_found_outside_moves_back_inside():
    motion = JointMotion(1.2, -0.4, 0.5, 5.0, 100.0)
    positions = run(motion, [0.2] * 100)
    assert (np.diff(positions) <= 1e-12).all() and positions[-1] == pytest.approx(0.2)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="limits must rise"):
        JointMotion(0.0, 1.0, 0.0, 1.0, 1.0)
