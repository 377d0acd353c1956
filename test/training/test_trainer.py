"""The loop: it learns, it resumes on the same curve, nothing it writes is ever half there."""

import numpy as np
import torch

from emotalk_ros.model import EmoTalk
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
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"recipe.yaml", "splits.yaml", "log.jsonl", "tensorboard", "checkpoints", "best", "model"} == names
    assert len(losses(tmp_path / "run")) == 6
    assert {"loss", "lip_gap_r", "cross", "emotion_recall"} <= set(result.validation)


def test_it_learns(toy_recipe, tmp_path):
    optim = {"steps": 60, "batch_size": 8, "warmup": 5, "lr": 0.01, "ema": 0.9}
    run = {"log_every": 1, "validate_every": 60, "checkpoint_every": 1000}
    result = train(toy_recipe(optim=optim, run=run, augment={"noise_probability": 0}), tmp_path / "run")
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
    assert result.validation["lip_gap_r"] > 0.5


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
