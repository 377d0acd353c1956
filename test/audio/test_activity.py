"""Speech activity: silent rooms, noise, voices, any cutting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio import ActivitySettings, SpeechActivity

RANDOM = np.random.default_rng(11)


def voice(seconds):
    """Syllables at 4 Hz of a buzz with formant-like colour."""
    time = np.arange(int(16000 * seconds)) / 16000
    buzz = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20))
    return 0.1 * buzz * np.clip(np.sin(2 * np.pi * 2 * time) ** 2 * 1.5, 0.05, 1)


def activity(audio):
    return SpeechActivity().push(audio.astype(np.float32))


def test_a_voice_is_heard_between_silences():
    audio = np.concatenate([np.zeros(8000), voice(1.0), np.zeros(16000)])
    out = activity(audio)
    assert out[:49].max() == 0
    assert out[55:148].mean() > 0.95
    assert np.flatnonzero(out)[-1] < 150 + 9  # ends at most 90 ms after the sound
    assert set(out) >= {0.0, 1.0}


@pytest.mark.parametrize("level", [-70, -55, -40, -30])
def test_a_steady_room_is_not_speech_but_a_voice_in_it_is(level):
    noise = RANDOM.standard_normal(16000 * 4) * 10 ** (level / 20)
    alone = activity(noise)
    assert alone[80:].max() == 0
    speech = noise.copy()
    speech[32000:48000] += voice(1.0)
    out = activity(speech)
    assert out[205:295].mean() > 0.7  # at -30 dB the dips drown
    assert out[80:199].max() == 0 and out[315:].max() == 0


def test_near_silence_and_nothing_are_not_speech():
    assert activity(np.zeros(32000)).max() == 0
    assert activity(RANDOM.standard_normal(32000) * 1e-4).max() == 0
    assert activity(voice(1.0) * 1e-4).max() == 0


def test_mains_hum_and_a_click_are_not_speech():
    time = np.arange(48000) / 16000
    hum = 0.1 * np.sin(2 * np.pi * 50 * time)
    assert activity(hum)[100:].max() == 0
    click = np.zeros(16000)
    click[8000:8016] = 0.5
    assert activity(click).max() < 1


def test_a_short_drop_out_does_not_turn_noise_into_speech():
    noise = RANDOM.standard_normal(16000 * 4) * 0.01
    noise[32000:33600] = 0
    assert activity(noise)[100:].max() == 0


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=20))
def test_any_cutting_gives_the_same(sizes):
    audio = np.random.default_rng(3).standard_normal(sum(sizes)).astype(np.float32) * 0.05
    detector, parts, at = SpeechActivity(), [], 0
    for size in sizes:
        parts.append(detector.push(audio[at : at + size]))
        at += size
    np.testing.assert_array_equal(np.concatenate(parts), SpeechActivity().push(audio))
    assert len(np.concatenate(parts)) == len(audio) // 160


def test_reset_forgets():
    detector = SpeechActivity()
    first = detector.push(voice(1.0).astype(np.float32))
    detector.reset()
    np.testing.assert_array_equal(detector.push(voice(1.0).astype(np.float32)), first)


def test_settings_are_checked():
    for fields in ({"off_margin": 12.0}, {"band": (500.0, 100.0)}, {"hold": -1.0}, {"quantile": 1.0}):
        with pytest.raises(ValueError):
            ActivitySettings(**fields)


def test_a_vowel_held_for_four_seconds_is_still_a_voice():
    time = np.arange(16000 * 4) / 16000
    vowel = 0.1 * sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 15))
    assert activity(np.concatenate([np.zeros(16000), vowel]))[110:].min() == 1
