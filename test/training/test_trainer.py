"""The loop: it learns, it resumes on the same curve, nothing it writes is ever half there."""

import numpy as np
import psutil
import pytest
import torch
from small_models import GROUP_ENCODER as WAVE

from emotalk_ros.model import EmoTalk
from emotalk_ros.training.ahead import batches_ahead
from emotalk_ros.training.recipe import RecipeError
from emotalk_ros.training.runlog import read_log
from emotalk_ros.training.trainer import Trainer, train


def losses(folder):
    return [row["loss"] for row in read_log(folder)]


def test_a_run_leaves_a_model_with_card_split_log_and_prototypes(toy_recipe, tmp_path):
    result = train(toy_recipe(), tmp_path / "run")
    assert result.steps == 6 and not result.interrupted and result.model == tmp_path / "run/model"
    model = EmoTalk.from_pretrained(result.model)
    assert bool(model.prototypes_set) and torch.isfinite(model.emotion_prototypes).all()
    card = (result.model / "README.md").read_text()
    assert (
        "CC0-1.0" in card
        and "emotion_recall" not in card
        and "unweighted recall" in card
        and "classification 0.1" in card
    )
    assert str(tmp_path) not in card and "path: toy" in card  # a reader's folders are others
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"recipe.yaml", "splits.yaml", "log.jsonl", "tensorboard", "checkpoints", "best", "model"} == names
    assert len(losses(tmp_path / "run")) == 6
    assert {"loss", "lip_gap_r", "cross", "emotion_recall"} <= set(result.validation)


def test_every_kind_of_loss_is_validated_however_seldom_pairs_are_drawn(toy_recipe, tmp_path):
    result = train(toy_recipe(optim={"steps": 1}, pairs={"probability": 0.0}), tmp_path / "run")
    assert {"self", "cross", "velocity", "classification", "lip_gap"} <= set(result.validation)


def test_it_learns(toy_recipe, tmp_path):
    optim = {"steps": 60, "batch_size": 8, "warmup": 5, "lr": 0.01, "ema": 0.9}
    run = {"log_every": 1, "validate_every": 60, "checkpoint_every": 1000}
    result = train(toy_recipe(optim=optim, run=run, augment={"noise_probability": 0}), tmp_path / "run")
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
    assert result.validation["lip_gap_r"] > 0.5


def test_processes_that_make_the_batches_change_nothing_and_end_with_the_run(toy_recipe, tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    train(toy_recipe(), tmp_path / "thread")
    train(toy_recipe(run={"workers": 2}), tmp_path / "processes")
    assert losses(tmp_path / "processes") == losses(tmp_path / "thread")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_what_a_process_cannot_make_is_told_where_the_step_is_due():
    def make(step):
        if step == 2:
            raise ValueError("no such clip")
        return [step]

    with batches_ahead(make, range(4), workers=2) as batches:
        assert [next(batches), next(batches)] == [[0], [1]]
        with pytest.raises(ValueError, match="no such clip"):
            next(batches)


def test_resuming_continues_the_same_curve(toy_recipe, tmp_path):
    recipe = toy_recipe(run={"log_every": 2})
    train(recipe, tmp_path / "whole")
    first = Trainer(recipe, tmp_path / "parts")
    step = first._step

    def stop_in_third(parts):
        step(parts)
        return first.progress.step == 3  # as a signal would ask for

    first._step = stop_in_third
    assert first.run().interrupted
    second = train(recipe, tmp_path / "parts", resume=True)
    assert second.steps == 6
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-6)
    for kind in ("whole", "parts"):
        assert len(read_log(tmp_path / kind, "validation")) == 2
    one, other = (EmoTalk.from_pretrained(tmp_path / kind / "model").state_dict() for kind in ("whole", "parts"))
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-6)


def test_no_folder_is_overwritten_and_nothing_is_resumed_from_nothing(toy_recipe, tmp_path):
    with pytest.raises(RecipeError, match="no checkpoint to resume"):
        train(toy_recipe(), tmp_path / "run", resume=True)
    train(toy_recipe(optim={"steps": 1}, run={"validation_windows": 1}), tmp_path / "run")
    with pytest.raises(RecipeError, match="already holds a run"):
        train(toy_recipe(), tmp_path / "run")
    larger = {"options": {**toy_recipe().model.options, "content_dim": 24}}
    for other in (toy_recipe(model=larger), toy_recipe(optim={"ema": 0.0})):
        before = (tmp_path / "run/recipe.yaml").read_text()
        with pytest.raises(RecipeError, match=r"does not fit this recipe: go on with .*recipe\.yaml"):
            train(other, tmp_path / "run", resume=True)
        assert (tmp_path / "run/recipe.yaml").read_text() == before


def test_early_stop_keeps_the_best_model(toy_recipe, tmp_path):
    optim = {"steps": 50, "batch_size": 2, "lr": 3.0, "warmup": 0, "clip": None, "ema": 0.0}  # it can only get worse
    run = {"validate_every": 1, "patience": 2, "checkpoint_every": 100, "validation_windows": 4}
    result = train(toy_recipe(optim=optim, run=run), tmp_path / "run")
    assert result.stopped_early and not result.interrupted and result.steps < 50 and result.model is not None
    validations = read_log(tmp_path / "run", "validation")
    assert result.validation["loss"] == min(row["loss"] for row in validations)


def test_a_loss_that_is_not_finite_ends_the_run_with_a_remedy(toy_recipe, tmp_path, monkeypatch):
    trainer = Trainer(toy_recipe(), tmp_path / "run")
    with torch.no_grad():
        trainer.model.output.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"optim\.lr"):
        trainer.run()
    assert not (tmp_path / "run/model").exists()


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(toy_recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"optim\.batch_size=3"):
        train(toy_recipe(optim={"batch_size": 4, "accumulate": 3}), tmp_path / "run")


def test_only_the_last_checkpoints_are_kept_and_a_torn_one_is_ignored(toy_recipe, tmp_path):
    from emotalk_ros.training.checkpoints import checkpoints

    folder = tmp_path / "run/checkpoints"
    (folder / ".step-000000009.tmp").mkdir(parents=True)  # what a power cut leaves
    train(toy_recipe(run={"checkpoint_every": 1, "keep": 2, "validate_every": 6}), tmp_path / "run")
    assert [p.name for p in checkpoints(folder)] == ["step-000000005", "step-000000006"]


def test_the_papers_form_trains_with_frozen_front_ends_checkpointing_and_whole_clips(toy_recipe, toy_corpus, tmp_path):
    from emotalk_ros.training.recipe import load_recipe
    from emotalk_ros.training.splits import Split

    Split(frozenset({"toy:0", "toy:1"}), frozenset({"toy:2"})).write(tmp_path / "split.yaml")
    sizes = f"{{content_config: {WAVE}, emotion_config: {WAVE}, content_dim: 16, emotion_condition_dim: 8, "
    overrides = [
        f"model.options={sizes} level_dim: 4, person_dim: 4}}",
        "model.content_encoder=null",
        "model.emotion_encoder=null",
        f"data.corpora=['{toy_corpus}']",
        f"data.split='{tmp_path / 'split.yaml'}'",
        "optim.steps=2",
        "run.validation_windows=2",
    ]
    trainer = Trainer(load_recipe("paper", overrides), tmp_path / "run")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    result = trainer.run()
    assert result.steps == 2 and np.isfinite(losses(tmp_path / "run")).all()
    assert any(getattr(module, "gradient_checkpointing", False) for module in trainer.model.modules())
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p.detach(), before[name])}
    assert not any("feature_extractor" in name for name in moved)
    assert {"output.weight", "content_head.weight"} <= moved


@pytest.mark.parametrize("name", ["voca", "meshtalk", "faceformer"])
def test_baselines_train_by_their_recipes(toy_corpus, tmp_path, name):
    from emotalk_ros.training.recipe import load_recipe

    options = f"{{content_config: {WAVE}}}"
    if name == "meshtalk":
        options = "{width: 8, latent_heads: 2, latent_classes: 4, mel_bands: 16}"
    overrides = [f"model.options={options}", "model.content_encoder=null", f"data.corpora=['{toy_corpus}']"]
    overrides += ["data.split=null", "optim.steps=2", "optim.batch_size=2", "run.validation_windows=2"]
    result = train(load_recipe(name, overrides), tmp_path / "run")
    assert result.steps == 2 and np.isfinite(losses(tmp_path / "run")).all()
    assert "cross" not in read_log(tmp_path / "run")[-1]


def test_a_pre_trained_encoder_is_taken_over_or_refused(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from emotalk_ros.training.models import build_model
    from emotalk_ros.training.recipe import ModelRecipe

    sizes = {**WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    other = Wav2Vec2Model(Wav2Vec2Config(**sizes))
    other.save_pretrained(tmp_path / "w2v")
    options = {
        "content_config": WAVE,
        "emotion_config": WAVE,
        "content_dim": 16,
        "emotion_condition_dim": 8,
    }
    options |= {"level_dim": 4, "person_dim": 4}
    recipe = ModelRecipe(preset="large", options=options, content_encoder=str(tmp_path / "w2v"))
    model = build_model(recipe)
    name = "encoder.layers.0.attention.q_proj.weight"
    torch.testing.assert_close(model.content_encoder.state_dict()[name], other.state_dict()[name])
    assert not torch.equal(model.emotion_encoder.state_dict()[name], other.state_dict()[name])
    options["content_config"] = {**WAVE, "hidden_size": 64}
    with pytest.raises(RecipeError, match="does not fit"):
        build_model(ModelRecipe(preset="large", options=options, content_encoder=str(tmp_path / "w2v")))
    with pytest.raises(RecipeError, match="no readable wav2vec2"):
        build_model(ModelRecipe(preset="tiny", content_encoder=str(tmp_path / "none")))
    with pytest.raises(RecipeError, match="did you mean 'content_dim'"):
        build_model(ModelRecipe(options={"contentdim": 3}))
    with pytest.raises(RecipeError, match="starts with 'audio'"):
        build_model(ModelRecipe(freeze=("audio",)))


def test_training_goes_on_from_a_finished_model(toy_recipe, tmp_path):
    from emotalk_ros.training.models import build_model
    from emotalk_ros.training.recipe import ModelRecipe

    optim = {"steps": 1, "batch_size": 2}
    first = train(toy_recipe(optim=optim, run={"validation_windows": 1}), tmp_path / "first")
    model = build_model(ModelRecipe(initial=str(first.model)))
    assert model.training
    for name, value in EmoTalk.from_pretrained(first.model).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    with pytest.raises(RecipeError, match=r"model\.initial"):
        build_model(ModelRecipe(initial=str(tmp_path / "nowhere")))
