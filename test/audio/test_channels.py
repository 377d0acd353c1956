"""One channel of several: choices, channels that cancel each other, the loudest."""

import numpy as np
import pytest

from emotalk_ros.audio import AudioFormatError, AudioIntake, PcmChunk, encode_pcm
from emotalk_ros.audio.channels import ChannelMixer, channel_index

RATE = 16000


def voice(seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def mixed(choice, both, cut=320):
    mixer = ChannelMixer(choice)
    return np.concatenate([mixer.mix(both[at : at + cut], RATE) for at in range(0, len(both), cut)]), mixer


def test_choices_by_name_and_number():
    assert [channel_index(c) for c in ("mix", "loudest", None, "left", "right", "3", 5)] == [
        None,
        None,
        None,
        0,
        1,
        3,
        5,
    ]
    for wrong in ("both", "-1", -1, "64"):
        with pytest.raises(ValueError, match=f"channel {wrong}: use mix, left, right, loudest"):
            channel_index(wrong)
    both = np.stack([voice(seed=1), voice(seed=2)], axis=1)
    np.testing.assert_array_equal(mixed("right", both)[0], both[:, 1])
    np.testing.assert_allclose(mixed("mix", both)[0], both.mean(axis=1), atol=1e-7)
    with pytest.raises(AudioFormatError, match="channel 2 is asked for, but the audio has 2"):
        ChannelMixer(2).check(2)
    ChannelMixer("right").check(1)  # one channel is both left and right


@pytest.mark.parametrize("cut", [160, 320, 4001, 32000])
def test_an_inverted_channel_is_noticed_and_the_voice_is_heard(cut):
    sound = voice()
    out, mixer = mixed("mix", np.stack([sound, -sound], axis=1), cut)
    assert np.abs(out[:1600]).max() == 0.0  # a tenth of a second passes before it is noticed
    np.testing.assert_array_equal(out[1600:], sound[1600:])
    assert "cancel each other" in mixer.warning and "left, right or loudest" in mixer.warning


def test_a_silent_channel_does_not_cancel_and_the_loudest_can_be_asked_for():
    sound, silence = voice(), np.zeros(2 * RATE, np.float32)
    both = np.stack([silence, sound], axis=1)
    out, mixer = mixed("mix", both)
    np.testing.assert_allclose(out, sound / 2, atol=1e-7)
    assert not mixer.warning
    np.testing.assert_array_equal(mixed("loudest", both)[0][1600:], sound[1600:])


def test_the_intake_tells_of_cancelling_channels():
    sound = voice()
    intake = AudioIntake()
    data = encode_pcm(np.stack([sound, -sound], axis=1), "f32le")
    out = np.concatenate([s.samples for s in intake.push(PcmChunk(data, "f32le", 2, RATE, 10**18))])
    assert np.abs(out[2000:]).max() > 0.3 and "cancel each other" in intake.take_warnings()[0]
