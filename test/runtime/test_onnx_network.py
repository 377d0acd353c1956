"""ONNX Runtime computes what torch computes, for whole clips and for streams, one voice or several at any place."""

import json
import shutil

import numpy as np
import pytest
import torch

from emotalk_ros.model import EmotionControl, load_model
from emotalk_ros.model.locations import CheckpointError, default_model_path
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.runtime import OnnxNetwork, RuntimeUnavailable, load_network
from emotalk_ros.runtime.graphs import eight_bit
from emotalk_ros.runtime.sizes import NetworkSizes
from emotalk_ros.streaming import StreamSettings, animate

ort = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def speech(seconds, seed=0):
    time = np.arange(round(16000 * seconds)) / 16000
    loud = np.clip(np.sin(2 * np.pi * 2 * time + seed), 0, 1)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.2 * loud * (np.sin(2 * np.pi * (130 + 20 * seed) * time) + 0.3 * noise)).astype(np.float32)


@pytest.fixture(scope="module")
def networks():
    torch.set_num_threads(1)
    return load_model(), OnnxNetwork(default_model_path())


@pytest.fixture(scope="module")
def heard(networks):
    """Seven and a half seconds: past two changes of the trunk's segments; and what torch makes of them."""
    audio = speech(7.5)
    return audio, networks[0].analyse(audio)


def pieces_of(network, audio, cuts):
    """What a stream gives that is cut at `cuts`."""
    state, made = network.new_state(), []
    for start, stop in zip([0, *cuts], [*cuts, len(audio)], strict=True):
        made += network.hear([audio[start:stop]], [state], [{}])
    return (np.concatenate([getattr(each, name) for each in made]) for name in ("coefficients", "features"))


def test_a_clip_is_as_torch_computes_it(networks, heard):
    audio, wanted = heard
    got = networks[1].analyse(audio)
    for name in ("coefficients", "speech", "expression", "frame_emotion_logits", "emotion_logits"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), atol=1e-5, err_msg=name)
    np.testing.assert_allclose(got.features, wanted.features, atol=1e-4)  # of a size of about 10


@pytest.mark.parametrize("step", [533, 1600, 7777])
def test_a_stream_is_the_clip_however_it_is_cut(networks, heard, step):
    audio, wanted = heard
    coefficients, features = pieces_of(networks[1], audio, range(step, len(audio), step))
    assert len(coefficients) >= len(wanted.coefficients) - 6  # the last wait for their look-ahead
    np.testing.assert_allclose(coefficients, wanted.coefficients[: len(coefficients)], atol=1e-5)
    np.testing.assert_allclose(features, wanted.features[: len(features)], atol=1e-4)


def test_voices_at_different_places_share_a_batch(networks):
    _, network = networks
    audios = [speech(5.0, seed) for seed in range(3)]
    alone = [network.predict(audio) for audio in audios]
    states, made = [network.new_state() for _ in audios], [[] for _ in audios]
    places, sizes = [0, 0, 0], [1600, 533, 2400]
    for turn in range(120):  # the second one joins later
        who = [k for k in range(3) if places[k] < len(audios[k]) and (k != 1 or turn > 7)]
        if not who:
            break
        new = [audios[k][places[k] : places[k] + sizes[k]] for k in who]
        for k, result in zip(who, network.hear(new, [states[k] for k in who], [{} for _ in who]), strict=True):
            made[k].append(result.coefficients)
            places[k] += sizes[k]
    for frames, wanted in zip(made, alone, strict=True):
        both = np.concatenate(frames)
        assert len(both) > 100
        np.testing.assert_allclose(both, wanted[: len(both)], atol=1e-5)


def test_controls_are_those_of_torch(networks):
    audio = speech(2.0)
    style = np.zeros(24, np.float32)
    style[[1, 5]] = 0.25, 0.75
    for control in (EmotionControl.of("happy", 1.6, 0.7), EmotionControl.from_clip(speech(1.0, 3)), None):
        for person in (3, style):
            wanted, got = (each.predict(audio, person, 0.4, control) for each in networks)
            np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_live_stream_with_a_change_of_controls_is_that_of_torch(networks):
    from emotalk_ros.streaming import Controls, FaceStream

    made = []
    for network in networks:
        stream = FaceStream(network, StreamSettings())
        frames = stream.push(speech(2.0))
        stream.controls = Controls(2, 0.5, EmotionControl.of("sad"))
        frames += stream.push(speech(1.5, 1)) + stream.end()
        made.append(frames)
    assert [frame.stamp_ns for frame in made[0]] == [frame.stamp_ns for frame in made[1]]
    for wanted, got in zip(*made, strict=True):
        np.testing.assert_allclose(got.coefficients, wanted.coefficients, atol=2e-5)
        np.testing.assert_allclose(got.emotion, wanted.emotion, atol=2e-5)


def test_eight_bits_stay_near(networks, heard):
    audio, wanted = heard
    coarse = OnnxNetwork(default_model_path(), "int8").predict(audio)
    assert 1e-5 < np.abs(coarse - wanted.coefficients).mean() < 0.02
    weight = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    whole, factors = eight_bit(weight)
    assert whole.dtype == np.int8 and whole.shape == (4, 6)
    np.testing.assert_allclose(whole.T * factors[:, None], weight, atol=float(factors.max()))


def test_rows_of_a_voice_that_is_gone_serve_the_next(networks):
    network = networks[1]
    first = network.new_state()
    rows = first.segments.rows
    network.hear([speech(1.0)], [first], [{}])
    del first
    again = network.new_state()
    assert again.segments.rows == rows
    (result,) = network.hear([speech(1.0)], [again], [{}])
    np.testing.assert_allclose(result.coefficients, network.predict(speech(1.0))[: len(result.coefficients)], atol=1e-5)


def test_sizes_are_those_of_the_configuration():
    config = StreamingEmoTalkConfig(fps=25, trunk_rights=[4, 1])
    sizes = NetworkSizes.of(config.to_dict())
    assert sizes.lookahead_samples == config.lookahead_samples
    assert (sizes.decoder_dim, sizes.fps, tuple(sizes.emotion_labels)) == (
        config.decoder_dim, 25, tuple(config.emotion_labels),
    )  # fmt: skip


def test_backends_are_chosen_and_said(networks):
    asked = load_network(backend="onnx")
    assert asked.backend == "onnx" and "ONNX Runtime" in asked.network.computed_by
    quick = load_network(compare=False)
    assert quick.backend == "onnx" and "without torch" in quick.reason
    measured = load_network()
    assert measured.backend in ("onnx", "torch") and " ms by torch" in measured.network.computed_by
    with pytest.raises(ValueError, match="auto, torch, onnx"):
        load_network(backend="tensorrt")
    with pytest.raises(ValueError, match="on the CPU"):
        load_network(backend="onnx", device="cuda")


def test_what_is_missing_is_said_with_its_remedy(tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(default_model_path(), plain, ignore=shutil.ignore_patterns("onnx"))
    with pytest.raises(RuntimeUnavailable, match=r"convert .* --onnx"):
        OnnxNetwork(plain)
    assert load_network(plain).backend == "torch"
    other = tmp_path / "other"
    shutil.copytree(default_model_path(), other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "decoder_reach": 50}))
    with pytest.raises(CheckpointError, match="other sizes"):
        OnnxNetwork(other)


def test_convert_makes_graphs_of_another_network(tmp_path):
    pytest.importorskip("onnx", reason="making graphs needs the package onnx")
    from emotalk_ros.runtime.export import make_graphs

    torch.manual_seed(1)
    config = StreamingEmoTalkConfig(
        trunk_width=48, trunk_heads=2, trunk_ff=64, trunk_segment=50, trunk_rights=[2, 1], content_dim=24, level_dim=8,
        person_dim=8, emotion_dim=16, emotion_channels=8, decoder_heads=2, decoder_ff=32, decoder_reach=20,
    )  # fmt: skip
    model = StreamingEmoTalk(config)
    for head in (model.speech_output, model.expression_output):  # they begin at zero
        torch.nn.init.normal_(head.weight, std=0.3)
    model.save_pretrained(tmp_path / "small")
    made = make_graphs(tmp_path / "small")
    assert made.difference <= 1e-5 and sum(path.stat().st_size for path in made.files) < 1e6
    audio = speech(3.0)
    wanted = load_model(tmp_path / "small").predict(audio)
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(OnnxNetwork(tmp_path / "small").predict(audio), wanted, atol=1e-5)


def test_animate_is_the_same_by_either(networks):
    audio = speech(2.0)
    wanted, got = (np.stack([frame.coefficients for frame in animate(each, audio)]) for each in networks)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
