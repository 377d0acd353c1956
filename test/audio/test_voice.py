"""The voice detector: its network is the published one, voices pass, other sounds do not, whatever the cutting."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sounds import SOUNDS

from emotalk_ros.audio import VoiceSettings, load_audio, loudness, silero, voice
from emotalk_ros.audio.loudness import LoudnessTracker
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.audio.voice import VoiceGate

ROOT = Path(__file__).parents[2]
ONNX_RUNTIME = ROOT / "test" / "data" / "voice_probabilities.npy"
"""What silero_vad_16k_op15.onnx of silero-vad 6.2.3 gives by ONNX Runtime for the first 8 s of the example."""


@pytest.fixture(scope="module")
def example():
    return load_audio(ROOT / "examples" / "speech" / "demo.ogg")[: 8 * 16000]


def activity(audio, wanted, pieces=(1600,), lookahead=2974):
    """Of every frame at 30 a second, asked for as soon as its look-ahead is there."""
    ring, told, at, turn = RingBuffer(48_000), [], 0, 0
    tracker = LoudnessTracker(ring, 30, lookahead, wanted)
    count = len(audio) * 30 // 16000
    while at < len(audio):
        piece = audio[at : at + pieces[turn % len(pieces)]]
        ring.append(piece)
        tracker.follow()
        at, turn = at + len(piece), turn + 1
        while len(told) < count and len(told) * 16000 // 30 + lookahead <= ring.end:
            told.append(tracker.activity(len(told) * 16000 // 30))
    return np.array(told + [tracker.activity(k * 16000 // 30) for k in range(len(told), count)])


def test_the_network_is_the_published_one(example):
    made = silero.VoiceProbability().push(example)
    np.testing.assert_allclose(made, np.load(ONNX_RUNTIME), rtol=0, atol=1e-5)


def test_speech_passes_as_the_level_has_it(example):
    level, heard = activity(example, VoiceSettings("energy")), activity(example, VoiceSettings())
    speech = level >= 0.5
    assert speech.mean() > 0.6
    assert (heard[speech] >= 0.5).mean() > 0.99
    np.testing.assert_array_equal(heard[~speech], np.where(heard[~speech] > 0, level[~speech], 0))


@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_no_voice_does_not_pass(name):
    audio = SOUNDS[name](6.0)
    heard, level = activity(audio, VoiceSettings()), activity(audio, VoiceSettings("energy"))
    np.testing.assert_array_equal(heard[:29], level[:29])  # the first second of a stream is trusted
    assert heard[30:].max() == 0
    assert activity(audio, VoiceSettings("off")).min() == 1


def test_the_level_alone_takes_a_keyboard_drums_and_music_for_speech():
    for name in ("keyboard", "drums", "music"):
        assert (activity(SOUNDS[name](6.0), VoiceSettings("energy")) >= 0.5).mean() > 0.2


@settings(max_examples=5, deadline=None)
@given(pieces=st.lists(st.integers(1, 5000), min_size=1, max_size=6))
def test_the_same_for_any_cutting(example, pieces):
    whole = activity(example[:32000], VoiceSettings())
    np.testing.assert_array_equal(activity(example[:32000], VoiceSettings(), pieces), whole)


def test_a_new_stream_begins_with_nothing_heard(example):
    ring = RingBuffer(48_000)
    tracker = LoudnessTracker(ring, 30, 2974)
    ring.append(example[16000:32000])
    tracker.follow()
    assert tracker.voice_probability > 0.9 and tracker.activity(8000) == 1
    ring.clear()
    tracker.reset()
    assert tracker.voice_probability == 0
    ring.append(SOUNDS["drums"](3.0))
    tracker.follow()
    assert tracker.activity(0) > 0 and tracker.activity(16000) == 0  # trusted for a second again


def test_another_threshold_holds_for_what_comes(example, monkeypatch):
    monkeypatch.setattr(voice, "_TRUSTED", 0)
    gate = VoiceGate(0.5, 48_000)
    wanted = iter([0.3, 0.3, 0.3, 0.25, 0.2, 0.2, 0.2, 0.2, 0.3])
    monkeypatch.setattr(gate._network, "push", lambda samples: [next(wanted)])
    gate.push(example[:512])
    gate.threshold = 0.3
    seen = [gate.open(0, 512)]
    for k in range(1, 9):
        gate.push(example[:512])
        seen.append(gate.open(512 * k, 512 * (k + 1)))
    # From the second block on it is a voice; 0.2 is not low enough to end it, and neither is 0.15.
    assert seen == [False] + [True] * 8


def test_a_voice_ends_a_tenth_of_a_second_after_the_network_stops_hearing_it(monkeypatch):
    monkeypatch.setattr(voice, "_TRUSTED", 0)
    gate = VoiceGate(0.5, 48_000)
    wanted = iter([0.9, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(gate._network, "push", lambda samples: [next(wanted)])
    seen = []
    for k in range(7):
        gate.push(np.zeros(512, np.float32))
        seen.append(gate.open(512 * k, 512 * (k + 1)))
    assert seen == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"detector": "webrtc"}, "'webrtc': must be one of silero, energy, off"),
        ({"threshold": 1.5}, "1.5: must be 0.05 to 0.95"),
        ({"threshold": float("nan")}, "nan: must be 0.05 to 0.95"),
    ],
)
def test_settings_that_are_refused(words, problem):
    with pytest.raises(ValueError, match=problem):
        VoiceSettings(**words)


def test_without_its_weights_the_level_decides_and_the_log_says_why(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(silero, "candidate_paths", lambda inside: [tmp_path / inside])
    loudness._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        tracker = LoudnessTracker(RingBuffer(48_000), 30, 2974)
    assert tracker.voice.detector == "energy" and tracker.voice_probability is None
    assert "weights are missing" in tracker.problem and "install the package again" in tracker.problem
    assert tracker.problem in caplog.text


def test_damaged_weights_are_named(monkeypatch, tmp_path):
    path = tmp_path / silero.WEIGHTS
    monkeypatch.setattr(silero, "candidate_paths", lambda inside: [tmp_path])
    path.write_bytes(b"no weights")
    with pytest.raises(silero.VoiceModelError, match=f"{path} cannot be read"):
        silero.load_network()
    silero._loaded.cache_clear()
    good = ROOT / silero.FOLDER / silero.WEIGHTS
    weights = load_file(good)
    save_file({**weights, "conv2.bias": np.full(64, np.nan, np.float32)}, path)
    with pytest.raises(silero.VoiceModelError, match=r"another network: conv2\.bias"):
        silero.load_network()
    shutil.copy(good, path)
    assert silero.load_network().probability(np.zeros(576, np.float32), np.zeros((2, 128), np.float32)) < 0.1
