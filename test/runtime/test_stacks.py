"""The paper's network with its transformers by ONNX Runtime: the same numbers, or eight bits of them."""

import numpy as np
import pytest
import torch
from small_models import small_model, speechlike

from emotalk_ros.runtime import RuntimeUnavailable, load_network
from emotalk_ros.streaming import FaceStream, StreamSettings

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra convert is not installed")

from emotalk_ros.runtime import choice
from emotalk_ros.runtime.stacks import compute_stacks


@pytest.mark.parametrize("variant", ["paper", "paper_group_norm", "one_encoder"])
def test_the_graphs_compute_what_torch_does(variant):
    audio = speechlike(40_000)
    wanted = small_model(variant).analyse(audio)
    network = small_model(variant)
    compute_stacks(network)
    made = network.analyse(audio)
    np.testing.assert_allclose(made.coefficients, wanted.coefficients, atol=1e-5)
    np.testing.assert_allclose(made.frame_emotion_logits, wanted.frame_emotion_logits, atol=1e-5)
    assert not len(network.content_encoder.encoder.layers)  # one set of weights


def test_eight_bits_are_near_and_not_equal():
    audio = speechlike(40_000)
    wanted = small_model("paper").predict(audio)
    network = small_model("paper")
    compute_stacks(network, "int8")
    apart = np.abs(network.predict(audio) - wanted)
    assert 1e-5 < apart.max() < 0.1 * np.ptp(wanted, axis=0).max()


@pytest.fixture
def folder(tmp_path):
    small_model("paper").save_pretrained(tmp_path)
    return tmp_path


def test_a_stream_is_that_of_torch(folder):
    audio = speechlike(32_000)
    frames = []
    for backend in ("torch", "onnx", "onnx-int8"):
        chosen = load_network(folder, threads=1, backend=backend)
        assert chosen.backend == backend and "asked for" in chosen.network.computed_by
        stream = FaceStream(chosen.network, StreamSettings(0.2, 0.6), motion=None)
        frames.append(np.stack([frame.coefficients for frame in stream.push(audio) + stream.end()]))
    np.testing.assert_allclose(frames[1], frames[0], atol=1e-5)
    assert 1e-5 < np.abs(frames[2] - frames[0]).max() < 0.1


def test_torch_is_taken_unless_asked(folder):
    chosen = load_network(folder)
    assert chosen.backend == "torch" and "backend onnx" in chosen.reason


def test_what_it_cannot_compute_is_told(folder, monkeypatch):
    with pytest.raises(ValueError, match="int4"):
        compute_stacks(small_model("paper"), "int4")
    with pytest.raises(RuntimeUnavailable, match="full attention"):
        compute_stacks(small_model("streaming_wave"))
    with pytest.raises(RuntimeUnavailable, match="bfloat16"):
        compute_stacks(small_model("paper").to(torch.bfloat16))
    with pytest.raises(RuntimeUnavailable, match="relu"):
        compute_stacks(
            small_model(
                "paper", content_config={**small_model("paper").config.content_config.to_dict(), "hidden_act": "relu"}
            )
        )
    network = small_model("paper")
    compute_stacks(network)
    values = torch.from_numpy(speechlike(32_000)).view(2, 16_000)
    with pytest.raises(ValueError, match="one by one"):
        network(values, lengths=torch.tensor([16_000, 9000]))
    monkeypatch.setattr(choice, "have_bfloat16", lambda: False)
    with pytest.raises(ValueError, match="no instructions"):
        load_network(folder, dtype="bfloat16", device="cpu")
