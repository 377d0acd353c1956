"""The published names: all 882 tensors of the full-size network, and the way there and back."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import ENCODER, GROUP_ENCODER, small_config, small_model, speechlike
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from emotalk_ros.model import CheckpointError, EmoTalk, EmoTalkConfig, load_model
from emotalk_ros.model.conversion import (
    convert_published,
    convert_to_published,
    convert_wav2vec2,
    from_wav2vec2,
)
from emotalk_ros.model.published import EXTRAS_FILE, OWN_BUFFERS, config_from_description, to_ours, to_published

PUBLISHED_DIGEST = "f460b1e8ab55e1a836291d39426129be2237d975957b25ff1661012a0d2de93a"
"""SHA-256 of the sorted lines `key shape` of the published network's 882 tensors."""

META = {
    "config": ENCODER,
    "map_dims": {"cont": 20, "emo": 40, "emo2": 12},
    "feature_dim": 40,
    "period": 30,
    "decoder": {"nhead": 4, "ff": 24, "layers": 1},
}


@pytest.fixture
def published(tmp_path):
    """A random checkpoint of the published form, its state dict, and its description."""
    state = published_state(EmoTalk(config_from_description(META)))
    torch.save(state, tmp_path / "EmoTalk.pth")
    (tmp_path / "meta.json").write_text(json.dumps(META))
    return tmp_path / "EmoTalk.pth", state, tmp_path / "meta.json"


def published_state(model, vocabulary=32):
    """Random tensors under the published names, dead keys in their places."""
    sizes = model.config.content_config.hidden_size
    dead = {"masked_spec_embed": (sizes,), "lm_head.weight": (vocabulary, sizes), "lm_head.bias": (vocabulary,)}
    shapes = {}
    for encoder in ("audio_encoder_cont.", "audio_encoder_emo.wav2vec2."):
        shapes.update({encoder + name: shape for name, shape in dead.items()})
    for key, tensor in model.state_dict().items():
        if key not in OWN_BUFFERS:
            shapes[to_published(key)] = tuple(tensor.shape)
    generator = torch.Generator().manual_seed(1)
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def same(left, right):
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


def test_names_and_shapes_of_the_full_size_network():
    with torch.device("meta"):
        model = EmoTalk(EmoTalkConfig.preset("large"))
    shapes = {to_published(k): tuple(t.shape) for k, t in model.state_dict().items() if k not in OWN_BUFFERS}
    for encoder in ("audio_encoder_cont.", "audio_encoder_emo.wav2vec2."):
        shapes[encoder + "masked_spec_embed"] = (1024,)
        shapes[encoder + "lm_head.weight"], shapes[encoder + "lm_head.bias"] = (32, 1024), (32,)
    assert len(shapes) == 882
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 640_570_427
    lines = "\n".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == PUBLISHED_DIGEST


def test_there_and_back_is_bit_equal(published, tmp_path):
    source, state, meta = published
    convert_published(source, tmp_path / "model", meta)
    model = load_model(tmp_path / "model")
    for key, tensor in state.items():
        name = to_ours(key)
        assert name is None or torch.equal(model.state_dict()[name], tensor)
    for suffix in (".pth", ".safetensors"):
        out = tmp_path / f"back{suffix}"
        assert convert_to_published(tmp_path / "model", out) == []
        again = load(out)
        assert (
            same(again, state) if suffix == ".pth" else same(dict(sorted(again.items())), dict(sorted(state.items())))
        )


def load(path):
    from emotalk_ros.model.published import read_tensors

    return read_tensors(path)


@pytest.mark.parametrize("nest", ["state_dict", "model"])
def test_nested_and_wrapped_state_dicts(published, tmp_path, nest):
    _, state, meta = published
    torch.save({"epoch": 3, nest: {f"module.{k}": v for k, v in state.items()}}, tmp_path / "nested.pt")
    convert_published(tmp_path / "nested.pt", tmp_path / "model", meta)
    convert_to_published(tmp_path / "model", tmp_path / "back.pth")
    assert same(load(tmp_path / "back.pth"), state)


def test_new_weight_norm_names_are_understood_and_given_back(published, tmp_path):
    _, state, meta = published
    renamed = {
        k.replace("conv.weight_g", "conv.parametrizations.weight.original0").replace(
            "conv.weight_v", "conv.parametrizations.weight.original1"
        ): v
        for k, v in state.items()
    }
    assert renamed.keys() != state.keys()
    torch.save(renamed, tmp_path / "new.pth")
    convert_published(tmp_path / "new.pth", tmp_path / "model", meta)
    convert_to_published(tmp_path / "model", tmp_path / "back.pth")
    assert same(load(tmp_path / "back.pth"), renamed)


def test_every_missing_and_unexpected_key_is_listed(published, tmp_path):
    _, state, meta = published
    del state["bs_map_r.bias"], state["audio_encoder_cont.encoder.layer_norm.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"2 missing: audio_encoder_cont\.encoder\.layer_norm\.weight, bs_map_r"):
        convert_published(tmp_path / "less.pth", tmp_path / "model", meta)
    state["surprise.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match=r"2 missing.*\n  1 unexpected: surprise\.weight"):
        convert_published(tmp_path / "more.pth", tmp_path / "model", meta)
    assert not (tmp_path / "model").exists()


def test_dead_keys_may_be_absent(published, tmp_path):
    _, state, meta = published
    alive = {key: tensor for key, tensor in state.items() if to_ours(key)}
    torch.save(alive, tmp_path / "alive.pth")
    convert_published(tmp_path / "alive.pth", tmp_path / "model", meta)
    convert_to_published(tmp_path / "model", tmp_path / "back.pth")
    assert same(load(tmp_path / "back.pth"), alive)


def test_other_shapes_are_listed_with_both_sizes(published, tmp_path):
    source, _, meta = published
    meta.write_text(json.dumps({**META, "config": {**ENCODER, "intermediate_size": 48}}))
    with pytest.raises(CheckpointError, match=r"intermediate_dense\.bias: expected \(48,\), found \(64,\)"):
        convert_published(source, tmp_path / "model", meta)
    with pytest.raises(CheckpointError, match="--config"):
        convert_published(source, tmp_path / "model")


@pytest.mark.parametrize(
    "wrong", [{"feature_dim": 41}, {"map_dims": {"cont": 40, "emo": 40, "emo2": 12}}, {"decoder": {"norm_first": True}}]
)
def test_descriptions_that_contradict_themselves(wrong):
    with pytest.raises(CheckpointError):
        config_from_description({**META, **wrong})


def test_our_own_config_file_serves_as_description(published, tmp_path):
    source, _, meta = published
    convert_published(source, tmp_path / "model", meta)
    convert_published(source, tmp_path / "again", tmp_path / "model" / "config.json")
    audio = speechlike(8_000)
    assert np.array_equal(load_model(tmp_path / "again").predict(audio), load_model(tmp_path / "model").predict(audio))


def test_pickles_that_would_run_code_are_refused(tmp_path):
    import os
    import pickle

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"a": Attack()}))
    with pytest.raises(CheckpointError, match="weights_only"):
        convert_published(tmp_path / "bad.pth", tmp_path / "model")
    torch.save({"a": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="weights_only"):
        convert_published(tmp_path / "bad.pth", tmp_path / "model")
    assert not (tmp_path / "owned").exists()


def test_half_precision_stays_as_it_is(published, tmp_path):
    _, state, meta = published
    half = {key: tensor.half() for key, tensor in state.items()}
    torch.save(half, tmp_path / "half.pth")
    convert_published(tmp_path / "half.pth", tmp_path / "model", meta)
    convert_to_published(tmp_path / "model", tmp_path / "back.pth")
    assert same(load(tmp_path / "back.pth"), half)


def test_nothing_is_overwritten_unasked(published, tmp_path):
    source, _, meta = published
    convert_published(source, tmp_path / "model", meta)
    with pytest.raises(FileExistsError):
        convert_published(source, tmp_path / "model", meta)
    convert_published(source, tmp_path / "model", meta, overwrite=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="no model folder"):
        convert_published(source, tmp_path / "precious", meta, overwrite=True)
    assert (tmp_path / "precious" / "letter.txt").read_text() == "dear"
    assert not list(tmp_path.glob(".model*"))


def test_a_model_trained_here_goes_out_without_dead_keys(tmp_path):
    model = small_model("paper")
    model.set_prototypes(torch.ones_like(model.emotion_prototypes))
    model.save_pretrained(tmp_path / "model")
    notes = convert_to_published(tmp_path / "model", tmp_path / "out.pth")
    assert len(notes) == 2 and "prototypes" in notes[0] and EXTRAS_FILE in notes[1]
    state = load(tmp_path / "out.pth")
    assert "audio_encoder_cont.encoder.pos_conv_embed.conv.weight_g" in state
    assert torch.equal(state["bs_map_r.weight"], model.output.weight)


def test_other_forms_do_not_go_out(tmp_path):
    small_model("streaming_mel").save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="frontend is 'mel'"):
        convert_to_published(tmp_path / "model", tmp_path / "out.pth")


@pytest.mark.parametrize("sizes", [ENCODER, GROUP_ENCODER], ids=["large kind", "base kind"])
def test_wav2vec2_folders_start_the_encoders(tmp_path, sizes):
    torch.manual_seed(0)
    source = Wav2Vec2ForCTC(Wav2Vec2Config(**sizes)).eval()
    source.save_pretrained(tmp_path / "wav2vec2")
    model = from_wav2vec2(tmp_path / "wav2vec2").eval()
    values = torch.from_numpy(speechlike(8_000))[None]
    with torch.no_grad():
        expected = source.wav2vec2(values).last_hidden_state
        for encoder in model._encoders():
            assert (encoder(encoder.features(values)) - expected).abs().max() < 1e-5
    convert_wav2vec2(tmp_path / "wav2vec2", tmp_path / "out")
    assert load_model(tmp_path / "out").predict(speechlike(8_000)).shape == (15, 52)


def test_wav2vec2_folders_of_other_sizes_are_refused(tmp_path):
    Wav2Vec2ForCTC(Wav2Vec2Config(**ENCODER)).save_pretrained(tmp_path / "wav2vec2")
    config = small_config("paper", content_config={**ENCODER, "num_hidden_layers": 3})
    with pytest.raises(CheckpointError, match=r"content_encoder.*\n.*missing"):
        from_wav2vec2(tmp_path / "wav2vec2", config=config)
    with pytest.raises(CheckpointError, match="no wav2vec2 model folder"):
        from_wav2vec2(Path(tmp_path))
