"""The ear in numpy says what the ear in torch says."""

import numpy as np
import pytest
import torch

from emotalk_ros.model.ear import load_ear, state_levels
from emotalk_ros.model.ear_config import EarError
from emotalk_ros.model.ear_stream import StreamingEar, levels_of, load_streaming_ear


@pytest.mark.parametrize("name", ["free", "research"])
def test_readings_of_a_stream_are_those_of_the_ear(name):
    ear, listening = load_ear(name), load_streaming_ear(name)
    random = np.random.default_rng(0)
    highest = max(ear.config.layers) + 1
    states = random.standard_normal((300, highest, ear.config.width)).astype(np.float32)
    levels = (-35 + 20 * random.standard_normal(300)).astype(np.float32)
    wanted_state, state, made, wanted = ear.begin(), listening.begin(), [], []
    for start, stop in ((0, 1), (1, 6), (6, 6), (6, 100), (100, 300)):
        made.append(listening.hear(states[start:stop], levels[start:stop], state))
        reading = ear.hear(torch.from_numpy(states[start:stop]), torch.from_numpy(levels[start:stop]), wanted_state)
        wanted.append(np.column_stack([reading.probabilities, reading.arousal, reading.valence, reading.trust]))
    np.testing.assert_allclose(np.concatenate(made), np.concatenate(wanted), atol=1e-5)
    state.reset()
    again = listening.hear(states[:1], levels[:1], state)
    np.testing.assert_allclose(again, made[0], atol=1e-6)


def test_levels_are_those_of_the_ear():
    samples = np.random.default_rng(1).standard_normal(3333).astype(np.float32)
    wanted = state_levels(torch.from_numpy(samples), 12)
    np.testing.assert_allclose(levels_of(samples, 12), wanted.numpy(), atol=1e-4)


def test_wrong_states_and_folders_are_named(tmp_path):
    ear = load_streaming_ear()
    with pytest.raises(ValueError, match="expected states"):
        ear.hear(np.zeros((2, 1, 5), np.float32), np.zeros(2, np.float32), ear.begin())
    with pytest.raises(EarError, match="emotalk train ear"):
        load_streaming_ear(str(tmp_path))
    assert StreamingEar.of(ear) is ear
