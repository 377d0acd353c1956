"""The on-disk corpus: what is written comes back, nothing is half there, everything wrong is named."""

import json

import numpy as np
import pytest
import soundfile

from emotalk_ros.corpus.store import Clip, Corpus, CorpusError, CorpusWriter, Source, write_clip
from emotalk_ros.files import LEFTOVERS


def make_clip(name="a", **changes):
    rng = np.random.default_rng(len(name))
    values = {
        "id": name,
        "audio": rng.uniform(-0.5, 0.5, 8000).astype(np.float32),
        "coefficients": rng.uniform(0, 1, (15, 52)).astype(np.float32),
        "actor": 3,
        "emotion": "happy",
        "level": 0.5,
        "sentence": "dogs",
        "phones": (("SIL", 0.0, 0.1), ("AA", 0.1, 0.5)),
        "source": "made",
        "person": 7,
        "blind": ("cheekPuff",),
    }
    return Clip(**(values | changes))


def test_what_is_written_comes_back(tmp_path):
    clip = make_clip()
    with CorpusWriter(tmp_path, [Source("made", "CC0")]) as writer:
        writer.add(clip)
    corpus = Corpus.open(tmp_path)
    back = corpus[0]
    assert len(corpus) == 1
    np.testing.assert_allclose(back.audio, clip.audio, atol=1e-4)
    np.testing.assert_allclose(back.coefficients, clip.coefficients, atol=1e-3)
    for name in ("id", "fps", "actor", "emotion", "level", "sentence", "phones", "source", "person", "blind"):
        assert getattr(back, name) == getattr(clip, name), name
    assert corpus.sources["made"].licence == "CC0"
    assert corpus.seconds == pytest.approx(0.5)


def test_packed_corpora_are_small_and_read_alike(tmp_path):
    time = np.arange(48000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    face = 0.5 + 0.5 * np.sin(np.arange(90)[:, None] / 9 + np.arange(52)) ** 3
    clip = make_clip(audio=tone, coefficients=face.astype(np.float32))
    for packed in (False, True):
        with CorpusWriter(tmp_path / str(packed), packed=packed) as writer:
            record = writer.add(clip)
    back = Corpus.open(tmp_path / "True")[0]
    assert len(back.audio) == len(tone)
    assert np.corrcoef(back.audio[4000:], tone[4000:])[0, 1] > 0.98
    np.testing.assert_allclose(back.coefficients, clip.coefficients, atol=0.5 / 255 + 1e-6)
    size = {p: sum(f.stat().st_size for f in (tmp_path / p).rglob("*.*")) for p in ("False", "True")}
    assert size["True"] < 0.4 * size["False"]
    (tmp_path / "True" / record.coefficients).write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="unreadable coefficients"):
        Corpus.open(tmp_path / "True")[0]


def test_the_manifest_holds_the_documented_fields(tmp_path):
    with CorpusWriter(tmp_path) as writer:
        writer.add(make_clip())
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert {
        *("id", "audio", "coefficients", "fps", "actor", "emotion", "level", "sentence"),
        *("source", "phones", "duration"),
    } <= set(line)


def test_an_interrupted_writer_is_no_corpus_and_resumes(tmp_path):
    with pytest.raises(KeyboardInterrupt), CorpusWriter(tmp_path) as writer:
        writer.add(make_clip("a"))
        raise KeyboardInterrupt
    with pytest.raises(CorpusError, match="interrupted"):
        Corpus.open(tmp_path)
    with open(tmp_path / "manifest.jsonl.partial", "a") as file:
        file.write('{"id": "torn')  # the power went while a line was being written
    with CorpusWriter(tmp_path, mode="append") as writer:
        assert writer.done == {"a"}
        writer.add(make_clip("b"))
    assert [r.id for r in Corpus.open(tmp_path).records] == ["a", "b"]
    assert not list(tmp_path.rglob(LEFTOVERS)) and not (tmp_path / "manifest.jsonl.partial").exists()


def test_append_to_a_finished_corpus_and_refuse_to_overwrite_by_accident(tmp_path):
    with CorpusWriter(tmp_path, [Source("one")]) as writer:
        writer.add(make_clip("b"))
    with pytest.raises(CorpusError, match="already holds"):
        CorpusWriter(tmp_path)
    with CorpusWriter(tmp_path, [Source("two")], mode="append") as writer:
        writer.add(make_clip("a"))
    corpus = Corpus.open(tmp_path)
    assert [r.id for r in corpus.records] == ["a", "b"] and set(corpus.sources) == {"one", "two"}
    with CorpusWriter(tmp_path, mode="overwrite") as writer:
        writer.add(make_clip("c"))
    assert [r.id for r in Corpus.open(tmp_path).records] == ["c"]


def test_workers_write_files_and_one_process_owns_the_manifest(tmp_path):
    records = [write_clip(tmp_path, make_clip(name)) for name in "ba"]
    with CorpusWriter(tmp_path) as writer:
        for record in records:
            writer.add_record(record)
    assert [clip.id for clip in Corpus.open(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "../up"}, "cannot be a file name"),
        ({"audio": np.zeros((0,), np.float32)}, "not empty"),
        ({"coefficients": np.zeros((3, 51), np.float32)}, r"\(3, 51\)"),
        ({"coefficients": np.full((3, 52), np.nan, np.float32)}, "NaN"),
        ({"level": 2.0}, "level"),
        ({"emotion": "joyful"}, "joyful"),
        ({"blind": ("noseTip",)}, "noseTip"),
    ],
)
def test_a_bad_clip_is_refused_by_name(tmp_path, changes, message):
    writer = CorpusWriter(tmp_path)
    with pytest.raises(ValueError, match=message):
        writer.add(make_clip(**changes))
    assert not list(tmp_path.rglob("*.npy"))
    writer.close()


def test_a_failed_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        write_clip(tmp_path, make_clip())
    assert not list(tmp_path.rglob(LEFTOVERS))


def test_errors_of_reading_name_the_file(tmp_path):
    with pytest.raises(CorpusError, match="no corpus at"):
        Corpus.open(tmp_path / "nowhere")
    with CorpusWriter(tmp_path) as writer:
        for name in "abc":
            writer.add(make_clip(name))
        with pytest.raises(CorpusError, match="unique"):
            writer.add(make_clip("a"))
    soundfile.write(tmp_path / "audio/a.flac", np.zeros(100), 8000)
    (tmp_path / "coefficients/b.npy").write_bytes(b"nonsense")
    (tmp_path / "phones/c.json").write_text('[["AA", 0.5, 0.1]]')
    corpus = Corpus.open(tmp_path)
    for index, name in enumerate(("a.flac", "b.npy", "c.json")):
        with pytest.raises(CorpusError, match=name):
            corpus[index]
    (tmp_path / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(CorpusError, match=r"manifest\.jsonl:1"):
        Corpus.open(tmp_path)


def test_a_label_that_is_no_number_is_named(tmp_path):
    values = np.full((20, 52), 0.1, np.float32)
    with CorpusWriter(tmp_path / "corpus") as writer:
        writer.add(Clip("one", np.zeros(10667, np.float32), values))
    path = tmp_path / "corpus" / Corpus.open(tmp_path / "corpus").records[0].coefficients
    values[4, 24] = np.nan
    np.save(path, values)
    with pytest.raises(
        CorpusError, match=rf"{path.name}: 1 values are NaN or infinite, the first in frame 4 \(jawOpen\)"
    ):
        Corpus.open(tmp_path / "corpus")[0]
