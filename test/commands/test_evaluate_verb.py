"""`emotalk evaluate` (with --table too) and `emotalk replay` from the command line: files, exit codes, messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from small_models import SMALLEST, SMALLEST_ENCODER
from typer.testing import CliRunner

from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags import messages as types
from emotalk_ros.cli import app
from emotalk_ros.corpus.store import Clip, CorpusWriter
from emotalk_ros.evaluation.references import energy_jaw
from emotalk_ros.model import EmoTalk, EmoTalkConfig


def tone(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    buzz = sum(np.sin(2 * np.pi * (110 + 10 * seed) * k * time) / k for k in range(1, 8))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    EmoTalk(EmoTalkConfig.preset("tiny", **SMALLEST)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    with CorpusWriter(folder) as writer:
        for actor in range(4):
            for sentence in range(2):
                for emotion in ("neutral", "happy"):
                    audio = tone(0.6, seed=sentence)
                    clip = f"a{actor}_s{sentence}_{emotion}"
                    motion = energy_jaw(audio)
                    writer.add(
                        Clip(clip, audio, motion, actor=actor, emotion=emotion, sentence=str(sentence), source="toy")
                    )
    return folder


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    store, start, audio = types.package_types(), 1_700_000_000_000_000_000, tone(1.0)
    with Writer(tmp_path / "talk", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/audio", AUDIO_CHUNK, typestore=store)
        for first in range(0, 16000, 320):
            stamp = start + first * 62_500
            data = np.frombuffer((audio[first : first + 320] * 32767).astype("<i2").tobytes(), np.uint8)
            header = types.make_header(store, stamp)
            message = store.types[AUDIO_CHUNK](header, 16000, 1, "s16le", data)
            writer.write(connection, stamp + 20_000_000, store.serialize_cdr(message, AUDIO_CHUNK))
    return tmp_path / "talk"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_replay_writes_report_and_merged_bag(run: Callable[..., Any], bag: Path, model: Path, tmp_path: Path) -> None:
    result = run("replay", bag, "--model", model, "--no-film")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "talk_replay"
    assert sorted(p.name for p in folder.iterdir()) == ["merged", "report.html", "report.json"]
    assert json.loads((folder / "report.json").read_text())["replayed"]["frames"] == 30
    assert "replayed" in result.output and "wrote" in result.output
    again = run("replay", bag, "--model", model, "--no-film")  # takes the old one's place
    assert again.exit_code == 0, again.output


def test_replay_of_damage_ends_with_2(run: Callable[..., Any], bag: Path, model: Path, tmp_path: Path) -> None:
    (bag / "metadata.yaml").unlink()
    result = run("replay", bag, "--model", model, "--no-html", "--no-merged", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "metadata.yaml is missing" in result.output
    assert (tmp_path / "out" / "report.json").exists()
    empty = tmp_path / "empty.mcap"
    empty.write_bytes(b"")
    result = run("replay", empty, "--model", model)
    assert result.exit_code == 2 and "is empty (0 bytes)" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--audio-format", "s16le"], "expected ENCODING:CHANNELS:RATE"),
        (["--emotion", "bored"], "unknown emotion 'bored'"),
        (["--hop", "0.05"], "hop 0.05 s: must be a multiple"),
        (["--model", "nowhere"], "no model folder"),
        (["--person", "99"], "person 99"),
        (["--storage", "tape"], "'tape' is not mcap or sqlite3"),
    ],
)
def test_replay_with_wrong_options_says_why(
    run: Callable[..., Any], bag: Path, model: Path, words: list[str], message: str
) -> None:
    model_words = [] if "--model" in words else ["--model", model]
    result = run("replay", bag, *model_words, *words)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not list(bag.parent.glob("*_replay"))


def test_evaluate_writes_a_report_and_resumes(
    run: Callable[..., Any], model: Path, corpus: Path, tmp_path: Path
) -> None:
    words = ("evaluate", model, corpus, "-o", tmp_path / "out", "--limit", 4, "-j", 1, "--no-film")
    result = run(*words)
    assert result.exit_code == 0, result.output
    first = (tmp_path / "out" / "report.json").read_bytes()
    assert "motionless" in result.output and "energy jaw" in result.output
    assert (tmp_path / "out" / "report.html").exists()
    again = run(*words)
    assert again.exit_code == 0 and f"{tmp_path / 'out' / 'report.json'} is there already: it is repl" in again.stderr
    assert "already" not in result.stderr and (tmp_path / "out" / "report.json").read_bytes() == first


def test_evaluate_names_a_clip_with_nan_labels_and_ends_with_2(
    run: Callable[..., Any], model: Path, corpus: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(corpus, tmp_path / "corpus")
    path = sorted((folder / "coefficients").iterdir())[5]
    labels = np.load(path)
    labels[4, 24] = np.nan
    np.save(path, labels)
    result = run("evaluate", model, folder, "-o", tmp_path / "out", "-j", 1, "--no-film", "--no-html")
    assert result.exit_code == 2, result.output
    said = f"{path}: 1 values are NaN or infinite, the first in frame 4 (jawOpen)"
    assert "left out:" in result.stderr and said in result.stderr
    text = (tmp_path / "out" / "report.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in report.json"))
    assert found["dataset"]["clips"] == 15


def test_crossed_clips_are_measured_and_an_older_report_is_told_about(
    run: Callable[..., Any], model: Path, corpus: Path, tmp_path: Path
) -> None:
    words = ("evaluate", model, corpus, "-o", tmp_path / "out", "--cross-drive", 3)
    result, again = run(*words), run(*words)
    assert result.exit_code == again.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "disentangling.json").read_text())
    assert set(found) == {"small"} and found["small"]["lve_cross_mm"]["value"] > 0
    note = f"note: {tmp_path / 'out' / 'disentangling.json'} is there already: it is replaced"
    assert note not in result.stderr and note in again.stderr


def test_evaluate_says_what_is_wrong(run: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    result = run("evaluate", model, tmp_path / "nowhere")
    assert result.exit_code == 1 and "is not a folder" in " ".join(result.output.split())
    result = run("evaluate", model, tmp_path, "--style", "wild")
    assert result.exit_code == 1 and "expected clip or fixed" in result.output


def test_evaluate_keeps_to_the_actors_of_a_split(
    run: Callable[..., Any], model: Path, corpus: Path, tmp_path: Path
) -> None:
    split = tmp_path / "splits.yaml"
    split.write_text("train: ['toy:0', 'toy:1', 'toy:2']\nvalidation: ['toy:3']\n")
    words = ("evaluate", model, corpus, "-o", tmp_path / "held", "-j", "1", "--mode", "offline", "--no-html")
    result = run(*words, "--split", split)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "held" / "report.json").read_text())
    assert report["dataset"]["clips"] == 4 and len(report["distribution"]) == 1
    assert "jawOpen" in result.output and "captured" in result.output
    split.write_text("train: ['toy:0']\nvalidation: ['other:3']\n")
    result = run(*words, "--split", split)
    assert result.exit_code == 1 and "holds out no actor" in " ".join(result.output.split())


def test_the_table_is_trained_measured_and_not_trained_twice(
    run: Callable[..., Any], corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="training needs the train extra")
    front = {"frontend": "mel", "attention": "full", "normalization": "none", "resampling": "grid"}
    table = {
        "description": "two rows",
        "split": {"validation_share": 0.25, "test_share": 0.25},
        "common": {
            "data": {"window": 0.5},
            "optim": {"steps": 2, "batch_size": 2, "warmup": 0},
            "run": {"validate_every": 2, "checkpoint_every": 2, "validation_windows": 2},
        },
        "rows": [
            {
                "name": "VOCA",
                "paper": {"RAVDESS": [5.091, 4.188]},
                "recipe": {
                    "model": {"architecture": "voca", "options": {**front, "content_config": SMALLEST_ENCODER}},
                    "pairs": {"probability": 0.0},
                    "run": {"prototypes": False},
                },
            },
            {
                "name": "EmoTalk",
                "paper": {"RAVDESS": [2.762, 2.493]},
                "recipe": {"model": {"options": SMALLEST}},
            },
        ],
    }
    file = tmp_path / "table.yaml"
    file.write_text(yaml.safe_dump(table))
    words = ("evaluate", "--table", file, corpus, "-o", tmp_path / "out", "-j", 1)
    result = run(*words)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["VOCA", "EmoTalk"]
    assert found["rows"][0]["paper"]["RAVDESS"] == {"eve_mm": 4.188, "lve_mm": 5.091}
    assert all(row["figures"]["lve_mm"]["value"] > 0 for row in found["rows"])
    assert {row["name"] for row in found["references"]} >= {"motionless mean face", "energy jaw"}
    assert "5.091" in (tmp_path / "out" / "table.html").read_text()
    weights = tmp_path / "out" / "voca" / "run" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = run(*words)
    assert again.exit_code == 0
    note = f"note: {tmp_path / 'out' / 'table.json'} is there already: it is replaced"
    assert note not in result.stderr and note in again.stderr
    assert weights.stat().st_mtime_ns == before
    table["common"]["optim"]["steps"] = 3
    file.write_text(yaml.safe_dump(table))
    result = run(*words)
    assert result.exit_code == 1 and "holds a run of another recipe" in " ".join(result.output.split())


def test_the_shipped_table_is_valid() -> None:
    from emotalk_ros.evaluation.paper_table import read_table, row_recipe
    from emotalk_ros.training.recipe import build

    path = Path(__file__).resolve().parents[2] / "config" / "tables" / "paper.yaml"
    table = read_table(path)
    published = {row.name: row.paper["RAVDESS"] for row in table.rows}
    assert published["EmoTalk"] == (2.762, 2.493) and published["without disentangling"] == (3.126, 3.076)
    for row in table.rows:
        build(row_recipe(table, row, Path("corpus"), Path("splits.yaml")))
