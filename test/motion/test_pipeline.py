"""All stages together: switched off, changed while they run, and the frames that close a mouth."""

import dataclasses

import numpy as np
import pytest
from faces import CLOSE, JAW, face, frame

from emotalk_ros.face.names import LOWER_FACE, UPPER_FACE
from emotalk_ros.motion import MotionPipeline, MotionSettings, closing_frames
from emotalk_ros.motion.pipeline import STAGES
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.motion.stages.expression import ExpressionSettings
from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothingSettings
from emotalk_ros.motion.stages.gains import GainSettings
from emotalk_ros.motion.stages.level_jaw import LevelJawSettings
from emotalk_ros.motion.stages.rest import RestSettings
from emotalk_ros.motion.stages.smoothing import SmoothingSettings

OFF = MotionSettings(
    level_jaw=LevelJawSettings(share=0.0),
    smoothing=SmoothingSettings(time=0.0),
    expression_smoothing=ExpressionSmoothingSettings(time=0.0),
    rest=RestSettings(on=False),
    expression=ExpressionSettings(share=0.0),
    blinks=BlinkSettings(on=False),
)


def play(pipeline, faces, indices=None):
    indices = range(len(faces)) if indices is None else indices
    return np.stack([pipeline.step(frame(faces[k], k, loudness=0.5)).coefficients for k in indices])


def test_every_stage_can_be_switched_off():
    faces = np.random.default_rng(0).random((20, 52)).astype(np.float32)
    np.testing.assert_array_equal(play(MotionPipeline(OFF), faces), faces)


def test_every_field_of_the_settings_has_its_stage():
    assert {part.name for part in dataclasses.fields(MotionSettings)} == set(STAGES)


def test_frames_left_out_count_as_time():
    faces = [face(jawOpen=0.5)] * 60
    reference = play(MotionPipeline(), faces)
    kept = [*range(20), *range(40, 60)]
    np.testing.assert_allclose(play(MotionPipeline(), faces, kept), reference[kept], atol=1e-6)


def test_a_new_stream_begins_as_the_first_did():
    settings = dataclasses.replace(MotionSettings(), blinks=BlinkSettings(on=False))  # they differ on purpose
    faces = np.random.default_rng(3).random((40, 52)).astype(np.float32)
    pipeline = MotionPipeline(settings)
    first = play(pipeline, faces)
    pipeline.reset()
    np.testing.assert_array_equal(play(pipeline, faces), first)


def test_settings_change_while_running_without_a_jump():
    pipeline = MotionPipeline(dataclasses.replace(OFF, smoothing=SmoothingSettings()))
    faces = [face(jawOpen=0.4)] * 40
    before = play(pipeline, faces, range(20))[-1]
    pipeline.settings = dataclasses.replace(
        pipeline.settings, smoothing=SmoothingSettings(0.1), gains=GainSettings(mouth=1.2)
    )
    after = play(pipeline, faces, range(20, 40))[:, JAW]
    assert before[JAW] == pytest.approx(0.4)
    assert 0.4 < after[0] < 0.48
    assert after[-1] == pytest.approx(0.48, abs=1e-3)


def test_a_mouth_left_open_closes_on_the_grid():
    last = frame(face(jawOpen=0.5, mouthSmileLeft=0.3), 29)
    frames = closing_frames(last, 30.0, seconds=2.5)
    jaws = [f.coefficients[JAW] for f in frames]
    assert frames[0].index == 29 + 75 and [f.index for f in frames] == list(range(104, 104 + len(frames)))
    assert all(abs(f.stamp_ns - f.index * 1e9 / 30) <= 1 for f in frames)
    assert (np.diff(jaws) < 0).all() and jaws[0] < 0.5 and frames[-1].coefficients.max() == 0
    assert closing_frames(frames[-1], 30.0, 1.0) == []


def test_the_two_regions_make_the_face():
    assert sorted([*LOWER_FACE, *UPPER_FACE]) == list(range(52))


def test_lips_that_close_close_through_all_stages():
    shut = [face(jawOpen=0.2, mouthClose=0.2 if k in (40, 41) else 0.0) for k in range(60)]
    out = play(MotionPipeline(), shut)
    assert out[38, JAW] - out[38, CLOSE] > 0.1
    assert out[41, JAW] - out[41, CLOSE] < 0.01
