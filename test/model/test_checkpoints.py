"""Model folders: saving, finding, loading strictly, offline."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import VARIANTS, small_config, small_model, speechlike

from emotalk_ros.model import (
    CheckpointError,
    EmoTalk,
    EmoTalkConfig,
    ModelNotFoundError,
    default_model_path,
    load_model,
    locations,
)

AUDIO = speechlike(8_000)


@pytest.fixture
def folder(tmp_path):
    small_model("streaming_mel").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant, tmp_path):
    model = small_model(variant)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = load_model(tmp_path)
    assert not again.training
    bookkeeping = ("_name_or_path", "architectures", "dtype", "content_config", "emotion_config")
    saved, loaded = model.config.to_dict(), again.config.to_dict()
    assert {k: v for k, v in saved.items() if k not in bookkeeping} == {
        k: v for k, v in loaded.items() if k not in bookkeeping
    }
    assert np.array_equal(again.predict(AUDIO), model.predict(AUDIO))
    assert np.array_equal(EmoTalk.from_pretrained(tmp_path).eval().predict(AUDIO), model.predict(AUDIO))


def test_loading_needs_no_network(folder, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("loading a folder reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_model(folder)


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(ModelNotFoundError, match="emotalk train"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)


def test_the_variable_comes_first(folder, monkeypatch, tmp_path):
    monkeypatch.setenv(locations.MODEL_VARIABLE, str(folder))
    assert default_model_path() == folder
    assert load_model().config.frontend == "mel"
    monkeypatch.setenv(locations.MODEL_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ModelNotFoundError, match="EMOTALK_MODEL"):
        default_model_path()


def test_source_tree_then_share_folders(folder, monkeypatch, tmp_path):
    monkeypatch.delenv(locations.MODEL_VARIABLE, raising=False)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    module = tmp_path / "install" / "lib" / "python3" / "site-packages" / "emotalk_ros" / "model" / "checkpoints.py"
    monkeypatch.setattr(locations, "__file__", str(module))
    with pytest.raises(ModelNotFoundError, match="EMOTALK_MODEL"):
        default_model_path()
    elsewhere = tmp_path / "other_prefix" / "share" / "emotalk_ros" / "models" / "emotalk-streaming"
    shutil.copytree(folder, elsewhere)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'none'}:{tmp_path / 'other_prefix'}")
    assert default_model_path() == elsewhere
    installed = tmp_path / "install" / "share" / "emotalk_ros" / "models" / "emotalk-streaming"
    shutil.copytree(folder, installed)
    assert default_model_path() == installed
    tree = module.parents[2] / "models" / "emotalk-streaming"
    shutil.copytree(folder, tree)
    assert default_model_path() == tree


def test_weights_that_do_not_fit_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["output.bias"]
    tensors["stray"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"output\.bias.*stray"):
        load_model(folder)


def test_sizes_that_do_not_fit_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["content_dim"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_model(folder)


def test_an_unknown_model_type_is_named(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"'bert'; known: emotalk, emotalk-streaming, voca, meshtalk, faceformer"):
        load_model(folder)


def test_presets():
    assert EmoTalkConfig.preset("large").to_dict() == EmoTalkConfig().to_dict()
    with torch.device("meta"):
        base, tiny = (EmoTalk(EmoTalkConfig.preset(name)) for name in ("base", "tiny"))
    assert base.num_parameters() > 190e6
    assert 4 * tiny.num_parameters() < 20e6  # bytes in float32
    assert tiny.config.attention == "causal"
    assert EmoTalkConfig.preset("tiny", lookahead_frames=1).lookahead_frames == 1
    with pytest.raises(ValueError, match=r"'huge'; known: large, base, tiny"):
        EmoTalkConfig.preset("huge")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"frontend": "mfcc"}, "frontend must be one of wave, mel"),
        ({"decoder_heads": 7}, "multiple of decoder_heads"),
        ({"num_levels": 3}, "num_levels"),
        ({"emotion_labels": []}, "emotion_labels"),
        ({"emotion_labels": ["sad", "sad"]}, "distinct"),
        ({"fps": 0}, "fps"),
        ({"min_std": -1.0}, "min_std"),
        ({"mel_window": 1024}, "mel_window"),
        ({"output_activation": "relu"}, "output_activation"),
    ],
)
def test_wrong_configurations_say_why(fields, reason):
    with pytest.raises(ValueError, match=reason):
        small_config("paper", **fields)


def test_fresh_models_start_at_the_rest_face():
    torch.manual_seed(0)
    model = EmoTalk(small_config("streaming_mel")).eval()
    assert not model.predict(AUDIO).any()
    assert not bool(model.prototypes_set)


@pytest.mark.parametrize(("activation", "low", "high"), [("sigmoid", 0, 1), ("none", -9, 9)])
def test_output_activations(activation, low, high):
    made = small_model("streaming_mel", output_activation=activation).predict(AUDIO)
    raw = small_model("streaming_mel").predict(AUDIO)
    assert low <= made.min() and made.max() <= high
    expected = {"sigmoid": 1 / (1 + np.exp(-raw)), "none": raw}[activation]
    assert np.abs(made - expected).max() < 1e-6
