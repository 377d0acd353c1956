"""`emotalk prepare` and `emotalk train` as a user meets them."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.corpus.store import Corpus

runner = CliRunner()


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    for actor in ("ann", "bob", "cid"):
        for name in ("one", "two"):
            stem = tmp_path / "in" / actor / f"{actor}_{name}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(stem.with_suffix(".wav"), rng.uniform(-0.2, 0.2, 16000), 16000)
            np.save(stem.with_suffix(".npy"), rng.uniform(0, 1, (30, 52)))
    soundfile.write(tmp_path / "in/ann/alone.wav", rng.uniform(-0.2, 0.2, 16000), 16000)
    return tmp_path / "in"


def test_prepare_pairs_names_what_it_left_out_and_where_it_wrote(recordings, tmp_path):
    out = tmp_path / "corpus"
    command = ["prepare", "pairs", str(recordings), str(out), "--licence", "CC0-1.0", "--name", "mine"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0 and result.stdout.strip() == str(out)
    assert "left out alone: has audio but no coefficients" in result.stderr and "6 of 6" in result.stderr
    corpus = Corpus.open(out)
    assert len(corpus) == 6 and corpus.sources["mine"].licence == "CC0-1.0"
    again = runner.invoke(app, command)
    assert again.exit_code == 1 and "already holds a corpus" in again.stderr
    assert runner.invoke(app, [*command, "--append"]).exit_code == 0 and len(Corpus.open(out)) == 6


def test_prepare_fails_only_when_nothing_is_usable(tmp_path):
    source = tmp_path / "in"
    (source / "audio").mkdir(parents=True)
    (source / "audio/x.wav").write_bytes(b"RIFF")
    (source / "phones.json").write_text(json.dumps({"x": [["AA", 0, 1]]}))
    result = runner.invoke(app, ["prepare", "aligned", str(source), str(tmp_path / "out")])
    assert result.exit_code == 1 and "x.wav: unreadable" in result.stderr and "nothing usable" in result.stderr
    assert not (tmp_path / "out").exists()
    result = runner.invoke(app, ["prepare", "etf", str(tmp_path / "nowhere"), str(tmp_path / "out")])
    assert result.exit_code == 1 and "nowhere" in result.stderr


def test_train_shows_a_recipe_and_names_wrong_keys(tmp_path):
    shown = runner.invoke(app, ["train", "tiny", "--corpus", "a b", "--set", "optim.steps=7", "--show"])
    assert shown.exit_code == 0 and "steps: 7" in shown.stdout and "path: a b" in shown.stdout
    wrong = runner.invoke(app, ["train", "tiny", "--set", "optim.stepz=7"])
    assert wrong.exit_code == 1 and "did you mean 'steps'" in wrong.stderr
    nothing = runner.invoke(app, ["train", "tiny", "--output", str(tmp_path / "run")])
    assert nothing.exit_code == 1 and "data.corpora is empty" in nothing.stderr
    missing = runner.invoke(app, ["train", "tiny", "--corpus", str(tmp_path / "no"), "--output", str(tmp_path / "run")])
    assert missing.exit_code == 1 and "no corpus at" in missing.stderr
    braces = runner.invoke(
        app, ["train", "tiny", "--corpus", str(tmp_path / "a[b]"), "--output", str(tmp_path / "run")]
    )
    assert "a[b]" in braces.stderr  # not taken for the terminal's markup


def test_prepare_then_train_then_a_model(recordings, tmp_path):
    runner.invoke(app, ["prepare", "pairs", str(recordings), str(tmp_path / "corpus")])
    settings = ["optim.steps=2", "optim.batch_size=2", "data.window=1.0", "run.validation_windows=2", "run.log_every=1"]
    command = ["train", "tiny", "--corpus", str(tmp_path / "corpus"), "--output", str(tmp_path / "run")]
    result = runner.invoke(app, command + [part for text in settings for part in ("--set", text)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "run/model")
    assert "step 2/2" in result.stderr and (tmp_path / "run/model/model.safetensors").is_file()
