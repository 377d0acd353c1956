"""Loudness of what leaves an open mouth: what counts, what does not, for any cutting."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio.loudness import LoudnessTracker
from emotalk_ros.audio.ring import RingBuffer


def tone(hertz, seconds=1.0, level=0.1):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def loudness(audio, lookahead=3068, pieces=(1600,)):
    """Of every frame, asked for as soon as its look-ahead is there, the audio cut into `pieces` again and again."""
    ring = RingBuffer(48_000)
    tracker, told, at, turn = LoudnessTracker(ring, 30, lookahead), [], 0, 0
    while at < len(audio):
        piece = audio[at : at + pieces[turn % len(pieces)]]
        ring.append(piece)
        tracker.follow()
        at, turn = at + len(piece), turn + 1
        ready = max(0, (ring.end - lookahead) * 30 // 16000)
        told.append(tracker.loudness(max(ready, sum(map(len, told)))))
    told.append(tracker.loudness(-(-len(audio) * 30 // 16000)))
    return np.concatenate(told)


def test_vowels_are_heard_and_hums_and_hisses_are_not():
    sound = loudness(np.concatenate([tone(900), tone(150), tone(6500), tone(900), np.zeros(16000, np.float32)]))
    assert sound.shape == (150,)
    assert sound[3:27].min() > 0.99 and sound[95:117].min() > 0.99
    assert sound[34:57].max() < 0.3 and sound[64:85].max() < 0.3 and sound[124:].max() == 0


def test_the_gain_of_the_microphone_does_not_count():
    audio = np.concatenate([tone(900), tone(150)])
    np.testing.assert_allclose(loudness(0.1 * audio), loudness(audio), atol=0.02)


def test_it_comes_half_a_frame_after_the_sound():
    burst = np.zeros(16000, np.float32)
    burst[7840:8160] = 0.3 * np.random.default_rng(0).standard_normal(320)  # 20 ms about 0.5 s, frame 15
    sound = loudness(burst, lookahead=0)
    assert sound[16] > sound[14] and int(sound.argmax()) in (15, 16)


def test_silence_and_faint_noise_are_not_loud():
    assert loudness(np.zeros(16000, np.float32)).max() == 0
    assert loudness((1e-5 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)).max() < 0.1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.sampled_from([800, 1801, 3068]))
def test_every_cutting_gives_the_same(pieces, lookahead):
    audio = (0.1 * np.random.default_rng(4).standard_normal(24_000)).astype(np.float32)
    audio[8000:12000] *= 0.05
    np.testing.assert_allclose(loudness(audio, lookahead, pieces), loudness(audio, lookahead), atol=1e-5)
