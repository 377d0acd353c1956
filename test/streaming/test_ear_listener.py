"""An ear on one voice: readings at the frames' instants, whatever the pieces; the speaker lasts."""

import numpy as np
import pytest
import torch

from emotalk_ros.model.ear import Ear, EarConfig
from emotalk_ros.streaming.emotion import EarListener, newest_state

STATES = 200
RANDOM = np.random.default_rng(3)
FEATURES = RANDOM.standard_normal((STATES, 2, 6)).astype(np.float32)
AUDIO = (0.2 * RANDOM.standard_normal(STATES * 320)).astype(np.float32)


def samples(start, stop):
    out = np.zeros(stop - start, np.float32)
    first, last = max(start, 0), min(stop, len(AUDIO))
    out[first - start : last - start] = AUDIO[first:last]
    return out


@pytest.fixture
def listener():
    ear = Ear(EarConfig("test", "Apache-2.0", (0, 1), 6))
    torch.manual_seed(1)
    for name, value in ear.named_buffers():
        if name in ("known", "unknown"):
            value.normal_()
    return EarListener(ear, 30)


def listen(listener, step):
    """Readings of 120 frames, of which the states of `step` frames come at once."""
    rows, given = [], 0
    for first in range(0, 120, step):
        until = min(STATES, (first + step) * 5 // 3 + 1)
        rows.append(listener.push(FEATURES[given:until], until - 1, samples, range(first, first + step)))
        given = until
    return np.concatenate(rows)


def test_the_pieces_do_not_matter(listener):
    whole = listen(listener, 120)
    listener.reset_speaker()
    np.testing.assert_allclose(listen(listener, 3), whole, atol=1e-5)
    assert whole.shape == (120, 8 + 3)
    np.testing.assert_allclose(whole[:, :8].sum(1), 1.0, atol=1e-5)


def test_trust_grows_with_speech_and_lasts_from_stream_to_stream(listener):
    first = listen(listener, 3)[:, -1]
    assert (np.diff(first) >= -1e-6).all() and first[-1] > 0.25
    listener.reset()
    assert listen(listener, 3)[0, -1] >= first[-1] - 1e-6
    listener.reset_speaker()
    assert listen(listener, 3)[0, -1] < 0.05


def test_without_new_states_the_last_reading_holds(listener):
    nothing = np.zeros((0, 2, 6), np.float32)
    rows = listener.push(nothing, -1, samples, range(3))
    np.testing.assert_allclose(rows[:, :8], 1 / 8)
    assert np.isnan(rows[:, 8:10]).all() and (rows[:, 10] == 0).all()
    heard = listener.push(FEATURES[:20], 19, samples, range(13))[-1]
    np.testing.assert_array_equal(listener.push(nothing, 19, samples, range(13, 15)), [heard, heard])


def test_the_newest_complete_state():
    assert newest_state(16000, 0) == 50 and newest_state(16000, 3200) == 40
