"""A run's folder from anybody: nothing in it runs, what is damaged is said, a full disk leaves nothing behind."""

import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from rich.console import Console

from emotalk_ros.files import LEFTOVERS
from emotalk_ros.model import load_model
from emotalk_ros.training.checkpoints import (
    CheckpointDamagedError,
    checkpoints,
    read_checkpoint,
    restore_optimizer,
    write_sums,
)
from emotalk_ros.training.recipe import RecipeError
from emotalk_ros.training.trainer import Trainer, train

RUN = {"log_every": 1, "validate_every": 6, "checkpoint_every": 2, "validation_windows": 2, "keep": 3}


class Executes:
    """What a pickle of an attacker looks like."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture
def stopped(toy_recipe, tmp_path, once):
    """A run of six steps with checkpoints at 2 and 4, interrupted after the fourth; and its recipe."""
    recipe = toy_recipe(run=RUN)
    if not once.exists():
        trainer = Trainer(recipe, once)
        step = trainer._step
        trainer._step = lambda parts: step(parts) or trainer.progress.step == 4
        assert trainer.run().interrupted
    shutil.copytree(once, tmp_path / "run")
    assert [p.name for p in checkpoints(tmp_path / "run/checkpoints")] == ["step-000000002", "step-000000004"]
    return recipe, tmp_path / "run"


def resumed(recipe, folder):
    said = io.StringIO()
    result = train(recipe, folder, resume=True, console=Console(file=said, width=500))
    return result, said.getvalue()


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_nothing_in_a_run_folder_is_run(stopped, tmp_path):
    recipe, folder = stopped
    owned = tmp_path / "owned"
    evil = Executes(f"touch {owned}")
    for checkpoint in checkpoints(folder / "checkpoints"):
        for name in ("custom_checkpoint_0.pkl", "random_states_0.pkl", "scheduler.bin"):
            torch.save({"step": evil}, checkpoint / name)
        for name in ("optimizer.safetensors", "network.safetensors"):
            torch.save({"step": evil}, checkpoint / name)
        write_sums(checkpoint)  # whoever makes a pickle makes its checksum too
    with pytest.raises(RecipeError, match=r"no checkpoint .* is intact .*train anew"):
        resumed(recipe, folder)
    assert not owned.exists()


def test_a_checkpoint_of_the_old_pickled_form_is_refused_with_the_reason(stopped):
    recipe, folder = stopped
    for checkpoint in checkpoints(folder / "checkpoints"):
        (checkpoint / "SHA256SUMS").unlink()
        torch.save({}, checkpoint / "custom_checkpoint_0.pkl")
    with pytest.raises(RecipeError, match=r"earlier version, whose custom_checkpoint_0\.pkl could run code"):
        resumed(recipe, folder)


DAMAGES = {
    "a flipped bit of the weights": lambda c: flip(c / "network.safetensors", -20),
    "a flipped bit of the optimiser": lambda c: flip(c / "optimizer.safetensors", -20),
    "a flipped digit": lambda c: flip(c / "values.json", 40),
    "cut short": lambda c: os.truncate(c / "mean.safetensors", 1000),
    "a file lost": lambda c: (c / "optimizer.safetensors").unlink(),
    "empty": lambda c: [path.unlink() for path in c.iterdir()],
    "the sums are noise": lambda c: (c / "SHA256SUMS").write_bytes(os.urandom(200)),
    "a sum is missing": lambda c: (c / "SHA256SUMS").write_text((c / "SHA256SUMS").read_text().split("\n", 1)[1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_taken(stopped, damage):
    recipe, folder = stopped
    DAMAGES[damage](folder / "checkpoints/step-000000004")
    said = io.StringIO()
    trainer = Trainer(recipe, folder, resume=True, console=Console(file=said, width=500))
    assert trainer.progress.step == 2
    assert "step-000000004 is damaged (" in said.getvalue()
    assert "going on from step-000000002" in said.getvalue()
    assert (folder / "checkpoints/damaged-step-000000004").is_dir()
    assert [p.name[-1] for p in checkpoints(folder / "checkpoints")] == ["2"]


def test_gone_on_from_the_one_before_the_result_is_that_of_an_unbroken_run(stopped, tmp_path):
    recipe, folder = stopped
    flip(folder / "checkpoints/step-000000004/network.safetensors", -20)
    result, _ = resumed(recipe, folder)
    assert result.steps == 6 and not result.interrupted
    assert [p.name[-1] for p in checkpoints(folder / "checkpoints")] == ["2", "4", "6"]
    found, whole = (load_model(m).state_dict() for m in (result.model, train(recipe, tmp_path / "whole").model))
    for key, value in whole.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


def test_every_single_byte_counts(stopped):
    _, folder = stopped
    checkpoint = folder / "checkpoints/step-000000004"
    read_checkpoint(checkpoint)
    for path in sorted(checkpoint.iterdir()):
        if path.name == "SHA256SUMS":
            continue
        for place in (0, 7, path.stat().st_size // 2, path.stat().st_size - 1):
            flip(path, place)
            with pytest.raises(CheckpointDamagedError, match=path.name):
                read_checkpoint(checkpoint)
            flip(path, place)
    read_checkpoint(checkpoint)


def test_the_sums_are_those_of_sha256sum(stopped):
    checkpoint = stopped[1] / "checkpoints/step-000000004"
    lines = dict(line.split("  ")[::-1] for line in (checkpoint / "SHA256SUMS").read_text().splitlines())
    assert set(lines) == {"network.safetensors", "optimizer.safetensors", "mean.safetensors", "values.json"}
    for name, digest in lines.items():
        assert hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    "values",
    [
        "[]",
        "{}",
        '{"format": 99, "progress": {}, "scaler": null}',
        '{"format": 1, "progress": {"step": "many"}, "scaler": null}',
        '{"format": 1, "progress": {"step": 4, "sums": "none"}, "scaler": null}',
        "[" * 100_000,
    ],
    ids=["a list", "empty", "another format", "a word for a number", "a word for a list", "deep"],
)
def test_odd_values_with_the_right_sum_are_damage_too(stopped, values):
    checkpoint = stopped[1] / "checkpoints/step-000000004"
    (checkpoint / "values.json").write_text(values)
    write_sums(checkpoint)
    with pytest.raises(CheckpointDamagedError, match=r"values\.json"):
        read_checkpoint(checkpoint)


def test_an_optimiser_state_of_other_parameters_is_refused():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(4))])
    whole = {
        f"{k}.{name}": torch.zeros(shape if name != "step" else ())
        for k, shape in ((0, (3, 2)), (1, (4,)))
        for name in ("step", "exp_avg")
    }
    restore_optimizer(optimizer, whole)
    for wrong in ({"0.exp_avg": torch.zeros(2, 2)}, {"7.exp_avg": torch.zeros(4)}, {"0.exp_avg": torch.zeros(3, 2)}):
        with pytest.raises(ValueError, match="optimiser has"):
            restore_optimizer(optimizer, wrong)
    with pytest.raises(ValueError, match="no parameter x"):
        restore_optimizer(optimizer, {"x": torch.zeros(1)})


def test_a_damaged_best_model_is_said_and_the_last_weights_are_kept(toy_recipe, tmp_path):
    trainer = Trainer(toy_recipe(run={**RUN, "validate_every": 3}), tmp_path / "run")
    said = io.StringIO()
    trainer.console = Console(file=said, width=500)
    best = trainer._best

    def damaged(log):
        flip(tmp_path / "run/best/model.safetensors", -20)
        return best(log)

    trainer._best = damaged
    assert trainer.run().model is not None
    assert "best is damaged (model.safetensors: its checksum does not fit" in said.getvalue()


@pytest.mark.parametrize("limit", [150_000, 300])
def test_a_full_disk_leaves_nothing_and_is_said_in_one_line(toy_recipe, tmp_path, limit):
    """The limit of a file's size stands in for the disk's: a checkpoint's optimiser does not fit, or nothing does."""
    (tmp_path / "recipe.yaml").write_text(toy_recipe(run={**RUN, "checkpoint_every": 1}).to_yaml())
    command = [sys.executable, "-m", "emotalk_ros.cli", "train", str(tmp_path / "recipe.yaml"), "-o", "run"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: no space is left to write run/") and "--resume" in last
    assert not [path for pattern in (LEFTOVERS, "*.tmp") for path in tmp_path.rglob(pattern)]
    assert not checkpoints(tmp_path / "run/checkpoints")


def test_what_a_killed_process_left_is_cleared_at_resume(stopped):
    recipe, folder = stopped
    for torn in (folder / "checkpoints/.part-1234-step-000000006", folder / ".part-5678-best"):
        shutil.copytree(folder / "checkpoints/step-000000004", torn)
    resumed(recipe, folder)
    assert not list(folder.rglob(LEFTOVERS))


def test_the_values_are_plain_json(stopped):
    values = json.loads((stopped[1] / "checkpoints/step-000000004/values.json").read_text())
    assert values["progress"]["step"] == 4 and values["format"] == 1
