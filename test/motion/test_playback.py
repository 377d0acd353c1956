"""A controller's loop of any rate sees the face move evenly, whatever the arrivals, and at rest when frames end."""

import numpy as np
import pytest

from emotalk_ros.motion.playback import Playback

FPS = 30.0


def moving(index):
    """A jaw that opens and closes once a second."""
    values = np.zeros(52, np.float32)
    values[24] = 0.5 - 0.5 * np.cos(2 * np.pi * index / FPS)
    return values


def loop(arrivals, rate, seconds, origin=1000.0):
    """The jaw (n,) as a loop of `rate` Hz sees it; `arrivals` are (time, index)."""
    playback, waiting, seen = Playback(FPS), list(arrivals), []
    for step in range(round(seconds * rate)):
        now = origin + step / rate
        while waiting and waiting[0][0] <= now:
            at, index = waiting.pop(0)
            playback.add(round((origin + index / FPS) * 1e9), index, moving(index), at)
        seen.append(playback.at(now)[24])
    return np.array(seen)


@pytest.mark.parametrize("burst", [1, 3, 60])
def test_a_loop_of_50_hz_sees_50_values_a_second(burst):
    arrivals = [(1000.0 + 0.2 + index // burst * burst / FPS, index) for index in range(120)]
    jaw = loop(arrivals, 50, 3.0)[40:]
    assert np.mean(np.diff(jaw) != 0) > 0.95
    assert np.abs(np.diff(jaw)).max() < 1.2 * np.pi / 50  # no faster than the jaw really moves


def test_the_curve_is_the_one_that_was_sent():
    arrivals = [(1000.0 + 0.2 + index / FPS, index) for index in range(120)]
    jaw = loop(arrivals, 100, 4.0)
    truth = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(400) / 100))
    lag = min(range(100), key=lambda k: np.abs(jaw[100 + k : 300 + k] - truth[100:300]).max())
    assert np.abs(jaw[100 + lag : 300 + lag] - truth[100:300]).max() < 0.02
    assert lag / 100 == pytest.approx(0.2 + 1 / FPS, abs=0.02)


def test_when_frames_end_the_face_rests():
    playback = Playback(FPS)
    playback.add(1_000_000_000_000, 0, np.full(52, 0.8), 1000.2)
    assert playback.at(1000.3).max() == pytest.approx(0.8)
    assert playback.at(1001.0).max() == 0.0


def test_before_the_first_frame_the_face_rests():
    assert not Playback().at(5.0).any()


def test_wrong_frames_are_refused():
    with pytest.raises(ValueError, match="52 finite"):
        Playback().add(0, 0, np.full(52, np.nan), 0.0)
    with pytest.raises(ValueError, match="fps 0"):
        Playback(0)
