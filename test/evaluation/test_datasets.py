"""Telling data sets apart and reading their clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bag_writing import speech_like
from saved_model import toy_corpus

from emotalk_ros.evaluation.datasets import DatasetError, detect_kind, measured_lips, open_dataset, read_phone_table
from emotalk_ros.face import ARKIT_NAMES, INDEX


def put_audio(folder: Path, stem: str, seconds: float = 0.4, suffix: str = ".wav") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}{suffix}"
    soundfile.write(path, speech_like(seconds), 16000)
    return path


def put_lips(path: Path, frames: int = 10) -> np.ndarray:
    """Landmarks of a face 2 high whose inner lips part by 0.1 times the frame number; returns the gap over height."""
    landmarks = np.zeros((frames, 6, 3), np.float32)
    opening = 0.1 * np.arange(frames)
    landmarks[:, 0, 1], landmarks[:, 1, 1] = opening / 2, -opening / 2
    landmarks[:, 4, 1], landmarks[:, 5, 1] = 1.0, -1.0
    ids = np.array([13, 14, 61, 291, 10, 152])
    names = np.array(["_neutral", *ARKIT_NAMES[:-1]])
    values = np.zeros((frames, 52), np.float32)
    values[:, list(names).index("jawOpen")] = 0.5
    ok = np.ones(frames, bool)
    ok[3] = False
    np.savez(path, fps=25.0, names=names, coefficients=values, landmarks=landmarks, landmark_ids=ids, ok=ok)
    return opening / 2


def test_kinds_are_told_by_what_lies_in_the_folder(tmp_path: Path) -> None:
    put_audio(tmp_path / "ravdess" / "Actor_01", "03-01-05-02-01-01-01", suffix=".flac")
    put_audio(tmp_path / "emodb", "03a01Wa")
    put_audio(tmp_path / "pairs", "one")
    np.save(tmp_path / "pairs" / "one.npy", np.zeros((12, 52)))
    put_audio(tmp_path / "lips", "one")
    put_lips(tmp_path / "lips" / "one.npz")
    toy_corpus(tmp_path / "corpus", 1, 1)
    for kind in ("ravdess", "emodb", "pairs", "lips", "corpus"):
        assert detect_kind(tmp_path / kind) == kind


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"neither manifest\.jsonl nor audio"):
        open_dataset(tmp_path)
    put_audio(tmp_path, "lonely")
    with pytest.raises(DatasetError, match="1 audio files, but neither"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="unknown kind 'grid'; known: corpus"):
        open_dataset(tmp_path, "grid")
    with pytest.raises(DatasetError, match=r"no usable clip.*no lonely\.npz"):
        open_dataset(tmp_path, "lips")


def test_ravdess_and_emodb_names(tmp_path: Path) -> None:
    put_audio(tmp_path / "r", "03-01-05-02-01-01-07")
    put_audio(tmp_path / "r", "03-01-01-01-01-01-07")
    samples = {s.id: s for s in map(open_dataset(tmp_path / "r").load, range(2))}
    angry, neutral = samples["03-01-05-02-01-01-07"], samples["03-01-01-01-01-01-07"]
    assert (angry.emotion, angry.actor, angry.level) == ("angry", "07", 1.0)
    assert (neutral.emotion, neutral.level) == ("neutral", 0.0)
    for stem in ("11a02Fc", "03b10Na", "08a01Lc"):
        put_audio(tmp_path / "e", stem)
    dataset = open_dataset(tmp_path / "e")
    assert {dataset.load(k).emotion for k in range(2)} == {"happy", "neutral"}
    assert len(dataset) == 2 and "08a01Lc" in dataset.skipped[0]  # boredom has no home label


def test_measured_lips(tmp_path: Path) -> None:
    put_audio(tmp_path, "one")
    gap = put_lips(tmp_path / "one.npz")
    phones = {
        "one": {"text": "x", "phones": [["<sil>", [["SIL", 0.0, 0.1]]], ["by", [["B", 0.1, 0.2], ["AY", 0.2, 0.4]]]]}
    }
    (tmp_path / "phones.json").write_text(json.dumps(phones))
    sample = open_dataset(tmp_path).load(0)
    assert sample.fps == 25.0 and sample.gap is not None and sample.reference is not None
    assert np.isnan(sample.gap[3])  # the frame in which no face was found
    seen = np.isfinite(sample.gap)
    assert sample.gap[seen] == pytest.approx(gap[seen], abs=1e-6)
    assert sample.reference[:, INDEX["jawOpen"]] == pytest.approx(0.5)
    assert sample.reference[:, INDEX["tongueOut"]] == pytest.approx(0.0)  # MediaPipe has none
    assert sample.phones == [("SIL", 0.0, 0.1), ("B", 0.1, 0.2), ("AY", 0.2, 0.4)]


def test_lips_of_another_rig_and_of_none() -> None:
    weights = np.arange(12.0).reshape(6, 2)
    sample = measured_lips(
        {"fps": np.array(30.0), "names": np.array(["x", "mouth_stretch_c"]), "weights": weights}, "w"
    )
    assert sample.gap is not None and sample.gap.tolist() == [1, 3, 5, 7, 9, 11] and sample.of_jaw
    with pytest.raises(DatasetError, match=r"w: no landmarks, coefficients or jaw weight among fps, other"):
        measured_lips({"fps": np.array(30.0), "other": weights}, "w")
    with pytest.raises(DatasetError, match="no fps"):
        measured_lips({"other": weights}, "w")


def test_phone_tables(tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    assert read_phone_table(path) == {}
    path.write_text('{"a": [["B", 0, 0.1]]}')
    assert read_phone_table(path) == {"a": [("B", 0.0, 0.1)]}
    path.write_text('{"a": 3}')
    with pytest.raises(DatasetError, match=r"phones\.json: not a table"):
        read_phone_table(path)


def test_limit_spreads_and_only_keeps(tmp_path: Path) -> None:
    toy_corpus(tmp_path / "corpus", actors=3, emotions=2, seconds=0.2)
    everything = open_dataset(tmp_path / "corpus")
    assert len(everything) == 6
    some = open_dataset(tmp_path / "corpus", limit=3)
    assert [some.load(k).id for k in range(3)] == list(some.ids)
    assert some.ids[0] == everything.ids[0] and some.ids[-1] == everything.ids[-1]
    one = open_dataset(tmp_path / "corpus", only={"a1_e1"})
    assert one.load(0).actor == "1"
    with pytest.raises(DatasetError, match="none of the 1 clips"):
        open_dataset(tmp_path / "corpus", only={"nobody"})


def test_labels_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        put_audio(tmp_path / "pairs", stem)
    labels = np.zeros((12, 52), np.float32)
    np.save(tmp_path / "pairs" / "a.npy", labels)
    labels[7, INDEX["jawOpen"]] = np.nan
    np.save(tmp_path / "pairs" / "b.npy", labels)
    pairs = open_dataset(tmp_path / "pairs")
    assert np.isfinite(pairs.load(0).reference).all()
    with pytest.raises(DatasetError, match=r"b\.npy: 1 values are NaN or infinite, the first in frame 7 \(jawOpen\)"):
        pairs.load(1)
    data = {"fps": np.float64(25), "landmark_ids": np.array([13, 14, 10, 152]), "ok": np.array([True, False, True])}
    landmarks = np.random.default_rng(0).normal(size=(3, 4, 3))
    landmarks[1] = np.nan  # no face was seen: `ok` says so
    assert np.isnan(measured_lips({**data, "landmarks": landmarks}, "x.npz").gap).tolist() == [False, True, False]
    landmarks[2] = np.nan
    with pytest.raises(DatasetError, match=r"x\.npz: .* the first in frame 1"):
        measured_lips({**data, "landmarks": landmarks}, "x.npz")


@pytest.mark.parametrize("kind", ["corpus", "pairs", "ravdess"])
def test_other_sound_under_an_old_name_is_another_data_set(tmp_path: Path, kind: str) -> None:
    if kind == "corpus":
        folder = toy_corpus(tmp_path / "corpus", actors=1, emotions=1, seconds=0.4)
        record = json.loads((folder / "manifest.jsonl").read_text().splitlines()[0])
        sound = folder / record["audio"]
    else:
        folder = tmp_path / "data"
        sound = put_audio(folder, "03-01-05-02-01-01-12" if kind == "ravdess" else "a")
        if kind == "pairs":
            np.save(sound.with_suffix(".npy"), np.zeros((12, 52), np.float32))
    before, again = open_dataset(folder).digest, open_dataset(folder).digest
    pcm, rate = soundfile.read(sound, dtype="int16")
    noise = np.random.default_rng(1).integers(-3000, 3000, len(pcm)).astype(np.int16)
    soundfile.write(sound, noise, rate)
    assert before == again != open_dataset(folder).digest
