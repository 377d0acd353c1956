"""What the streaming network adds to training: the pretrained encoder, closures, spread, two parts, encoded samples."""

import pytest
import torch
from transformers import WhisperConfig, WhisperModel

from emotalk_ros.face.names import INDEX
from emotalk_ros.model import EmoTalk, load_model
from emotalk_ros.model.streaming_emotalk import EXPRESSIVE, StreamingEmoTalk
from emotalk_ros.training.distillation import Teacher, load_whisper_encoder, unexplained
from emotalk_ros.training.losses import LipGap, Objective, closure, spread
from emotalk_ros.training.models import build_model
from emotalk_ros.training.recipe import RecipeError
from emotalk_ros.training.runlog import read_log
from emotalk_ros.training.trainer import train

JAW, CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
SIZES = {"trunk_width": 16, "trunk_heads": 2, "trunk_ff": 24, "mel_bands": 16, "trunk_segment": 40}
SMALL = {
    "content_dim": 16,
    "level_dim": 4,
    "person_dim": 4,
    "emotion_dim": 8,
    "emotion_channels": 8,
    "decoder_ff": 16,
    "decoder_layers": 1,
}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        encoder_layers=4,
        num_mel_bins=16,
        max_source_positions=200,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def recipe(toy_recipe, whisper):
    def make(**changes):
        model = {
            "architecture": "emotalk-streaming",
            "options": SIZES | SMALL,
            "trunk": whisper,
            **changes.pop("model", {}),
        }
        loss = {"closure": 0.02, "spread": 1.0, **changes.pop("loss", {})}
        made = toy_recipe(loss=loss, **changes)
        return made.model_copy(update={"model": made.model.model_copy(update=model)})

    return make


def test_the_trunk_starts_from_whisper(recipe, whisper):
    model = build_model(recipe().model)
    encoder = load_whisper_encoder(whisper)
    assert torch.equal(model.trunk.layers[2].fc1.weight, encoder.layers[2].fc1.weight)
    assert torch.equal(model.trunk.positions, encoder.embed_positions.weight[: len(model.trunk.positions)])
    with pytest.raises(RecipeError, match=r"trunk_\*"):
        build_model(recipe(model={"options": SIZES | SMALL | {"trunk_ff": 32}}).model)
    with pytest.raises(RecipeError, match="no readable Whisper"):
        build_model(recipe(model={"trunk": "/nowhere"}).model)


def test_a_teacher_explains_itself_and_the_trunk_nearly(recipe, whisper):
    model, teacher = build_model(recipe().model).eval(), Teacher(load_whisper_encoder(whisper), 3)
    samples, lengths = 0.3 * torch.randn(2, 16000), torch.tensor([16000, 9000])
    wanted = teacher(samples)
    assert wanted.shape == (2, 50, 4, 16)
    assert unexplained(wanted, wanted, lengths) == 0
    with torch.inference_mode():
        made = model(samples * 0.7 / samples.abs().amax(1, keepdim=True)).features
    count = (16000 + 9000) // 320
    assert 0 < unexplained(made, wanted, lengths) / count < 0.5
    assert unexplained(torch.zeros_like(wanted), wanted, lengths) / count > 0.9


def test_a_run_on_encoded_samples(recipe, tmp_path):
    made = recipe(model={"freeze": ("trunk",)}, data={"encoded": 6}, run={"half": True})
    result = train(made, tmp_path / "run")
    again = train(made, tmp_path / "again")
    model = load_model(result.model)
    assert isinstance(model, StreamingEmoTalk) and bool(model.prototypes_set)
    assert [row["loss"] for row in read_log(result.folder)] == [row["loss"] for row in read_log(again.folder)]
    assert (result.model / "model.safetensors").stat().st_size < 0.6 * (
        tmp_path / "run/best/model.safetensors"
    ).stat().st_size
    start = build_model(made.model)
    assert torch.allclose(model.trunk.conv1.weight, start.trunk.conv1.weight, atol=1e-3)
    assert not torch.allclose(model.speech_output.weight, start.speech_output.weight, atol=1e-3)


def test_encoded_samples_need_a_trunk_that_stays(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"model\.freeze"):
        train(recipe(data={"encoded": 6}), tmp_path / "run")


def test_a_trunk_that_learns_is_held_by_its_teacher(recipe, tmp_path):
    result = train(recipe(loss={"distillation": 0.1}, optim={"lr": 1e-4}), tmp_path / "run")
    values = [row["distillation"] for row in read_log(result.folder) if "distillation" in row]
    assert len(values) >= 6 and values[-1] < 0.5


def test_closures_are_asked_where_the_label_tells():
    target = torch.zeros(1, 4, 52)
    target[0, :, JAW] = torch.tensor([0.2, 0.2, 0.2, 0.01])
    target[0, :, CLOSE] = torch.tensor([0.2, 0.0, 0.12, 0.0])  # closed, open, neither, at rest
    frames = torch.tensor([4])
    right, wrong = torch.tensor([[9.0, -9.0, 0.0, 0.0]]), torch.tensor([[-9.0, 9.0, 0.0, 0.0]])
    assert closure(right, target, frames, 3.0) < 0.001
    assert closure(wrong, target, frames, 3.0) == pytest.approx(3 * 9 + 9, rel=1e-3)


def test_spread_looks_at_the_distribution_and_not_at_the_time():
    target = 0.3 * torch.rand(2, 40, 52)
    frames, weights, known = torch.tensor([40, 30]), torch.ones(52), torch.ones(2, 52)
    shuffled = target.clone()
    shuffled[0] = target[0, torch.randperm(40)]
    gap = LipGap()
    assert spread(shuffled, target, weights, known, frames, gap) < 1e-8
    narrow = target.mean(1, keepdim=True) + 0.3 * (target - target.mean(1, keepdim=True))
    assert spread(narrow, target, weights, known, frames, gap) > 0.01
    known[:, :] = 0
    assert spread(narrow, target, weights, known, frames, gap) == 0


def test_speech_and_expression_do_not_learn_each_others_part(recipe):
    model = build_model(
        recipe(model={"options": SIZES | SMALL | {"emotion_labels": ["neutral", "happy", "angry"]}}).model
    )
    objective = Objective(model, recipe().loss)
    speech, expression = torch.randn(3, 5, 52, requires_grad=True), torch.randn(3, 5, 52, requires_grad=True)
    face = objective._told_apart(speech, expression, torch.tensor([0, 1, -100]))  # neutral, happy, nobody knows
    face.sum().backward()
    assert torch.equal(face[0], speech[0]) and torch.equal(face[2], speech[2])
    assert torch.equal(face[1, :, EXPRESSIVE], (speech + expression)[1, :, EXPRESSIVE])
    assert not speech.grad[1, :, EXPRESSIVE].any() and expression.grad[1, :, EXPRESSIVE].all()
    assert not expression.grad[0].any() and not expression.grad[2].any()
    assert not isinstance(model, EmoTalk)
