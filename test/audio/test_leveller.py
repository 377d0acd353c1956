"""Quiet speech is amplified, ordinary speech and noise are left alone."""

import numpy as np
import pytest

from emotalk_ros.audio.leveller import Leveller, clip_level

RATE = 16000


def speech(peak_db, seconds=6.0, noise_db=-100.0):
    """Bursts of noise with pauses, three a second, that reach `peak_db`."""
    random = np.random.default_rng(4)
    time = np.arange(round(seconds * RATE)) / RATE
    loud = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) ** 2
    sound = loud * np.clip(random.normal(0, 0.3, len(time)), -1, 1)
    floor = random.normal(0, 10 ** (noise_db / 20), len(time))
    return (sound * 10 ** (peak_db / 20) + floor).astype(np.float32)


def run(leveller, sound, cut=320):
    return np.concatenate([leveller(sound[at : at + cut]) for at in range(0, len(sound), cut)])


def loud_db(sound):
    return clip_level([sound]).loud


@pytest.mark.parametrize("peak", [-50.0, -60.0])
def test_quiet_speech_becomes_as_loud_as_others(peak):
    sound, leveller = speech(peak), Leveller()
    out = run(leveller, sound)
    assert loud_db(out[3 * RATE :]) > -30.0 and np.abs(out).max() <= 1.0
    assert leveller.level.gain > 25.0
    assert "the sound is quiet, its speech lies at -" in leveller.warning and "dBFS" in leveller.warning
    gains = np.abs(np.diff(20 * np.log10(np.abs(out[::800] + 1e-9) / np.abs(sound[::800] + 1e-9))))
    assert np.median(gains) < 2.0  # it rises slowly


@pytest.mark.parametrize("peak", [0.0, -12.0, -24.0])
def test_ordinary_speech_passes_unchanged(peak):
    sound, leveller = speech(peak, noise_db=-70.0), Leveller()
    assert run(leveller, sound) is not None and np.array_equal(run(Leveller(), sound), sound)
    assert clip_level([sound]).gain == 1.0 and not leveller.warning


def test_a_quiet_room_is_not_amplified():
    room = speech(-200.0, noise_db=-70.0)
    leveller = Leveller()
    np.testing.assert_array_equal(run(leveller, room), room)
    assert not leveller.warning and clip_level([room]).gain == 1.0


def test_the_cutting_does_not_matter_and_off_only_warns():
    sound = speech(-50.0)
    whole = run(Leveller(), sound, len(sound))
    for cut in (1, 319, 5000):
        some = sound[: 2 * RATE] if cut == 1 else sound
        np.testing.assert_allclose(run(Leveller(), some, cut), whole[: len(some)], atol=1e-7)
    off = Leveller(on=False)
    np.testing.assert_array_equal(run(off, sound), sound)
    assert "dBFS" in off.warning


def test_loud_speech_after_quiet_is_not_clipped_for_long():
    sound = np.concatenate([speech(-50.0), speech(-6.0)])
    out = run(Leveller(), sound)
    later = out[7 * RATE :]
    np.testing.assert_array_equal(later, sound[7 * RATE :])


def test_the_level_of_a_clip():
    level = clip_level(np.array_split(speech(-50.0), 7))
    assert level.quiet and 20 < 20 * np.log10(level.gain) <= 45
    silence = clip_level([np.zeros(RATE, np.float32)])
    assert silence.gain == 1.0 and silence.loud <= -119
    assert clip_level([]).gain == 1.0
