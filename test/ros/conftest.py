"""A ROS graph for the tests: a domain of its own on this machine only, real node processes, one node that listens.

Tests share running nodes where they can: starting one costs seconds, most of them for importing torch.
"""

import os

from emotalk_ros.nodes.processes import free_domain

# Before anything imports rclpy. Fields of messages are checked as they are set.
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from graph import Graph


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """A small network with random weights that are not zero, and prototypes for every emotion."""
    import torch
    from small_models import HEADS, MEL_ENCODER

    from emotalk_ros.model import EmoTalk, EmoTalkConfig

    encoder = {**MEL_ENCODER, "num_hidden_layers": 1}
    torch.manual_seed(3)
    model = EmoTalk(EmoTalkConfig.preset("tiny", content_config=encoder, emotion_config=encoder, **HEADS))
    torch.nn.init.normal_(model.output.weight, std=0.2)
    torch.nn.init.constant_(model.output.bias, 0.4)
    labels = len(model.config.emotion_labels)
    model.set_prototypes(3.0 * torch.randn(labels, model.config.decoder_dim))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def graph():
    with Graph() as running:
        yield running


@pytest.fixture(scope="session")
def speech():
    """1.26 s of something like speech at 16 kHz, not a whole number of frames."""
    random_numbers = np.random.default_rng(8)
    time = np.arange(20123) / 16000
    loud = 0.25 * (np.sin(2 * np.pi * 2.0 * time) > -0.4)
    pitch = 140 * 2 ** (0.2 * np.sin(2 * np.pi * 1.3 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    formants = ((750, 90), (1250, 110), (2600, 160))  # an open vowel: a humming tone is no voice to a network
    strength = [sum(1 / (1 + ((140 * k - f) / w) ** 2) for f, w in formants) + 0.3 / k for k in range(1, 28)]
    voice = sum(amount * np.sin(k * phase) for k, amount in enumerate(strength, 1))
    voice /= np.abs(voice).max()
    return (loud * voice + 0.002 * random_numbers.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def speech_file(tmp_path_factory, speech):
    """The same as a FLAC at 24 kHz in two channels, so that the node has to mix and resample."""
    import soundfile
    import soxr

    path = tmp_path_factory.mktemp("speech") / "speech.flac"
    wide = soxr.resample(speech, 16000, 24000)
    soundfile.write(path, np.stack([wide, wide], axis=1), 24000)
    return path


@pytest.fixture
def expect_frames(speech):
    return frames_of(len(speech))


def frames_of(samples, fps=30):
    """ceil(duration * fps)."""
    return -(-samples * fps // 16000)
