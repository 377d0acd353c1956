"""Sound meets the face: a fake clock, a face with a known delay, and what the loudspeaker was given at each instant."""

import numpy as np
import pytest
from scipy.signal import correlate

from emotalk_ros.audio import PcmChunk, encode_pcm
from emotalk_ros.audio.player import Player, PlayerSettings

RATE = 16000
BLOCK = 160
T0 = 1_700_000_000.0
SPEECH = (0.5 * np.random.default_rng(5).uniform(-1, 1, 10 * RATE)).astype(np.float32)


def chunk(samples, stamp):
    return PcmChunk(encode_pcm(samples, "f32le"), "f32le", 1, RATE, round(stamp * 1e9), 1)


class Scene:
    """A loudspeaker of no latency and a clock; events happen before the block in which their time lies."""

    def __init__(self, **settings):
        self.player = Player(RATE, PlayerSettings(**settings))
        self.events = []
        self.heard = np.zeros(0, np.float32)

    def at(self, time, call, *arguments):
        self.events.append((time, call, arguments))

    def say(self, samples, *, stamp, begin, factor=20.0, size=800):
        """Audio with stamps from `stamp` on, sent from `begin` on, `factor` times faster than it sounds."""
        for at in range(0, len(samples), size):
            time = begin + (at + size) / RATE / factor
            self.at(time, self.player.push, chunk(samples[at : at + size], T0 + stamp + at / RATE), T0 + time)

    def face(self, stamp, seconds, delay, jitter=0.0):
        random_numbers = np.random.default_rng(1)
        for k in range(round(seconds * 30)):
            time = stamp + k / 30 + delay + jitter * random_numbers.random()
            self.at(time, self.player.face, round((T0 + stamp + k / 30) * 1e9), T0 + time)

    def run(self, seconds):
        waiting = sorted(self.events, key=lambda event: event[0])
        pieces = []
        for k in range(round(seconds * RATE / BLOCK)):
            now = k * BLOCK / RATE
            while waiting and waiting[0][0] <= now:
                _, call, arguments = waiting.pop(0)
                call(*arguments)
            self.player.tick(T0 + now)
            pieces.append(self.player.fill(BLOCK, T0 + now))
        self.heard = np.concatenate(pieces)
        return self.heard


def found(heard, samples):
    """When `samples` are heard, in seconds; None when they are not."""
    product = correlate(heard, samples, "valid", "fft")
    at = int(product.argmax())
    return at / RATE if np.allclose(heard[at : at + len(samples)], samples, atol=1e-6) else None


def test_ten_seconds_sent_in_half_a_second_are_heard_in_their_own_time_with_the_face():
    scene = Scene()
    scene.say(SPEECH, stamp=0.1, begin=0.1)
    scene.face(stamp=0.1, seconds=10, delay=0.25, jitter=0.004)
    heard = scene.run(11.0)
    for second in range(10):
        piece = SPEECH[second * RATE : second * RATE + 4000]
        assert found(heard, piece) == pytest.approx(0.1 + second + 0.25, abs=0.0145)
    assert scene.player.figures.underruns == scene.player.figures.moves == 0
    assert scene.player.figures.played == pytest.approx(10.0, abs=0.01)


def test_an_offset_lets_the_sound_wait_for_slow_joints():
    scene = Scene(offset=0.08)
    scene.say(SPEECH[:RATE], stamp=0.1, begin=0.1)
    scene.face(stamp=0.1, seconds=1, delay=0.25)
    assert found(scene.run(2.0), SPEECH[:RATE]) == pytest.approx(0.43, abs=0.0105)


def test_an_interruption_silences_within_a_block_and_what_still_comes_is_left_out():
    scene = Scene()
    scene.say(SPEECH[: 5 * RATE], stamp=0.1, begin=0.1, factor=2.0)  # until 2.6
    scene.face(stamp=0.1, seconds=3, delay=0.25)
    scene.at(2.0, scene.player.interrupt, T0 + 2.0)
    answer = SPEECH[::-1][:RATE].copy()
    scene.say(answer, stamp=2.9, begin=2.9)
    scene.face(stamp=2.9, seconds=1, delay=0.25)
    heard = scene.run(5.0)
    assert np.abs(heard[: 2 * RATE]).max() > 0.4
    assert np.abs(heard[2 * RATE : 2 * RATE + 80]).max() < 0.5  # 5 ms to fade
    assert not heard[2 * RATE + 80 : 3 * RATE].any()
    assert found(heard, answer) == pytest.approx(3.15, abs=0.0105)
    assert scene.player.figures.left_out > 0


def test_without_a_face_the_sound_goes_on_after_the_wait():
    scene = Scene(wait=0.5)
    scene.say(SPEECH[:RATE], stamp=0.1, begin=0.1)
    assert found(scene.run(2.5), SPEECH[:RATE]) == pytest.approx(0.1 + 0.0025 + 0.5 + 0.05, abs=0.011)
    assert scene.player.figures.without_face == 1
    at_once = Scene(wait=0.0)
    at_once.say(SPEECH[:RATE], stamp=0.1, begin=0.1, factor=1.0, size=320)
    assert found(at_once.run(2.0), SPEECH[:RATE]) == pytest.approx(0.1 + 0.02 + 0.05, abs=0.011)
    assert at_once.player.figures.underruns == 0


def test_audio_that_comes_too_late_is_counted_and_meets_the_late_face():
    scene = Scene()
    scene.say(SPEECH[: 2 * RATE], stamp=0.1, begin=0.1, factor=1.0)
    scene.face(stamp=0.1, seconds=2, delay=0.2)
    scene.say(SPEECH[2 * RATE : 4 * RATE], stamp=2.1, begin=2.35, factor=1.0)  # the source stalled for a quarter second
    scene.face(stamp=2.1, seconds=2, delay=0.45)
    heard = scene.run(5.5)
    assert found(heard, SPEECH[RATE : 2 * RATE]) == pytest.approx(1.3, abs=0.0105)
    assert found(heard, SPEECH[2 * RATE : 3 * RATE]) == pytest.approx(2.55, abs=0.0105)
    assert scene.player.figures.underruns == 1


def test_sound_follows_a_face_whose_delay_changes():
    scene = Scene()
    scene.say(SPEECH[: 6 * RATE], stamp=0.1, begin=0.1)
    scene.face(stamp=0.1, seconds=2, delay=0.2)
    scene.face(stamp=2.1, seconds=4, delay=0.3)
    heard = scene.run(7.0)
    assert found(heard, SPEECH[RATE : 2 * RATE]) == pytest.approx(1.3, abs=0.0105)
    assert found(heard, SPEECH[4 * RATE : 5 * RATE]) == pytest.approx(4.4, abs=0.0105)
    assert scene.player.figures.moves == 1


def test_a_face_in_bursts_does_not_make_the_sound_run_ahead():
    scene = Scene()
    scene.say(SPEECH[: 5 * RATE], stamp=0.1, begin=0.1)
    for k in range(150):  # five seconds of frames within 0.3 s
        time = 0.3 + 0.002 * k
        scene.at(time, scene.player.face, round((T0 + 0.1 + k / 30) * 1e9), T0 + time)
    heard = scene.run(6.0)
    assert found(heard, SPEECH[: 5 * RATE]) == pytest.approx(0.3, abs=0.0105)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="wait -1"):
        PlayerSettings(wait=-1)
