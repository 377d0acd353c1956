"""Two processes give the loss of one with the same global batch; so do two accumulation parts."""

import os
import socket
import subprocess
import sys

import numpy as np

from emotalk_ros.training.runlog import read_log
from emotalk_ros.training.trainer import train

NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}


def still_recipe(toy_recipe, **optim):
    """Without dropout, whose random numbers no two splittings of a batch share."""
    options = dict(toy_recipe().model.options)
    options |= {name: {**options[name], **NO_DROPOUT} for name in ("content_config", "emotion_config")}
    options["decoder_dropout"] = 0.0
    optim = {"steps": 3, "batch_size": 4, **optim}
    run = {"log_every": 1, "validate_every": 3, "checkpoint_every": 100}
    return toy_recipe(model={"options": options}, optim=optim, run=run)


def curve(folder):
    return [[row[name] for name in ("loss", "self", "cross", "classification")] for row in read_log(folder)]


def test_two_processes_give_the_loss_of_one(toy_recipe, tmp_path):
    recipe = still_recipe(toy_recipe)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    launch += ["-m", "emotalk_ros.cli", "train", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 x cpu" in done.stderr
    train(recipe, tmp_path / "one")
    np.testing.assert_allclose(curve(tmp_path / "two"), curve(tmp_path / "one"), rtol=2e-4)
    one, two = (read_log(tmp_path / name, "validation")[-1] for name in ("one", "two"))
    for name, value in one.items():
        if name != "kind":
            assert abs(two[name] - value) <= 2e-3 * abs(value) + 1e-6, name


def test_accumulation_parts_give_the_loss_of_the_whole_batch(toy_recipe, tmp_path):
    train(still_recipe(toy_recipe), tmp_path / "whole")
    train(still_recipe(toy_recipe, accumulate=2), tmp_path / "parts")
    np.testing.assert_allclose(curve(tmp_path / "parts"), curve(tmp_path / "whole"), rtol=2e-4)
