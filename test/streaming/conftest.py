"""The small model and the sound that the tests of this room share."""

import numpy as np
import pytest
from fake_model import CausalFake, FakeConfig


@pytest.fixture
def fake():
    return CausalFake()


@pytest.fixture
def make_fake():
    """CausalFake with fields of its configuration replaced."""
    return lambda **fields: CausalFake(FakeConfig(**fields))


@pytest.fixture
def speech():
    """3.017 s of something like speech at 16 kHz: bursts of noise and tones, with silence before, between and after."""
    random = np.random.default_rng(5)
    count = 48272
    time = np.arange(count) / 16000
    loud = (np.sin(2 * np.pi * 2.5 * time) > -0.3) & (time > 0.4) & (time < 2.2)
    tone = np.sin(2 * np.pi * 180 * time) + 0.5 * np.sin(2 * np.pi * 720 * time)
    noise = 0.002 * random.standard_normal(count)
    return (0.2 * loud * (tone + 0.3 * random.standard_normal(count)) + noise).astype(np.float32)
