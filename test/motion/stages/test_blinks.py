"""Blinks: natural, reproducible, on both lids."""

import numpy as np
import pytest
from faces import face, frame, play

from emotalk_ros.face.names import BLINK
from emotalk_ros.motion.stage import FrameContext
from emotalk_ros.motion.stages.blinks import Blinks, BlinkSettings


def lids(seed, fps, minutes=4):
    return play(Blinks(BlinkSettings(seed=seed)), np.zeros((minutes * 60 * fps, 52), np.float32), fps=fps)[:, BLINK]


def test_blinks_are_natural_reproducible_and_on_both_lids():
    curve = lids(7, 60)
    np.testing.assert_array_equal(curve, lids(7, 60))
    assert not np.array_equal(curve, lids(8, 60))
    np.testing.assert_array_equal(curve[:, 0], curve[:, 1])
    shut = np.concatenate([[0], curve[:, 0] > 0, [0]]).astype(int)
    begins, ends = np.flatnonzero(np.diff(shut) == 1), np.flatnonzero(np.diff(shut) == -1)
    lengths, pauses = (ends - begins) / 60, (begins[1:] - ends[:-1]) / 60
    assert 30 < len(begins) < 100
    assert lengths.min() > 0.11 and lengths.max() < 0.27
    assert pauses.min() > 1.95 and pauses.max() < 7.1
    for begin, end in zip(begins, ends, strict=True):
        peak = begin + int(np.argmax(curve[begin:end, 0]))
        assert curve[peak, 0] > 0.95
        assert peak - begin < end - peak  # closes faster than it opens
    np.testing.assert_allclose(lids(7, 30), curve[::2], atol=1e-6)  # the same eyes at another rate


def test_blinks_can_be_switched_off_and_never_open_eyes_that_the_network_closed():
    assert play(Blinks(BlinkSettings(on=False)), [face()] * 600).max() == 0
    closed = [face(eyeBlinkLeft=0.8, eyeBlinkRight=0.8)] * 300
    assert play(Blinks(BlinkSettings()), closed)[:, BLINK].min() == np.float32(0.8)


def test_another_stream_blinks_at_other_times():
    stage = Blinks(BlinkSettings())
    first = play(stage, [face()] * 900)
    stage.reset()
    assert not np.array_equal(first, play(stage, [face()] * 900))


def test_frames_left_out_change_no_other_blink():
    whole, gappy = Blinks(BlinkSettings()), Blinks(BlinkSettings())
    faces = [face()] * 900
    np.testing.assert_array_equal(
        play(gappy, faces, left_out=range(40, 400)), np.delete(play(whole, faces), np.arange(40, 400), axis=0)
    )


def test_times_out_of_range_are_refused():
    with pytest.raises(ValueError, match="blink interval"):
        BlinkSettings(interval=(7.0, 2.0))
    with pytest.raises(ValueError, match="blink duration"):
        BlinkSettings(duration=(0.0, 0.2))


def test_a_blink_that_began_ends_in_the_stream_that_follows():
    """Without it the lids would spring open in one frame."""
    stage, whole = Blinks(BlinkSettings(seed=5)), Blinks(BlinkSettings(seed=5))
    faces = [face()] * 900
    curve = play(whole, faces)[:, BLINK[0]]
    middle = int(np.argmax(curve)) + 1  # the lids are shut in the frame before
    before = play(stage, faces[:middle])[:, BLINK[0]]
    stage.reset()
    after = play(stage, faces[:60])[:, BLINK[0]]
    assert before[-1] > 0.9
    ends = int(np.argmax(curve[middle:] == 0))
    np.testing.assert_allclose(after[:ends], curve[middle : middle + ends], atol=1e-6)
    assert after[ends:].max() == 0 and np.abs(np.diff(np.concatenate([before, after]))).max() < 0.75


def test_no_blink_begins_after_finish_and_one_under_way_ends():
    stage = Blinks(BlinkSettings(seed=5))
    faces = [face()] * 900
    middle = int(np.argmax(play(Blinks(BlinkSettings(seed=5)), faces)[:, BLINK[0]])) + 1
    play(stage, faces[:middle])
    stage.finish()
    steps = (stage.step(frame(face(), k), FrameContext(30.0, 1)) for k in range(middle, 900))
    rest = np.array([step.coefficients[BLINK[0]] for step in steps])
    assert rest[0] > 0 and rest[10:].max() == 0


def test_eyes_are_never_shut_for_two_seconds():
    shut = [face(eyeBlinkLeft=0.93, eyeBlinkRight=0.93)] * 300
    lids = play(Blinks(BlinkSettings()), shut)[:, BLINK].min(axis=1)
    longest = max(len(run) for run in "".join("x" if value > 0.5 else " " for value in lids).split())
    assert longest < 60 and lids[:20].min() > 0.9
