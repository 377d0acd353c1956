"""`emotalk convert` and `emotalk benchmark` as a user calls them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.model import load_model

DATA = Path(__file__).parents[1] / "data" / "emotalk_tiny"
META = json.loads((DATA / "meta.json").read_text())


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_published_checkpoint_in_and_out(tmp_path):
    done = run("convert", DATA / "tiny_state_dict.pt", tmp_path / "model", "--config", DATA / "meta.json")
    assert done.exit_code == 0, done.output
    case = META["cases"][1]
    audio, _ = soundfile.read(DATA / case["wav"], dtype="float32")
    made = load_model(tmp_path / "model").predict(audio, person=case["person"], level=case["level"])
    assert np.abs(made - np.load(DATA / case["expected"])).max() < 1e-5

    done = run("convert", tmp_path / "model", tmp_path / "back.pth", "--to-published")
    assert done.exit_code == 0, done.output
    state, back = (torch.load(path, weights_only=True) for path in (DATA / "tiny_state_dict.pt", tmp_path / "back.pth"))
    assert list(state) == list(back)
    assert all(torch.equal(state[key], back[key]) for key in state)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gone.pth", "out"), "no checkpoint file"),
        ((DATA / "tiny_state_dict.pt", "out"), "--config CONFIG.json"),
        ((DATA / "a.wav", "out"), "weights_only"),
        ((DATA / "tiny_state_dict.pt", "out", "--config", DATA / "README.md"), "error"),
        ((DATA, "out"), "no wav2vec2 model folder"),
        ((DATA, "out.pth", "--to-published"), "no model folder"),
        ((DATA, "out.zip", "--to-published"), ".safetensors"),
    ],
)
def test_mistakes_end_with_one_line_and_leave_nothing(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("convert", *arguments)
    assert done.exit_code == 1
    assert words in done.output.replace("\n", " ")
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept_or_told_about(tmp_path):
    words = ("convert", DATA / "tiny_state_dict.pt", tmp_path / "model", "--config", DATA / "meta.json")
    assert run(*words).exit_code == 0
    refused = run(*words)
    assert refused.exit_code == 1 and "is there already; name another folder or overwrite it" in refused.stderr
    done = run(*words, "--overwrite")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [f"note: {tmp_path / 'model'} is there already: it is replaced"]
    back = ("convert", tmp_path / "model", tmp_path / "back.pth", "--to-published", "--overwrite")
    assert "already" not in run(*back).stderr
    assert f"note: {tmp_path / 'back.pth'} is there already: it is replaced" in run(*back).stderr


def test_wav2vec2_folder(tmp_path):
    sizes = {**META["config"], "num_hidden_layers": 1}
    Wav2Vec2Model(Wav2Vec2Config(**sizes)).save_pretrained(tmp_path / "wav2vec2")
    done = run("convert", tmp_path / "wav2vec2", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert load_model(tmp_path / "model").config.content_config.num_hidden_layers == 1


def test_benchmark(tmp_path):
    report = tmp_path / "report.json"
    report.write_text("old")
    arguments = ("--seconds", "", "--window", "0.5", "--repeats", "2", "--report", report)
    done = run("benchmark", "tiny", *arguments)
    assert done.exit_code == 0, done.output
    assert f"note: {report} is there already: it is replaced" in done.stderr
    figures = json.loads(report.read_text())
    assert figures["clips"] == []
    assert figures["hop"]["window"] == 0.5
    assert figures["hop"]["parameters"] > 2e6
    assert run("benchmark", "tiny", "--seconds", "a,b").exit_code == 2
    done = run("benchmark", tmp_path / "nowhere", "--seconds", "")
    assert done.exit_code == 1
    assert "no model folder" in done.output.replace("\n", " ")
