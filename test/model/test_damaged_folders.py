"""Model folders and ears that are damaged, or lie: one kind of error, which names file, key and remedy, and no hang."""

import json
import os
import shutil
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import small_model

from emotalk_ros.model import CheckpointError, default_model_path, load_model
from emotalk_ros.model.ear import ear_path, load_ear
from emotalk_ros.model.published import read_config, read_tensors

REMEDY = "copy the folder again|emotalk train"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "model"
    small_model("streaming_mel").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "model")


def reason(path, load=load_model):
    """The text of the refusal, and that it came soon."""
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=REMEDY) as caught:
        load(path)
    assert time.monotonic() - began < 20
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


WEIGHTS = {
    "empty": lambda data: b"",
    "noise": lambda data: os.urandom(500),
    "cut in its head": lambda data: data[:40],
    "cut at half": lambda data: data[: len(data) // 2],
    "the last byte lost": lambda data: data[:-1],
    "a head of 2**62 bytes": lambda data: (2**62).to_bytes(8, "little") + data[8:],
    "a head that is no JSON": lambda data: data[:8] + b"x" * 40 + data[48:],
    "more behind the end": lambda data: data + b"\0" * 100,
    "a pickle": lambda data: b"\x80\x04\x95" + data,
}


@pytest.mark.parametrize("damage", WEIGHTS)
def test_unreadable_weights_are_named_with_a_remedy(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(WEIGHTS[damage](path.read_bytes()))
    assert str(path) in reason(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_with_the_tensors_name(folder, bad):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["output.bias"][7] = bad
    save_file(tensors, path, metadata={"format": "pt"})
    assert "output.bias holds NaN or infinity (1 of 52 numbers)" in reason(folder)


WRONG = {
    "decoder_layers": (10_000_000, "one", 1.5, None, -(10**9), [1], True),
    "content_dim": (2**62, "wide", {}, 60_000),
    "fps": ("30", 0, -3, float("nan"), 10**9),
    "emotion_labels": (5, "calm", [1, 2], {"a": 1}),
    "content_config": (7, "large", {"hidden_size": "big"}, {"num_hidden_layers": 10_000_000}, [1]),
    "frontend": (3, "radio"),
    "disentangle": ("yes",),
    "mel_fft": (2**31,),
    "mel_std": (float("inf"), "1"),
    "period": (2**40,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_in_the_configuration_is_named(folder, key, value):
    change(folder, **{key: value})
    text = reason(folder)
    assert str(folder) in text
    assert key in text or "hidden_size" in text or "expected (" in text  # or it is the tensors that do not fit


CONFIGS = {
    "empty": b"",
    "noise": bytes(range(128, 256)),
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "cut": b'{"model_type": "emo',
    "too large": b'{"a": "' + b"x" * 2_000_000 + b'"}',
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_configuration_that_is_no_object_is_named(folder, content):
    (folder / "config.json").write_bytes(CONFIGS[content])
    assert "config.json" in reason(folder)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(folder / "config.json")


def test_a_network_far_larger_than_its_weights_is_refused_before_it_is_made(folder):
    change(folder, decoder_layers=999, decoder_ff=8192)
    assert "asks for a network of" in reason(folder) or "expected" in reason(folder)


def test_an_index_reaches_no_file_elsewhere(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"output.bias": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "'../elsewhere.safetensors', which is no file beside it" in reason(folder)


def test_the_network_that_ships_stays_whole_in_the_loaders_eyes(tmp_path):
    folder = shutil.copytree(default_model_path(), tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, path, metadata={"format": "pt"})
    assert f"{name} holds NaN" in reason(folder)
    change(folder, trunk_segment=10**8)
    assert "trunk_segment is 100000000, the limit is 8192" in reason(folder)


EAR_VALUES = {
    "width": (10**9, "wide", 0),
    "layers": (None, [], ["a"], [1] * 100_000),
    "window": ("long", -1.0),
    "labels": ([], ["bored"], 3),
    "licence": (5,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in EAR_VALUES.items() for value in values])
def test_a_wrong_value_in_an_ear_is_named(tmp_path, key, value):
    folder = shutil.copytree(ear_path("free"), tmp_path / "ear")
    change(folder, **{key: value})
    assert str(folder) in reason(folder, load_ear)


def test_an_ear_with_damaged_weights_is_refused(tmp_path):
    folder = shutil.copytree(ear_path("free"), tmp_path / "ear")
    path = folder / "ear.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert "ear.safetensors" in reason(folder, load_ear)
    path.write_bytes(whole)
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, path)
    assert f"{name} holds NaN" in reason(folder, load_ear)


def test_files_to_convert_are_refused_by_name(tmp_path):
    path = tmp_path / "EmoTalk.safetensors"
    path.write_bytes(os.urandom(100))
    with pytest.raises(CheckpointError, match=r"EmoTalk\.safetensors cannot be read"):
        read_tensors(path)
    for raw in ({"map_dims": 3}, {"map_dims": {"cont": "a"}}, {"map_dims": {"cont": 1, "emo": 2}}):
        (tmp_path / "c.json").write_text(json.dumps(raw))
        with pytest.raises(CheckpointError, match=r"c\.json"):
            read_config(tmp_path / "c.json")


def test_a_whole_folder_loads_and_computes(folder):
    assert np.isfinite(load_model(folder).predict(np.zeros(8000, np.float32))).all()
