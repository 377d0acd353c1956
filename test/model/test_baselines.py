"""VOCA, MeshTalk and FaceFormer on EmoTalk's interface."""

import numpy as np
import pytest
import torch
from small_models import ENCODER, MEL_ENCODER, STREAMING, randomise, speechlike

from emotalk_ros.model import EmotionControl, baselines, load_model

SMALL = {
    "voca": {"content_config": ENCODER},
    "faceformer": {"content_config": ENCODER, "feature_dim": 16},
    "meshtalk": {"width": 16, "latent_heads": 4, "latent_classes": 8},
}
AUDIO = speechlike(16_000)


@pytest.fixture(params=SMALL)
def model(request):
    torch.manual_seed(0)
    network = baselines.build(request.param, SMALL[request.param]).eval()
    randomise(network)
    return network


def test_predict_and_round_trip(model, tmp_path):
    made = model.predict(AUDIO, person=3)
    assert made.shape == (30, 52)
    assert made.dtype == np.float32
    assert made.std(0).max() > 1e-5
    assert np.abs(model.predict(AUDIO, person=4) - made).max() > 1e-4
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert type(again) is type(model)
    assert np.abs(again.predict(AUDIO, person=3) - made).max() < 1e-6


def test_batches_equal_single_clips(model):
    lengths = (16_000, 7_777)
    values = torch.full((2, 16_000), 5.0)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.from_numpy(speechlike(length, seed=row))
    with torch.no_grad():
        together = model(values, torch.tensor(lengths)).coefficients
        for row, length in enumerate(lengths):
            alone = model(values[row : row + 1, :length]).coefficients[0]
            assert (together[row, : len(alone)] - alone).abs().max() < 1e-5
            assert not together[row, len(alone) :].any()


def test_training_step_and_label_lengths(model):
    model.train()
    target = torch.rand(2, 15, 52)
    output = model(
        torch.from_numpy(AUDIO).view(2, 8_000),
        torch.tensor([8_000, 6_000]),
        person=torch.tensor([0, 1]),
        level=torch.tensor([0.0, 1.0]),
        frames=torch.tensor([15, 11]),
        target=target,
    )
    assert output.coefficients.shape == (2, 15, 52)
    assert output.emotion_logits is None
    loss = (output.coefficients - target).square().mean()
    assert (output.loss is not None) == model.wants_target
    (loss if output.loss is None else loss + output.loss).backward()
    learning = [p for p in model.parameters() if p.requires_grad and p.grad is not None and p.grad.any()]
    assert len(learning) > 5


def test_emotions_are_refused(model):
    with pytest.raises(ValueError, match="no emotion input"):
        model.predict(AUDIO, emotion=EmotionControl.of("happy"))
    assert np.array_equal(model.predict(AUDIO, emotion=EmotionControl()), model.predict(AUDIO))


@pytest.mark.parametrize("name", ["voca", "faceformer"])
def test_on_log_mel_spectra(name):
    options = {**SMALL[name], "frontend": "mel", "content_config": MEL_ENCODER, **STREAMING}
    model = baselines.build(name, options).eval()
    assert model.predict(AUDIO).shape == (30, 52)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_voca_keeps_its_recogniser_fixed():
    model = baselines.build("voca", SMALL["voca"])
    fixed = {name.split(".")[0] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert fixed == {"content_encoder"}


def test_voca_has_the_papers_layers():
    model = baselines.build("voca", SMALL["voca"])
    assert [c.out_channels for c in model.convolutions] == [32, 32, 64, 64]
    assert all(c.kernel_size == (3,) and c.stride == (2,) for c in model.convolutions)
    assert (model.dense.out_features, model.bottleneck.out_features, model.output.out_features) == (128, 50, 52)
    assert model.dense.in_features == 64 + 24


def test_faceformer_rolls_out_what_teacher_free_recomputation_gives():
    """Keys and values kept from frame to frame equal running the decoder layer over the whole past."""
    torch.manual_seed(1)
    model = baselines.build("faceformer", {**SMALL["faceformer"], "period": 7}).eval()
    randomise(model)
    values = torch.from_numpy(AUDIO)[None]
    with torch.no_grad():
        made = model(values).coefficients
        memory = model.audio_head(model._content_states(model._prepare(values, None), None, None, 30))
        style = model.style_embedding(model._person_weights(None, 1))
        tokens = torch.cat([style[:, None], model.motion_head(made[:, :-1]) + style[:, None]], dim=1)
        positions = model._positions(memory)[torch.arange(30) % 7]
        whole = model.output(model.decoder(tokens + positions, memory))
    assert (whole - made).abs().max() < 1e-5
    with torch.enable_grad():
        rolled = model(values).coefficients
    assert (rolled - made).abs().max() < 1e-5


def test_meshtalk_prior_is_causal_and_chooses_what_it_scores_highest():
    torch.manual_seed(2)
    model = baselines.build("meshtalk", SMALL["meshtalk"]).eval()
    audio = torch.randn(1, 12, 16)
    with torch.no_grad():
        chosen = model.prior.choose(audio).argmax(-1)
        logits = model.prior(audio, chosen)
        assert torch.equal(logits.argmax(-1), chosen)
        changed = chosen.clone()
        changed[0, 5, 2] = (changed[0, 5, 2] + 1) % 8
        after = model.prior(audio, changed)
    assert torch.equal(after[:, :5], logits[:, :5])
    assert torch.equal(after[:, 5, :3], logits[:, 5, :3])
    assert not torch.equal(after[:, 5, 3], logits[:, 5, 3])
    assert not torch.equal(after[:, 6], logits[:, 6])


def test_wrong_names_and_options():
    with pytest.raises(ValueError, match="voca, meshtalk, faceformer"):
        baselines.build("codetalker")
    with pytest.raises(ValueError, match="no option depth"):
        baselines.build("voca", {"depth": 3})
    with pytest.raises(ValueError, match="at least 16"):
        baselines.build("voca", {**SMALL["voca"], "window": 8})
