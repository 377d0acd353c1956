"""What the table of `emotalk benchmark` is made of."""

import json

import numpy as np
import pytest
from small_models import small_model
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.runtime.measure import Case, Cost, cases, figures, measure

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def test_every_way_at_every_hop_and_presets_by_torch_alone():
    made = cases(["shipped", "tiny"], ["torch", "plain", "onnx"], [1 / 30, 0.1], [1, 4], 60, 1)
    shipped = [case for case in made if case.network == "shipped"]
    assert [(case.way, round(case.hop, 3), case.voices) for case in shipped] == [
        ("torch", 0.033, 1), ("plain", 0.033, 1), ("onnx", 0.033, 1), ("torch", 0.1, 1), ("plain", 0.1, 1),
        ("onnx", 0.1, 1), ("torch", 0.1, 4), ("onnx", 0.1, 4),
    ]  # fmt: skip
    assert {case.way for case in made if case.network == "tiny"} == {"torch", "plain"}


def test_full_attention_at_hops_of_its_windows_and_with_a_slower_emotion():
    made = cases(["large"], ["torch", "plain", "onnx-int8"], [1 / 30, 0.2], [1, 4], 60, 2)
    rows = [(case.way, case.hop, case.emotion_every, case.voices, case.threads) for case in made]
    assert rows == [(way, 0.2, 0.0, 1, 2) for way in ("torch", "plain", "onnx-int8")] + [("onnx-int8", 0.2, 1.0, 1, 2)]
    assert made[0].hops >= 5  # one of them runs the emotion encoder


@pytest.mark.parametrize("way", ["plain", "torch", "onnx", "onnx-int8"])
def test_a_case_with_full_attention_is_measured(way, monkeypatch, tmp_path):
    pytest.importorskip("onnx", reason="the extra convert is not installed")
    from emotalk_ros.runtime import measure as module

    networks = [small_model("paper")]
    monkeypatch.setattr(module, "named_network", lambda name, dtype: networks[0])
    cost = measure(Case("large", way, 0.2, 0.6, 1.0, hops=5), tmp_path / "one.npy")
    assert 0 < cost.p50 <= cost.p99
    rows = np.load(tmp_path / "one.npy")
    assert rows.shape == (7 * 6, 52) and np.ptp(rows, axis=0).max() > 0.05


def test_a_case_is_measured(tmp_path):
    cost = measure(Case(way="onnx", hops=4, voices=2), tmp_path / "one.npy")
    assert 0 < cost.p50 <= cost.p95 <= cost.p99 and cost.resident_mb > 50
    assert cost.factor > 0
    assert np.load(tmp_path / "one.npy").shape == (3 * 29, 52)
    text = json.dumps(figures([cost, Cost(Case(way="torch"), problem="no torch")]))
    assert json.loads(text)["costs"][1]["problem"] == "no torch"


def test_the_table_has_a_row_for_each_case_and_a_file(tmp_path, monkeypatch):
    from emotalk_ros.runtime import measure as module

    def instead(wanted):
        for case in wanted:
            yield Cost(case, 20.0 if case.way == "plain" else 4.0, difference=(1e-6, 1e-7))

    monkeypatch.setattr(module, "measure_all", instead)
    monkeypatch.setattr(module, "have_gpu", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")
    options = ["--models", "shipped", "--backends", "plain,onnx", "--hops", "33,100", "--voices", "1"]
    done = CliRunner().invoke(app, ["benchmark", *options, "--report", str(tmp_path / "b.json")])
    assert done.exit_code == 0, done.output
    assert done.output.count("onnx") == 2 and "5.0" in done.output and "1.0e-06" in done.output
    assert len(json.loads((tmp_path / "b.json").read_text())["costs"]) == 4
    wrong = CliRunner().invoke(app, ["benchmark", "--backends", "tensorrt"])
    assert wrong.exit_code == 2
