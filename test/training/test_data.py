"""Windows and batches: the right face beside the right sound, the same in every run."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from emotalk_ros.corpus.store import Corpus
from emotalk_ros.face.names import INDEX
from emotalk_ros.training.data import IGNORED, ClipStore, StepSampler, WindowMaker, collate, validation_windows

LABELS = ("neutral", "happy", "angry")
JAW, SMILE = INDEX["jawOpen"], INDEX["mouthSmileLeft"]


@pytest.fixture
def make(toy_corpus, toy_recipe):
    def maker(**changes):
        recipe = toy_recipe(**changes)
        store = ClipStore([Corpus.open(toy_corpus)], 30)
        return WindowMaker(store, range(len(store)), recipe, LABELS, 24), recipe

    return maker


def loudness(audio, frames):
    """Loudness around the instant k / 30 of each frame."""
    edges = np.maximum(0, np.round((np.arange(frames + 1) - 0.5) * 16000 / 30).astype(int))
    return np.array([np.abs(audio[a:b]).mean() if b > a else 0.0 for a, b in pairwise(edges)])


def test_sound_and_face_stay_together_wherever_a_window_is_cut(make):
    maker, _ = make(data={"window": 3.0}, pairs={"probability": 0.0})
    rng = np.random.default_rng(0)
    for clip in range(0, len(maker.store), 5):
        (window,) = maker.make(clip, rng, augment=False)
        assert abs(len(window.audio) - len(window.target) * 16000 / 30) <= 534
        jaw = window.target[:, JAW]
        heard = loudness(window.audio, len(jaw))
        loud = np.flatnonzero(heard[2:-2] > 0.01) + 2  # pauses are filled with the recording's noise
        fit = [np.corrcoef(heard[loud], jaw[loud + shift])[0, 1] for shift in (-1, 0, 1)]
        assert fit[1] > 0.8 and fit[1] == max(fit)


def test_windows_are_packed_with_the_same_voice_and_emotion(make):
    maker, _ = make(data={"window": 6.0}, pairs={"probability": 0.0})
    happy = next(k for k, r in enumerate(maker.store.records) if r.emotion == "happy")
    (window,) = maker.make(happy, np.random.default_rng(0), augment=False)
    assert len(window.target) > 150  # a clip holds 30 to 36 frames
    assert (window.target[:, SMILE] > 0.45).all() and LABELS[window.emotion] == "happy"
    alone, _ = make(data={"window": 6.0, "pack": False}, pairs={"probability": 0.0})
    (window,) = alone.make(happy, np.random.default_rng(0), augment=False)
    assert len(window.target) <= 36


def test_a_pair_shows_each_content_in_the_others_emotion(make):
    maker, _ = make(data={"window": 3.0})
    rng = np.random.default_rng(3)
    clip = next(k for k, r in enumerate(maker.store.records) if r.emotion == "angry")
    for _ in range(10):
        one, two = maker.make(clip, rng, augment=False)
        assert one.emotion != two.emotion
        for content, emotion in ((one, two), (two, one)):
            np.testing.assert_allclose(content.cross[:, JAW], content.target[:, JAW], atol=1e-3)
            happy = LABELS[emotion.emotion] == "happy"
            assert (content.cross[:, SMILE] > 0.45).all() if happy else (content.cross[:, SMILE] < 0.05).all()


def test_still_windows_hold_a_face_at_rest(make):
    maker, _ = make()
    window = maker.still(np.random.default_rng(0))
    assert window.still and window.emotion == IGNORED and not window.target.any()
    assert np.abs(window.audio).max() < 0.2 and len(window.target) == 36


def test_blind_coefficients_are_unknown_and_unlabelled_clips_have_no_emotion(make, tmp_path, toy_corpus):
    from dataclasses import replace

    maker, _ = make()
    maker.store.records[0] = replace(maker.store.records[0], blind=("jawOpen",), emotion=None)
    window = maker.cut(0, 0)
    assert window.known[JAW] == 0 and window.known.sum() == 51 and window.emotion == IGNORED


def test_a_step_is_a_pure_function_and_processes_share_it(make):
    maker, recipe = make()
    sampler = StepSampler(maker, recipe)
    (whole,) = sampler.parts(5)
    (again,) = StepSampler(make()[0], recipe).parts(5)
    torch.testing.assert_close(whole.audio, again.audio)
    shares = [sampler.parts(5, process, 2)[0] for process in (0, 1)]
    assert sum(len(s.audio) for s in shares) == len(whole.audio)
    for name, count in whole.counts().items():
        assert sum(s.counts()[name] for s in shares) == count
    (other,) = sampler.parts(6)
    assert other.audio.shape != whole.audio.shape or not torch.equal(other.audio, whole.audio)


def test_every_clip_is_seen_once_an_epoch(make):
    maker, recipe = make(data={"window": 1.3})  # longer than each clip
    sampler = StepSampler(maker, recipe)
    assert sampler.epoch_length == len(maker.store)
    for epoch in (0, 1):
        seen = [sampler.clip(epoch * sampler.epoch_length + k) for k in range(sampler.epoch_length)]
        assert sorted(seen) == list(range(len(maker.store)))


def test_clips_of_several_lengths_are_padded_outside_of_every_count(make):
    maker, _ = make(data={"window": None, "pack": False}, pairs={"probability": 0.0})
    rng = np.random.default_rng(0)
    windows = [maker.make(clip, rng, augment=False) for clip in (0, 3, 6)]
    batch = collate(windows)
    lengths = [len(w[0].target) for w in windows]
    assert batch.frames.tolist() == lengths and len(set(lengths)) == 3
    assert batch.counts()["self"] == sum(lengths) and batch.counts()["velocity"] == sum(lengths) - 3
    assert not batch.target[0, lengths[0] :].any()


def test_labels_of_another_rate_come_by_time(make, toy_corpus):
    store = ClipStore([Corpus.open(toy_corpus)], 60)
    slow = ClipStore([Corpus.open(toy_corpus)], 30)
    assert store.frames(0) == 2 * slow.frames(0)
    np.testing.assert_allclose(store.coefficients(0)[::2], slow.coefficients(0), atol=1e-3)


def test_a_small_cache_reads_again_and_gives_the_same(toy_corpus):
    large, none = (ClipStore([Corpus.open(toy_corpus)], 30, cache_gb=gb) for gb in (1.0, 0.0))
    for clip in (0, 1, 0):
        np.testing.assert_array_equal(large.audio(clip), none.audio(clip))


def test_validation_windows_are_spread_and_limited(make):
    maker, _ = make(data={"window": 0.4})
    every = validation_windows(maker, 10_000)
    assert len(every) > 2 * len(maker.store)
    some = validation_windows(maker, 10)
    assert len(some) == 10 and some[0] == every[0] and some[-1] == every[-1]
