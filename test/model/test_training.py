"""What a trainer needs: gradients everywhere they should be, frozen front ends, checkpointing, ablations."""

import pytest
import torch
from small_models import VARIANTS, small_model, speechlike

# The memory attention's query and key never act; they share one tensor with the value.
VALUES = torch.from_numpy(speechlike(24_000)).view(2, 12_000)
LENGTHS = torch.tensor([12_000, 9_000])


def step(model):
    output = model(VALUES, LENGTHS, frames=torch.tensor([22, 16]))
    loss = output.coefficients.square().mean() + output.emotion_logits.square().mean()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant):
    model = small_model(variant).train()
    step(model)
    still = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not still
    assert all(p.grad.any() for n, p in model.named_parameters() if "k_proj.bias" not in n), "k bias shifts a softmax"


def test_memory_attention_query_and_key_never_act():
    model = small_model("paper").train()
    step(model)
    width = model.config.decoder_dim
    gradient = model.decoder[0].multihead_attn.in_proj_weight.grad
    assert not gradient[: 2 * width].any()
    assert gradient[2 * width :].any()


def test_frozen_front_ends():
    model = small_model("paper").train()
    model.freeze_feature_encoders()
    step(model)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (".feature_extractor." in name), name
    mel = small_model("streaming_mel")
    mel.freeze_feature_encoders()
    assert all(parameter.requires_grad for parameter in mel.parameters())


@pytest.mark.parametrize("variant", ["paper", "streaming_mel"])
def test_checkpointing_gives_the_same_gradients(variant):
    plain, saving = small_model(variant), small_model(variant)
    for model in (plain, saving):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for encoder in model._encoders():
            for layer in encoder.encoder.layers:
                layer.attention.dropout = 0.0
        for layer in model.decoder:
            layer.self_attn.dropout = 0.0
        model.train()
    saving.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert torch.allclose(step(plain), step(saving), atol=1e-6)
    for (name, left), right in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(left.grad, right.grad, atol=1e-5), name


def test_one_encoder_ablation_reads_emotion_from_the_content_encoder():
    model = small_model("one_encoder")
    assert not hasattr(model, "emotion_encoder")
    assert model.num_parameters() < 0.7 * small_model("paper").num_parameters()
    output = model(VALUES)
    states = model._content_states(model._prepare(VALUES, None), None, None, output.content.shape[1])
    assert torch.allclose(output.emotion, model.emotion_head(states), atol=1e-5)


def test_unguided_ablation_has_no_memory_attention():
    names = [name for name, _ in small_model("unguided").named_parameters()]
    assert not any("multihead_attn" in name for name in names)
    assert any("multihead_attn" in name for name, _ in small_model("paper").named_parameters())


def test_a_small_model_learns_a_motion():
    torch.manual_seed(0)
    model = small_model("streaming_mel").train()
    target = (VALUES.abs().unfold(1, 533, 533).mean(-1) * 5)[..., None].expand(-1, -1, 52)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        made = model(VALUES, frames=target.shape[1]).coefficients
        loss = (made - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
