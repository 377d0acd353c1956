"""The lean network against numbers from the published code, and against the plain reference on other sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from reference_forward import reference_forward
from small_models import ENCODER, randomise, speechlike

from emotalk_ros.model import EmoTalk, decoder, encoder
from emotalk_ros.model.published import (
    OWN_BUFFERS,
    config_from_description,
    from_published,
    read_config,
    read_tensors,
    to_published,
)

DATA = Path(__file__).parents[1] / "data" / "emotalk_tiny"
META = json.loads((DATA / "meta.json").read_text())
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def published():
    """(model, published state dict) of the stored network."""
    state = read_tensors(DATA / "tiny_state_dict.pt")
    model = EmoTalk(read_config(DATA / "meta.json")).eval()
    model.load_state_dict(from_published(state)[0], strict=False)
    return model, state


@pytest.mark.parametrize("case", META["cases"], ids=lambda case: case["wav"])
def test_stored_outputs(published, case):
    audio, _ = soundfile.read(DATA / case["wav"], dtype="float32")
    made = published[0].predict(audio, person=case["person"], level=float(case["level"]))
    expected = np.load(DATA / case["expected"])
    assert made.shape == expected.shape == (case["frames"], 52)
    assert np.abs(made - expected).max() < TOLERANCE
    assert expected.std() > 0.1


def test_stored_intermediates(published):
    model = published[0]
    audio, _ = soundfile.read(DATA / "a.wav", dtype="float32")
    expected = np.load(DATA / "a_intermediate.npz")
    found = trace(model, torch.from_numpy(audio)[None], person=torch.tensor([0]), level=torch.tensor([1.0]))
    for name in expected.files:
        assert found[name].shape == expected[name].shape, name
        assert np.abs(found[name] - expected[name]).max() < TOLERANCE, name


@pytest.mark.parametrize("case", META["cases"], ids=lambda case: case["wav"])
def test_reference_gives_the_stored_outputs(published, case):
    audio, _ = soundfile.read(DATA / case["wav"], dtype="float32")
    with torch.no_grad():
        made = reference_forward(published[1], META, torch.from_numpy(audio), case["person"], case["level"])["out"][0]
    assert np.abs(made.numpy() - np.load(DATA / case["expected"])).max() < TOLERANCE


SIZES = {
    "wider": {"hidden_size": 48, "num_attention_heads": 6, "intermediate_size": 40, "conv_dim": [24] * 7},
    "deeper": {"num_hidden_layers": 4, "num_conv_pos_embeddings": 31},
    "shallow": {"num_hidden_layers": 1, "num_attention_heads": 1, "num_conv_pos_embeddings": 8},
}


@pytest.mark.parametrize(
    ("size", "nhead", "layers", "period", "samples"),
    [
        ("wider", 8, 1, 30, 20_001),
        ("deeper", 4, 2, 7, 48_000),
        ("shallow", 2, 1, 1, 720),
        ("shallow", 2, 3, 30, 132_800),
    ],
)
def test_other_sizes_equal_the_reference(size, nhead, layers, period, samples):
    meta = {
        "config": {**ENCODER, **SIZES[size]},
        "map_dims": {"cont": 20, "emo": 40, "emo2": 12},
        "feature_dim": 40,
        "period": period,
        "decoder": {"nhead": nhead, "ff": 24, "layers": layers},
    }
    model, state = random_network(meta)
    audio = torch.from_numpy(speechlike(samples, seed=samples))
    with torch.no_grad():
        expected = reference_forward(state, meta, audio, person=7, level=0)
    found = trace(model, audio[None], person=torch.tensor([7]), level=torch.tensor([0.0]))
    for name, tensor in expected.items():
        assert np.abs(found[name] - tensor.numpy()).max() < TOLERANCE, name


def test_pieces_equal_the_whole(published, monkeypatch):
    """Small pieces of the front end and of the decoder's queries: the sums a long clip is made of."""
    model, state = published
    monkeypatch.setattr(encoder, "CHUNK_FEATURES", 37)
    monkeypatch.setattr(decoder, "QUERY_BLOCK", 17)
    audio = torch.from_numpy(speechlike(80_000))
    with torch.no_grad():
        expected = reference_forward(state, META, audio)["out"][0].numpy()
    assert np.abs(model.predict(audio) - expected).max() < TOLERANCE


def test_cross_drive_equals_the_reference(published):
    model, state = published
    content, emotion = torch.from_numpy(speechlike(30_000)), torch.from_numpy(speechlike(52_345, seed=1))
    with torch.no_grad():
        expected = reference_forward(state, META, content, emotion_audio=emotion)
        found = model(content[None], emotion_values=emotion[None])
    assert (found.coefficients - expected["out"]).abs().max() < TOLERANCE
    assert (found.emotion_logits - expected["emo_logits"]).abs().max() < TOLERANCE


def test_frame_counts_are_the_published_ones(published):
    """ceil(samples / 16000 * 30) in double precision, which at 8.3 s gives one frame more than exact arithmetic."""
    model = published[0]
    assert [model.frame_count(n) for n in (16_000, 21_937, 132_800)] == [30, 42, 250]
    assert model(torch.randn(1, 132_800) * 0.1).coefficients.shape == (1, 250, 52)


def test_slopes_of_the_attention_bias():
    assert decoder.head_slopes(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert decoder.head_slopes(8).tolist() == [2.0**-k for k in range(1, 9)]
    assert decoder.head_slopes(6).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]
    assert decoder.head_slopes(1).tolist() == [2.0**-8]


def random_network(meta):
    """A random model of `meta`'s sizes and its state dict under the published names."""
    torch.manual_seed(3)
    model = EmoTalk(config_from_description(meta)).eval()
    randomise(model)
    state = {to_published(key): value for key, value in model.state_dict().items() if key not in OWN_BUFFERS}
    return model, state


def trace(model, audio, **inputs):
    """The intermediate tensors of a pass, under the names of the stored ones."""
    seen = {}

    def keep(name, result=True):
        def hook(_, args, output):
            seen[name] = (output if result else args[0]).detach()

        return hook

    hooks = [
        model.content_encoder.register_forward_hook(keep("cont")),
        model.emotion_encoder.register_forward_hook(keep("emo_pre_interp")),
        model.emotion_head.register_forward_hook(keep("emo", result=False)),
        model.decoder[0].register_forward_hook(keep("dec_in", result=False)),
        model.decoder[-1].register_forward_hook(keep("dec_out")),
    ]
    with torch.no_grad():
        output = model(audio, **inputs)
    for hook in hooks:
        hook.remove()
    seen.update(emo_logits=output.emotion_logits, dec_mem=output.emotion, out=output.coefficients)
    return {name: tensor.numpy() for name, tensor in seen.items()}
