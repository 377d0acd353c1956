"""A range that no coefficient leaves."""

import numpy as np
import pytest
from faces import play

from emotalk_ros.motion.stages.limits import Limits, LimitSettings


def test_nothing_leaves_the_limits():
    faces = np.random.default_rng(0).random((20, 52))
    out = play(Limits(LimitSettings(0.2, 0.7)), faces)
    assert out.min() == np.float32(0.2) and out.max() == np.float32(0.7)
    np.testing.assert_array_equal(play(Limits(LimitSettings()), faces), faces.astype(np.float32))


def test_limits_must_rise_within_0_to_1():
    for low, high in ((0.5, 0.2), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match="limits"):
            LimitSettings(low, high)
