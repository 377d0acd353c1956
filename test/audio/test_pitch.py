"""Pitch of a voice at one instant."""

import numpy as np
import pytest

from emotalk_ros.audio.pitch import WINDOW, pitch


def voice(hertz, amplitude=0.2):
    """A pulse train through a formant: harmonics that fall, the second the strongest."""
    time = np.arange(WINDOW) / 16000
    parts = [np.cos(2 * np.pi * hertz * k * time + k) * np.exp(-abs(k - 2) / 2) for k in range(1, 12)]
    return (amplitude * sum(parts)).astype(np.float32)


@pytest.mark.parametrize("hertz", [80, 110, 155, 220, 310])
def test_within_half_a_semitone(hertz):
    assert pitch(voice(hertz)) == pytest.approx(12 * np.log2(hertz / 100), abs=0.5)


def test_loudness_does_not_matter():
    assert pitch(voice(150, 0.02)) == pytest.approx(pitch(voice(150, 0.6)), abs=1e-6)


@pytest.mark.parametrize(
    "window",
    [
        np.zeros(WINDOW, np.float32),
        np.random.default_rng(0).normal(0, 0.1, WINDOW).astype(np.float32),
        voice(150, 1e-4),
        voice(150)[:100],
    ],
    ids=["silence", "noise", "too quiet", "too short"],
)
def test_nothing_voiced(window):
    assert pitch(window) is None
