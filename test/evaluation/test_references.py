"""The two rows beside every table."""

import numpy as np
import pytest

from emotalk_ros.evaluation.references import energy_jaw, loudness, mean_coefficients, motionless
from emotalk_ros.face import COUNT, INDEX


def test_mean_face_weighs_frames_not_clips():
    mean = mean_coefficients([np.zeros((3, COUNT)), np.ones((1, COUNT))])
    np.testing.assert_allclose(mean, 0.25)
    np.testing.assert_allclose(motionless(5, mean), np.full((5, COUNT), 0.25))
    assert not motionless(2).any()
    with pytest.raises(ValueError, match="no frame"):
        mean_coefficients([])


def test_loudness_of_a_sine_is_minus_three_db():
    t = np.arange(16000) / 16000
    level = loudness(np.sin(2 * np.pi * 200 * t))
    assert level.shape == (30,)
    np.testing.assert_allclose(level[2:-2], -3.01, atol=0.05)
    np.testing.assert_allclose(loudness(np.zeros(1600)), -80)


def test_energy_jaw_opens_with_the_voice_and_nothing_else_moves():
    t = np.arange(16000) / 16000
    audio = np.where(t < 0.5, 0.0, np.sin(2 * np.pi * 200 * t))
    motion = energy_jaw(audio)
    jaw = motion[:, INDEX["jawOpen"]]
    assert jaw[:13].max() == 0 and jaw[20:].min() == pytest.approx(0.25, abs=0.01)
    assert not np.delete(motion, INDEX["jawOpen"], axis=1).any()
    assert energy_jaw(np.zeros(1600)).max() == 0
    assert energy_jaw(np.zeros(0)).shape == (0, COUNT)
