"""The network that ships, on a fixed clip: its outputs are those stored, as a whole pass and as a live voice.

Another network needs the stored outputs made anew:  python test/test_shipped_network.py
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from emotalk_ros.audio import load_audio
from emotalk_ros.face.names import INDEX
from emotalk_ros.model import default_model_path, load_model
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.expression import ExpressionSettings
from emotalk_ros.streaming import FaceStream

STORED = Path(__file__).parent / "data" / "shipped" / "outputs.npz"
SPEECH = Path(__file__).parents[1] / "examples" / "speech" / "demo.ogg"
FIRST, LENGTH = 16_000, 40_000
"""Samples of the example that make the clip: 2.5 s that begin with speech."""
MOTION = MotionSettings(expression=ExpressionSettings(share=0.0))
"""The expression that is added has tests of its own, and faces of its own that are drawn anew now and then."""
TOLERANCE = 1e-3
"""Of coefficients and probabilities: other processors and versions of torch differ by less than a tenth of it."""


def outputs():
    """What the network and a live voice make of the clip."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, clip = load_model(), load_audio(SPEECH)[FIRST : FIRST + LENGTH]
        whole = model.analyse(clip)
        voice = FaceStream(model, motion=MOTION)
        frames = [*voice.push(clip), *voice.end()]
    finally:
        torch.set_num_threads(threads)
    return {
        "network": whole.coefficients,
        "emotion_logits": whole.emotion_logits,
        "voice": np.stack([frame.coefficients for frame in frames]),
        "activity": np.array([frame.activity for frame in frames], np.float32),
        "loudness": np.array([frame.loudness for frame in frames], np.float32),
        "emotion": np.stack([frame.emotion for frame in frames]),
    }


@pytest.fixture(scope="module")
def made():
    return outputs()


@pytest.mark.parametrize("name", ["network", "emotion_logits", "voice", "activity", "loudness", "emotion"])
def test_outputs_are_those_stored(made, name):
    with np.load(STORED) as stored:
        np.testing.assert_allclose(made[name], stored[name], rtol=0, atol=TOLERANCE)


def test_the_voice_moves_the_face_within_its_limits(made):
    voice = made["voice"]
    assert voice.shape == (75, 52) and voice.min() >= 0 and voice.max() <= 1
    jaw, close = voice[:, INDEX["jawOpen"]], voice[:, INDEX["mouthClose"]]
    assert np.ptp(jaw) > 0.05 and (jaw - close)[5:].min() < 0.02  # it opens, and it closes
    np.testing.assert_allclose(made["emotion"].sum(1), 1, atol=1e-5)


if __name__ == "__main__":
    np.savez_compressed(STORED, **outputs())
    print(f"{STORED}: outputs of {default_model_path()}")
