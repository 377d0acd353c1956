"""Stopped at any moment a run loses at most the steps since its last checkpoint; nothing it wrote is half there."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from emotalk_ros.training.checkpoints import checkpoints
from emotalk_ros.training.runlog import read_log
from emotalk_ros.training.trainer import Trainer, train

LONG = {"steps": 8, "batch_size": 2, "warmup": 2}
OFTEN = {"checkpoint_every": 3, "validate_every": 8, "validation_windows": 2}


def losses(folder):
    return [row["loss"] for row in read_log(folder)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_with_a_checkpoint(toy_recipe, tmp_path, number):
    recipe = toy_recipe(optim=LONG, run=OFTEN)
    before = signal.getsignal(number)
    trainer = Trainer(recipe, tmp_path / "run")
    step = trainer._step

    def interrupted(parts):
        if trainer.progress.step == 3:
            os.kill(os.getpid(), number)
        return step(parts)

    trainer._step = interrupted
    result = trainer.run()
    assert result.interrupted and result.model is None and result.steps == 4
    assert checkpoints(tmp_path / "run/checkpoints")[-1].name.endswith("004")
    assert signal.getsignal(number) is before
    assert train(recipe, tmp_path / "run", resume=True).steps == 8
    train(recipe, tmp_path / "whole")
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=1e-6)


def test_killed_in_the_middle_it_goes_on_from_a_whole_checkpoint(toy_recipe, tmp_path):
    recipe = toy_recipe(optim={**LONG, "steps": 5000}, run={**OFTEN, "validate_every": 5000})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "emotalk_ros.cli", "train", str(tmp_path / "recipe.yaml")]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "run")],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not checkpoints(tmp_path / "run/checkpoints"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)  # anywhere: in a step, in a checkpoint, in the log
    finally:
        process.kill()
        process.wait()
    trainer = Trainer(recipe, tmp_path / "run", resume=True)
    done = trainer.progress.step
    assert done >= 3 and done % 3 == 0
    step = trainer._step
    trainer._step = lambda parts: step(parts) or trainer.progress.step == done + 4
    assert trainer.run().interrupted
    logged = [row["step"] for row in read_log(tmp_path / "run")]
    assert logged == list(range(1, done + 5))
    assert not [p for p in (tmp_path / "run/checkpoints").iterdir() if p.name.endswith(".old")]
