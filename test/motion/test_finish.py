"""Gains, limits, smoothing, rest pose and blinks."""

import dataclasses

import numpy as np
import pytest

from emotalk_ros.face.names import BLINK, INDEX, UPPER_FACE
from emotalk_ros.motion.finish import LOWER_FACE, Finisher, FinishSettings

JAW, CLOSE, BROW = INDEX["jawOpen"], INDEX["mouthClose"], INDEX["browInnerUp"]
PLAIN = FinishSettings(smoothing=0, expression_smoothing=0, rest=False, blinks=False)


def face(**named):
    vector = np.zeros(52, np.float32)
    for name, value in named.items():
        vector[INDEX[name]] = value
    return vector


def play(finisher, faces, activity):
    return np.stack([finisher.step(f, a, k) for k, (f, a) in enumerate(zip(faces, activity, strict=True))])


def test_nothing_switched_on_changes_nothing():
    random = np.random.default_rng(0)
    faces = random.random((20, 52)).astype(np.float32)
    np.testing.assert_array_equal(play(Finisher(PLAIN), faces, [0.0] * 20), faces)


def test_gains_multiply_by_region_and_name_and_limits_hold():
    settings = dataclasses.replace(
        PLAIN, gain=2.0, mouth_gain=0.5, upper_gain=1.5, gains={"jawOpen": 0.25}, limits=(0.0, 0.9)
    )
    out = Finisher(settings).step(face(jawOpen=0.4, mouthPucker=0.3, browInnerUp=0.2, eyeWideLeft=0.8), 1.0, 0)
    assert out[JAW] == pytest.approx(0.1)
    assert out[INDEX["mouthPucker"]] == pytest.approx(0.3)
    assert out[BROW] == pytest.approx(0.6)
    assert out[INDEX["eyeWideLeft"]] == pytest.approx(0.9)
    assert Finisher(PLAIN).step(np.full(52, -0.2, np.float32), 1.0, 0).min() == 0


def test_not_a_number_becomes_rest_and_a_wrong_shape_is_refused():
    vector = face(jawOpen=0.5)
    vector[3] = np.nan
    assert np.isfinite(Finisher(PLAIN).step(vector, 1.0, 0)).all()
    with pytest.raises(ValueError, match=r"\(52,\)"):
        Finisher(PLAIN).step(np.zeros(51), 1.0, 0)


def test_smoothing_calms_jitter_and_lets_a_closure_through():
    random = np.random.default_rng(1)
    settings = dataclasses.replace(PLAIN, smoothing=0.05)
    noisy = [face(jawOpen=0.3 + 0.01 * n) for n in random.standard_normal(200)]
    calm = play(Finisher(settings), noisy, [1.0] * 200)[20:, JAW]
    assert calm.std() < 0.7 * np.std([n[JAW] for n in noisy])
    # jaw at 0.4, lips meet for two frames: mouthClose equals jawOpen
    shut = [face(jawOpen=0.4, mouthClose=0.4 if k in (10, 11) else 0.02) for k in range(20)]
    out = play(Finisher(FinishSettings(rest=False, blinks=False)), shut, [1.0] * 20)
    gap = out[:, JAW] - out[:, CLOSE]
    assert gap[11] < 0.01 and gap[10] < 0.05
    assert gap[13] > 0.36


def test_an_expression_that_changes_at_once_comes_within_tenths_of_a_second_and_lids_at_once():
    sudden = [face(browInnerUp=0.4 * (k >= 10), eyeBlinkLeft=1.0 * (k >= 10)) for k in range(40)]
    out = play(Finisher(FinishSettings(rest=False, blinks=False)), sudden, [1.0] * 40)
    brow, lid = out[:, BROW], out[:, INDEX["eyeBlinkLeft"]]
    assert np.diff(brow).max() == pytest.approx(0.4 * (1 - np.exp(-1 / 3)), abs=1e-4)  # 1/30 s of 0.1 s
    assert brow[9] == 0 and brow[13] == pytest.approx(0.4 * (1 - np.exp(-4 / 3)), abs=1e-4) and brow[25] > 0.39
    assert lid[10] > 0.9


@pytest.mark.parametrize("fps", [15, 30, 60])
def test_silence_brings_the_mouth_to_rest_within_its_time_and_the_return_does_not_jump(fps):
    random = np.random.default_rng(2)
    count = 6 * fps
    posed = face(jawOpen=0.5, mouthClose=0.1, mouthSmileLeft=0.4, browInnerUp=0.6)
    faces = (posed + 0.1 * random.random((count, 52))).astype(np.float32)
    activity = np.ones(count)
    off, on = 2 * fps, 5 * fps
    activity[off:on] = 0
    out = play(Finisher(FinishSettings(blinks=False), fps), faces, activity)
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
    out = play(Finisher(FinishSettings(blinks=False)), [face(jawOpen=0.6, browInnerUp=0.5)] * 10, [0.0] * 10)
    assert out.max() == 0


def test_blinks_are_natural_reproducible_and_on_both_lids():
    def lids(seed, fps, minutes=4):
        finisher = Finisher(FinishSettings(seed=seed), fps)
        return np.stack([finisher.step(np.zeros(52, np.float32), 0.0, k)[BLINK] for k in range(minutes * 60 * fps)])

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
    assert play(Finisher(FinishSettings(blinks=False)), [face()] * 600, [0.0] * 600).max() == 0
    closed = [face(eyeBlinkLeft=0.8, eyeBlinkRight=0.8)] * 300
    assert play(Finisher(FinishSettings()), closed, [1.0] * 300)[10:, BLINK].min() > 0.79


def test_another_stream_blinks_at_other_times():
    finisher = Finisher()
    first = play(finisher, [face()] * 900, [0.0] * 900)
    finisher.reset()
    assert not np.array_equal(first, play(finisher, [face()] * 900, [0.0] * 900))


def test_frames_left_out_count_as_time():
    whole = Finisher(FinishSettings())
    gappy = Finisher(FinishSettings())
    faces = [face(jawOpen=0.5)] * 60
    reference = play(whole, faces, [1.0] * 60)
    for k in [*range(20), *range(40, 60)]:
        out = gappy.step(faces[k], 1.0, k)
        np.testing.assert_allclose(out, reference[k], atol=1e-6)


def test_settings_change_while_running_without_a_jump():
    finisher = Finisher(FinishSettings(blinks=False))
    faces = [face(jawOpen=0.4)] * 40
    for k in range(20):
        before = finisher.step(faces[k], 1.0, k)
    finisher.settings = dataclasses.replace(finisher.settings, smoothing=0.1, mouth_gain=1.2)
    after = [finisher.step(faces[k], 1.0, k) for k in range(20, 40)]
    assert before[JAW] == pytest.approx(0.4)
    assert 0.4 < after[0][JAW] < 0.48
    assert after[-1][JAW] == pytest.approx(0.48, abs=1e-3)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("gain", -1.0, "gain -1.0: must be 0 to 4"),
        ("mouth_gain", float("nan"), "mouth_gain nan"),
        ("gains", {"jawopen": 1.0}, "'jawopen'"),
        ("gains", {"jawOpen": 9.0}, r"gains\['jawOpen'\] 9.0: must be 0 to 4"),
        ("limits", (0.5, 0.2), "limits"),
        ("smoothing", 2.0, "smoothing 2.0: must be 0 to 0.5"),
        ("blink_interval", (7.0, 2.0), "blink_interval"),
        ("blink_duration", (0.0, 0.2), "blink_duration"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_range(field, value, words):
    with pytest.raises(ValueError, match=words):
        FinishSettings(**{field: value})


def test_the_two_regions_make_the_face():
    assert sorted([*LOWER_FACE, *UPPER_FACE]) == list(range(52))
