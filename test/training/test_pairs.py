"""Pseudo pairs and the ways a target comes to another recording's time line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.corpus.store import Record
from emotalk_ros.training.pairs import PairIndex, align, dtw_positions


def record(actor, sentence, emotion, level=1.0, person=None):
    name = f"{actor}-{sentence}-{emotion}-{level}"
    return Record(name, "", "", actor=actor, sentence=sentence, emotion=emotion, level=level, person=person)


FULL = [record(a, s, e, level) for a in (1, 2) for s in "xyz" for e in ("happy", "sad") for level in (0.0, 1.0)]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(FULL) - 1), st.integers(0, 1000))
def test_pairs_cross_content_and_emotion_within_an_actor(index, seed):
    pair = PairIndex(FULL).draw(index, np.random.default_rng(seed))
    a, b = FULL[pair.a], FULL[pair.b]
    target_a, target_b = FULL[pair.target_a], FULL[pair.target_b]
    assert pair.a == index and len({r.actor for r in (a, b, target_a, target_b)}) == 1
    assert a.sentence != b.sentence and a.emotion != b.emotion
    assert (target_a.sentence, target_a.emotion, target_a.level) == (a.sentence, b.emotion, b.level)
    assert (target_b.sentence, target_b.emotion, target_b.level) == (b.sentence, a.emotion, a.level)


def test_without_a_partner_there_is_no_pair():
    lonely = [
        record(1, "x", "happy"),
        record(1, "y", "sad"),  # no sentence in two emotions
        record(2, "x", None),
        record(2, "y", None),  # no emotion
        record(3, "", "happy"),
        record(3, "", "sad"),  # nobody knows what is said
        record(4, "x", "happy", person=1),
        record(4, "x", "sad", person=2),
        record(4, "y", "sad", person=2),  # another personal style
    ]
    index = PairIndex(lonely)
    assert [index.has_pair(k) for k in range(len(lonely))] == [False] * len(lonely)
    assert index.draw(0, np.random.default_rng(0)) is None


def test_a_pair_may_be_one_sided():
    some = [record(1, "x", "happy"), record(1, "x", "sad"), record(1, "y", "sad")]
    pair = PairIndex(some).draw(0, np.random.default_rng(0))
    assert (pair.a, pair.b, pair.target_a, pair.target_b) == (0, 2, 1, None)


def ramp(frames):
    return np.repeat(np.linspace(0, 1, frames, dtype=np.float32)[:, None], 52, axis=1)


def test_linear_stretch_keeps_both_ends_and_is_even():
    out = align(ramp(30), 45, "linear")
    np.testing.assert_allclose(out, ramp(45), atol=1e-6)


def test_auto_leaves_recoloured_speech_alone_and_stretches_other_speech():
    target = np.random.default_rng(0).random((30, 52)).astype(np.float32)
    np.testing.assert_array_equal(align(target, 30), target)
    np.testing.assert_array_equal(align(target, 31)[:30], target)
    assert not np.allclose(align(target, 40)[:30], target)
    with pytest.raises(ValueError, match="needs the audio"):
        align(target, 30, "dtw")
    with pytest.raises(ValueError, match="unknown alignment"):
        align(target, 30, "magic")


def spoken(times, seconds):
    """Two distinct sounds one after the other, changing at `times`."""
    time = np.arange(int(16000 * seconds)) / 16000
    kind = np.searchsorted(times, time)
    tones = [np.sin(2 * np.pi * f * time) * 0.3 for f in (200, 900, 2500, 500)]
    noise = np.random.default_rng(1).standard_normal(len(time)) * 0.003
    return (np.choose(kind, tones) + noise).astype(np.float32)


def test_dtw_finds_where_the_same_sound_is_in_the_other_recording():
    content, target = spoken([0.3, 0.6, 1.2], 1.5), spoken([0.6, 0.9, 1.1], 1.5)
    positions = dtw_positions(content, target, frames=45, target_frames=45) / 30
    at = np.arange(45) / 30
    assert (np.diff(positions) >= -1e-9).all()
    for own, other in ((0.3, 0.6), (0.6, 0.9), (1.2, 1.1)):
        assert np.interp(own, at, positions) == pytest.approx(other, abs=0.05)
    # A linear stretch would be 0.3 s off at the first change.
    moved = align(ramp(45), 45, "dtw", content, target)
    assert moved[9, 0] == pytest.approx(0.6 / 1.5, abs=0.06)
