"""Evaluation of models: rows, intervals, cache and resume, processes, bad clips, emotions, the page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from saved_model import save_model, toy_corpus

from emotalk_ros.evaluation import evaluate as module
from emotalk_ros.evaluation.datasets import Sample, open_dataset
from emotalk_ros.evaluation.evaluate import Settings, evaluate, find, recognised, summarise
from emotalk_ros.evaluation.measure import ENERGY, MEASURED, STILL, Prediction, closures, resampled, score
from emotalk_ros.evaluation.plain_json import to_json
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import INDEX, FaceBasis, default_face
from emotalk_ros.files import LEFTOVERS
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.reports.evaluation import evaluation_page
from emotalk_ros.reports.example import example_section


@pytest.fixture(scope="module")
def basis() -> FaceBasis:
    return default_face()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_corpus(tmp_path_factory.mktemp("corpus") / "toy")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    folder = tmp_path_factory.mktemp("models")
    still = MotionSettings(blinks=BlinkSettings(on=False))
    return [Subject(save_model(folder / name, seed), motion=still) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


SETTINGS = Settings(resamples=50)


@pytest.fixture(scope="module")
def result(subjects: list[Subject], corpus: Path, basis: FaceBasis, cache: Path) -> module.Evaluation:
    return evaluate(subjects, corpus, basis, cache, SETTINGS)


def test_rows_for_models_modes_groups_and_references(result: module.Evaluation) -> None:
    rows = {(r["row"], r["mode"], r["group"]) for r in result.findings["rows"]}
    for group in ("all", "emotion=neutral", "emotion=calm", "actor=0", "actor=1", "actor=2"):
        for name in ("one", "two"):
            assert {(name, "offline", group), (name, "streamed", group)} <= rows
        assert {(STILL, "", group), (ENERGY, "", group), (MEASURED, "", group)} <= rows
    figures = find(result.findings, "one", "streamed")
    assert {"lve_mm", "eve_mm", "lip_gap_correlation", "closure_rate", "closure_rate_in_speech"} <= set(figures)
    value, low, high = figures["lve_mm"]
    assert low <= value <= high
    for name in ("one", "two"):
        (made,) = (d for d in result.findings["distribution"] if (d["model"], d["mode"]) == (name, "offline"))
        middle, wide, widest = made["percentiles"]["jawOpen"]
        assert 0.0 <= middle <= wide <= widest <= 1.0
        assert len(made["near_captured"]["mouthFunnel"]) == 3
    # The references are energy jaws: that row is right but for float16 on disk.
    assert find(result.findings, ENERGY, "")["lip_gap_correlation"][0] > 0.99
    assert math.isnan(find(result.findings, STILL, "")["lip_gap_correlation"][0])


def test_a_second_run_comes_from_the_cache_and_is_byte_equal(
    result: module.Evaluation, subjects: list[Subject], corpus: Path, basis: FaceBasis, cache: Path
) -> None:
    seen: list[tuple[int, int, int]] = []
    again = evaluate(subjects, corpus, basis, cache, SETTINGS, lambda *state: seen.append(state))
    assert seen == [(6, 6, 6)]
    assert to_json(again.findings) == to_json(result.findings)


def test_an_interrupted_run_goes_on_where_it_stopped(
    result: module.Evaluation, subjects: list[Subject], corpus: Path, basis: FaceBasis, tmp_path: Path
) -> None:
    def stop(done: int, total: int, cached: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(subjects, corpus, basis, tmp_path, SETTINGS, stop)
    assert not list(tmp_path.rglob(LEFTOVERS))
    next(tmp_path.rglob("a0_e0_*.json")).write_text('{"torn')  # as a crash would never leave it, but a disk might
    seen: list[tuple[int, int, int]] = []
    whole = evaluate(subjects, corpus, basis, tmp_path, SETTINGS, lambda *state: seen.append(state))
    assert seen[0] == (1, 6, 1)
    assert to_json(whole.findings) == to_json(result.findings)


def test_other_settings_are_other_results(
    result: module.Evaluation, subjects: list[Subject], corpus: Path, basis: FaceBasis, cache: Path
) -> None:
    seen: list[tuple[int, int, int]] = []
    changed = [replace(subjects[0], person=5)]
    evaluate(changed, corpus, basis, cache, replace(SETTINGS, limit=1, style="fixed"), lambda *s: seen.append(s))
    assert seen[0] == (0, 1, 0)


def test_results_of_another_version_of_the_program_are_measured_again(
    subjects: list[Subject], corpus: Path, basis: FaceBasis, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, int]] = []
    for version in ("one", "one", "two"):
        monkeypatch.setattr(module, "_program", lambda version=version: version)
        evaluate(subjects[:1], corpus, basis, cache, replace(SETTINGS, limit=1), lambda *s: seen.append(s))
    assert [s[2] for s in seen if s[0] == s[1]] == [0, 1, 0]


def test_several_processes_give_the_same(
    result: module.Evaluation,
    subjects: list[Subject],
    corpus: Path,
    basis: FaceBasis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPAWN_WORTH", 3)
    parallel = evaluate(subjects, corpus, basis, tmp_path, replace(SETTINGS, jobs=2))
    assert to_json(parallel.findings) == to_json(result.findings)


def test_bad_clips_are_named_and_the_rest_counts(subjects: list[Subject], basis: FaceBasis, tmp_path: Path) -> None:
    folder = toy_corpus(tmp_path / "corpus", actors=2, emotions=1, seconds=0.4)
    record = json.loads((folder / "manifest.jsonl").read_text().splitlines()[0])
    (folder / record["audio"]).write_bytes(b"not audio")
    outcome = evaluate(subjects[:1], folder, basis, tmp_path / "cache", SETTINGS)
    assert len(outcome.failed) == 1 and record["id"] in outcome.failed[0]
    assert outcome.findings["dataset"]["clips"] == 1


def test_sound_that_was_replaced_under_its_old_name_is_measured_again(
    subjects: list[Subject], basis: FaceBasis, tmp_path: Path
) -> None:
    folder = toy_corpus(tmp_path / "corpus", actors=2, emotions=1, seconds=0.4)
    before = evaluate(subjects[:1], folder, basis, tmp_path / "cache", SETTINGS)
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        sound = folder / json.loads(line)["audio"]
        pcm, rate = soundfile.read(sound, dtype="int16")
        soundfile.write(sound, np.random.default_rng(0).integers(-9000, 9000, len(pcm)).astype(np.int16), rate)
    seen: list[tuple[int, int, int]] = []
    after = evaluate(subjects[:1], folder, basis, tmp_path / "cache", SETTINGS, lambda *state: seen.append(state))
    assert seen[0] == (0, 2, 0) and to_json(after.findings) != to_json(before.findings)


def test_clips_with_nan_labels_are_named_and_counted(subjects: list[Subject], basis: FaceBasis, tmp_path: Path) -> None:
    folder = toy_corpus(tmp_path / "corpus", actors=4, emotions=1, seconds=0.4)
    records = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    labels = np.load(folder / records[2]["coefficients"]).astype(np.float32)
    labels[3, 7] = np.nan
    np.save(folder / records[2]["coefficients"], labels)
    outcome = evaluate(subjects[:1], folder, basis, tmp_path / "cache", SETTINGS)
    assert outcome.findings["dataset"]["clips"] == 3
    assert len(outcome.failed) == 1 and records[2]["id"] in outcome.failed[0] and "NaN" in outcome.failed[0]


def test_two_models_of_one_name(subjects: list[Subject], corpus: Path, basis: FaceBasis, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two models are called one"):
        evaluate([subjects[0], subjects[0]], corpus, basis, tmp_path)
    assert replace(subjects[0], label="other").name == "other"
    assert Subject(Path("runs/tiny/model")).name == "tiny"


def test_page_shows_everything_and_fetches_nothing(
    result: module.Evaluation, subjects: list[Subject], corpus: Path, basis: FaceBasis
) -> None:
    example = example_section(subjects, result, open_dataset(corpus), basis, film=False)
    page = evaluation_page("toy", result, example)
    for text in ("Results", "How sure", "Curves of that clip", "By emotion", "By actor", STILL, ENERGY):
        assert text in page
    assert "http" not in page and "<script" not in page


# --- parts ----------------------------------------------------------------------------------------------------------


def emotional(actual: str, probabilities: list[float], actor: str) -> dict[str, Any]:
    return {
        "id": f"{actor}{actual}{probabilities}",
        "actor": actor,
        "emotion": actual,
        "labels": {"m": ["neutral", "happy", "sad"]},
        "modes": {"m": {"offline": {"probabilities": probabilities}}},
    }


def test_emotions_recognised_by_hand() -> None:
    records = [
        emotional("happy", [0.1, 0.8, 0.1], "1"),
        emotional("happy", [0.2, 0.2, 0.6], "2"),
        emotional("sad", [0.5, 0.1, 0.4], "1"),
        emotional("sad", [0.1, 0.2, 0.7], "2"),
    ]
    entry = recognised(records, "m", "offline", Settings(resamples=20))
    assert entry is not None
    assert entry["uar"] == pytest.approx(0.5)  # happy 1 of 2, sad 1 of 2
    assert entry["uar_of_present"] == pytest.approx(0.75)  # without neutral, the third clip is sad
    assert entry["arousal"].value == pytest.approx(0.75)  # only the second clip sounds calm and is not
    assert entry["arousal_balanced"] == pytest.approx(0.75)
    assert sum(map(sum, entry["confusion"])) == 4
    assert recognised(records[:2], "m", "offline", Settings()) is None  # one label only


def test_figures_are_means_and_closures_are_summed_first() -> None:
    figures = [
        {"lve_mm": 1.0, "closures": 1.0, "bilabials": 1.0},
        {"lve_mm": 3.0, "closures": 0.0, "bilabials": 3.0},
        {"lve_mm": None, "closures": 0.0, "bilabials": 0.0},
    ]
    summary = summarise(figures, ["a", "b", "c"], Settings(resamples=20))
    assert summary["lve_mm"].value == pytest.approx(2.0)
    assert summary["closure_rate"].value == pytest.approx(0.25)
    assert "closures" not in summary


def test_closures_in_speech_are_judged_by_speech_alone() -> None:
    # A second of silence with closed lips, then speech whose b closes less far than the silence.
    gap = np.concatenate([np.zeros(30), np.tile([8.0, 9.0, 10.0], 10)])
    gap[45:47] = 2.0
    phones = [("SIL", 0.0, 1.0), ("AA", 1.0, 1.48), ("B", 1.48, 1.56), ("AA", 1.56, 2.0)]
    sample = Sample("x", np.zeros(32000, np.float32), phones=phones)
    figures = closures(gap, sample)
    assert (figures["closures"], figures["closures_in_speech"], figures["bilabials"]) == (0.0, 1.0, 1.0)
    assert figures["closures_tight"] == 1.0  # 2.0 is at most a fifth of 10
    gap[45:47] = 2.1
    assert closures(gap, sample)["closures_tight"] == 0.0
    still = closures(np.full(60, 3.0), sample)
    assert (still["closures"], still["closures_in_speech"], still["closures_tight"]) == (0.0, 0.0, 0.0)


def test_full_closures_are_in_mm_and_false_ones_where_the_reference_is_open(basis: FaceBasis) -> None:
    reference = np.zeros((60, 52), np.float32)
    reference[:, INDEX["jawOpen"]] = 0.3  # 9 mm open
    reference[28:32, INDEX["mouthClose"]] = 0.3
    phones = [("AA", 0.0, 0.9), ("B", 0.95, 1.03), ("AA", 1.05, 2.0)]
    sample = Sample("x", np.zeros(32000, np.float32), reference=reference, phones=phones)
    right = score(Prediction(reference, 30.0), sample, basis)
    assert (right["closures_full"], right["bilabials"], right["closures_false"], right["opened"]) == (1, 1, 0, 56)
    assert right["lip_gap_spread"] == pytest.approx(1.0)
    nearly = reference.copy()
    nearly[28:32, INDEX["mouthClose"]] = 0.27  # a hair is left
    nearly[10:15, INDEX["jawOpen"]] = 0.0
    figures = score(Prediction(nearly, 30.0), sample, basis)
    assert (figures["closures_full"], figures["closures_false"]) == (0, 5)
    summary = summarise([figures], ["a"], Settings(resamples=20))
    assert summary["closure_rate_full"].value == 0 and summary["false_closure_rate"].value == pytest.approx(5 / 56)


def test_motion_at_another_rate_is_scored_at_the_references(basis: FaceBasis) -> None:
    wave = 0.3 + 0.3 * np.sin(np.arange(121) / 60 * 2 * np.pi * 1.5)
    fast = np.zeros((121, 52), np.float32)
    fast[:, INDEX["jawOpen"]] = wave
    reference = resampled(fast, 60.0, 25.0, 50)
    assert reference.shape == (50, 52)
    sample = Sample("x", np.zeros(32000, np.float32), fps=25.0, reference=reference)
    figures = score(Prediction(fast, 60.0), sample, basis)
    assert figures["lve_mm"] < 1e-3
    assert figures["lip_gap_correlation"] > 0.999


def test_a_measured_jaw_is_held_against_jaw_and_lips(basis: FaceBasis) -> None:
    """Lips that press shut on half of the openings: the jaw is right, the lips are not."""
    jaw = 0.1 + 0.1 * np.sin(np.arange(90) / 3)
    face = np.zeros((90, 52), np.float32)
    face[:, INDEX["jawOpen"]] = jaw
    face[::2, INDEX["mouthClose"]] = jaw[::2]
    sample = Sample("s", np.zeros(48_000, np.float32), gap=3.0 * jaw, of_jaw=True)
    figures = score(Prediction(face, 30.0), sample, basis)
    assert figures["jaw_correlation"] == pytest.approx(1, abs=1e-4)
    assert figures["lip_gap_correlation"] < 0.7
    assert "jaw_correlation" not in score(Prediction(face, 30.0), replace(sample, of_jaw=False), basis)
