"""Silence brings the mouth to rest, the voice wakes it."""

import numpy as np
import pytest
from faces import BROW, JAW, face, play

from emotalk_ros.face.names import INDEX, LOWER_FACE
from emotalk_ros.motion.stages.rest import Rest, RestSettings


@pytest.mark.parametrize("fps", [15, 30, 60])
def test_silence_brings_the_mouth_to_rest_within_its_time_and_the_return_does_not_jump(fps):
    random = np.random.default_rng(2)
    count = 6 * fps
    posed = face(jawOpen=0.5, mouthClose=0.1, mouthSmileLeft=0.4, browInnerUp=0.6)
    faces = np.clip(posed + 0.1 * random.random((count, 52)), 0, 1)
    activity = np.ones(count)
    off, on = 2 * fps, 5 * fps
    activity[off:on] = 0
    out = play(Rest(RestSettings()), faces, activity, fps=fps)
    rested = off + int(np.ceil(0.2 * fps))
    assert out[off - 2, JAW] > 0.4
    assert out[rested:on][:, LOWER_FACE].max() == 0
    assert np.abs(np.diff(out[rested:on], axis=0)).max() < 0.01
    assert 0.3 < out[rested, BROW] < 0.7  # the expression fades more slowly...
    assert out[rested + fps, BROW] < out[rested, BROW] - 0.1  # ...but does
    # the wake ramp's steepest step (1.5 of its mean) and the jitter of the input
    assert np.abs(np.diff(out[on - 1 : on + fps // 2, JAW])).max() < min(0.6, 0.6 * 1.5 / (0.1 * fps)) + 0.1
    assert out[on + int(0.15 * fps), JAW] > 0.4


def test_a_stream_begins_at_rest():
    assert play(Rest(RestSettings()), [face(jawOpen=0.6, browInnerUp=0.5)] * 10, [0.0] * 10).max() == 0


def test_switched_off_it_leaves_silence_alone():
    faces = np.random.default_rng(0).random((20, 52)).astype(np.float32)
    np.testing.assert_array_equal(play(Rest(RestSettings(on=False)), faces, [0.0] * 20), faces)


def test_times_out_of_range_are_refused():
    for fields in ({"rest_time": 3.0}, {"wake_time": -1.0}, {"fade_rate": 11.0}):
        with pytest.raises(ValueError, match=f"{next(iter(fields))} .*: must be 0 to"):
            RestSettings(**fields)


def test_lids_open_when_the_voice_stops_while_they_are_shut():
    faces = [face(eyeBlinkLeft=0.93, eyeBlinkRight=0.93, browInnerUp=0.5)] * 90
    activity = np.ones(90)
    activity[30:] = 0
    out = play(Rest(RestSettings()), faces, activity)
    lids = out[:, INDEX["eyeBlinkLeft"]]
    assert lids[29] > 0.9 and lids[37:].max() == 0  # within the time in which the mouth comes to rest
    assert out[45, BROW] > 0.2
