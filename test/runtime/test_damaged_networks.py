"""A damaged folder is refused without torch as with it: one line that names the file and the remedy."""

import json
import os
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from emotalk_ros.model import CheckpointError, default_model_path
from emotalk_ros.model.ear_config import EarError, ear_path
from emotalk_ros.model.ear_stream import load_streaming_ear
from emotalk_ros.runtime import load_network

pytest.importorskip("onnxruntime", reason="extra emotalk_ros[onnx]")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(default_model_path(), tmp_path / "model")


def refusal(folder):
    with pytest.raises(CheckpointError, match=r"copy the folder again|emotalk convert") as caught:
        load_network(folder, "cpu", backend="onnx")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-100], lambda data: os.urandom(500)])
def test_weights_that_cannot_be_read(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert "model.safetensors cannot be read" in refusal(folder)


def test_weights_that_are_no_numbers_missing_or_of_another_shape(folder):
    path = folder / "model.safetensors"
    whole = load_file(path)
    name = "decoder.0.linear1.weight"
    save_file({**whole, name: whole[name] * float("nan")}, path)
    assert f"{name} holds NaN" in refusal(folder)
    save_file({key: value for key, value in whole.items() if key != name}, path)
    with pytest.raises(CheckpointError, match=name):
        load_network(folder, "cpu", backend="onnx")
    save_file({**whole, name: whole[name][:7].copy()}, path)
    assert "decoder.onnx cannot be loaded" in refusal(folder)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_configuration_that_is_none(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(("key", "value"), [("decoder_layers", 10_000_000), ("fps", "thirty"), ("trunk_rights", 3)])
def test_a_wrong_value_is_named(folder, key, value):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert f"config.json: {key}" in refusal(folder)


def test_an_ear_with_damaged_weights_is_refused_for_streams_too(tmp_path):
    folder = shutil.copytree(ear_path("free"), tmp_path / "ear")
    path = folder / "ear.safetensors"
    whole = load_file(path)
    save_file({**whole, "known": whole["known"] * float("nan")}, path)
    with pytest.raises(EarError, match="known holds NaN"):
        load_streaming_ear(folder)
    save_file({**whole, "known": whole["known"][:3].copy()}, path)
    with pytest.raises(EarError, match="asks for"):
        load_streaming_ear(folder)
    path.write_bytes(b"noise")
    with pytest.raises(EarError, match=r"ear\.safetensors cannot be read"):
        load_streaming_ear(folder)
