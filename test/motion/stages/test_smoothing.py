"""Noise goes, closures pass."""

import numpy as np
import pytest
from faces import BROW, CLOSE, JAW, face, play

from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothing, ExpressionSmoothingSettings
from emotalk_ros.motion.stages.smoothing import Smoothing, SmoothingSettings


def test_jitter_of_a_slow_mouth_is_calmed():
    noisy = [face(jawOpen=0.3 + 0.01 * n) for n in np.random.default_rng(1).standard_normal(200)]
    calm = play(Smoothing(SmoothingSettings(0.05)), noisy)[20:, JAW]
    assert calm.std() < 0.7 * np.std([n[JAW] for n in noisy])
    assert calm.mean() == pytest.approx(0.3, abs=0.005)


def test_lips_that_meet_for_two_frames_still_meet():
    shut = [face(jawOpen=0.4, mouthClose=0.4 if k in (10, 11) else 0.02) for k in range(20)]
    out = play(Smoothing(SmoothingSettings()), shut)
    gap = out[:, JAW] - out[:, CLOSE]
    assert gap[10] < 0.05 and gap[11] < 0.01
    assert gap[13] > 0.36


def test_lids_are_not_slowed_and_the_upper_face_is_left_to_the_other_smoothing():
    sudden = [face(browInnerUp=0.4 * (k >= 10), eyeBlinkLeft=1.0 * (k >= 10)) for k in range(20)]
    out = play(Smoothing(SmoothingSettings()), sudden)
    assert out[10, INDEX["eyeBlinkLeft"]] > 0.9 and out[10, BROW] == np.float32(0.4)


def test_a_sudden_expression_comes_within_tenths_of_a_second_and_the_mouth_at_once():
    sudden = [face(browInnerUp=0.4 * (k >= 10), jawOpen=0.5 * (k >= 10), eyeBlinkLeft=k >= 10) for k in range(40)]
    out = play(ExpressionSmoothing(ExpressionSmoothingSettings(0.1)), sudden)
    brow = out[:, BROW]
    assert brow[9] == 0 and brow[12] == pytest.approx(0.4 * (1 - np.exp(-1)), abs=1e-4)  # 0.1 s after
    assert brow[25] > 0.39
    assert out[10, JAW] == 0.5 and out[10, INDEX["eyeBlinkLeft"]] == 1.0


@pytest.mark.parametrize(
    "stage", [Smoothing(SmoothingSettings(0.0)), ExpressionSmoothing(ExpressionSmoothingSettings(0.0))]
)
def test_no_time_is_no_smoothing(stage):
    faces = np.random.default_rng(0).random((20, 52)).astype(np.float32)
    np.testing.assert_array_equal(play(stage, faces), faces)


@pytest.mark.parametrize("stage", [Smoothing(SmoothingSettings()), ExpressionSmoothing(ExpressionSmoothingSettings())])
def test_frames_left_out_count_as_time(stage):
    constant = [face(jawOpen=0.0, browInnerUp=0.0), *[face(jawOpen=0.1, browInnerUp=0.1)] * 40]
    out = play(stage, constant, left_out=range(3, 20))
    assert out[3] == pytest.approx(constant[-1], abs=1e-3)  # frame 20, 19 frames after the change


def test_times_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"smoothing 2\.0: must be 0 to 0\.5"):
        SmoothingSettings(2.0)
    with pytest.raises(ValueError, match="expression_smoothing -1"):
        ExpressionSmoothingSettings(-1)
