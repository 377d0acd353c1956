"""The corpora of the shipped network from two made-up readers: voices made of voices, the same actors to splits."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.corpus.store import Corpus
from emotalk_ros.training.pairs import voice

pytest.importorskip("pyworld", reason="extra emotalk_ros[corpus]: pyworld makes voices emotional")

RATE = 16000


@pytest.fixture
def build(tmp_path):
    """Runs the script on two readers who buzz two phrases of 1.3 s each; gives back the emotional corpus."""
    audio = tmp_path / "source" / "librispeech" / "audio"
    audio.mkdir(parents=True)
    table = {}
    for k, stem in enumerate(("11-1-0001", "22-1-0001")):
        pulses = (np.arange(4 * RATE) % (RATE // (110 + 60 * k)) == 0).astype(float)
        sound = np.convolve(pulses, np.exp(-np.arange(200) / 40.0) * np.sin(np.arange(200) * 0.3))[: 4 * RATE] * 0.2
        soundfile.write(audio / f"{stem}.wav", sound, RATE)
        table[stem] = [["M", 0.0, 0.3], ["AA", 0.3, 1.4], ["SIL", 1.4, 2.2], ["B", 2.2, 2.4], ["IY", 2.4, 3.8]]
    (audio.parent / "phones.json").write_text(json.dumps(table))

    def run(name, *options):
        command = ["prepare", "shipped-corpora", str(tmp_path / "source"), str(tmp_path / name), "--jobs", "1"]
        done = CliRunner().invoke(app, [*command, "--portrayals", "2", *options])
        assert done.exit_code == 0, done.output
        return Corpus.open(tmp_path / name / "emotional")

    yield run


def test_made_up_voices_are_others_to_pairs_and_the_same_actor_to_splits(build):
    own, both = build("own"), build("both", "--voices", "2")
    assert len(own) == 2 * 2 * 2 and len(both) == 2 * len(own)  # readers, phrases, emotions
    assert {r.actor for r in both.records} == {r.actor for r in own.records}
    assert len({voice(r) for r in both.records}) == 4
    known = {r.id: k for k, r in enumerate(both.records)}
    for k, record in enumerate(own.records):  # a reader's own voice stays as it was
        np.testing.assert_array_equal(both.read_pcm(known[record.id]), own.read_pcm(k))


def test_silence_at_the_ends_goes_and_studio_takes_come_along(build, tmp_path):
    source = tmp_path / "source"
    sound, rate = soundfile.read(source / "librispeech/audio/11-1-0001.wav")
    soundfile.write(source / "librispeech/audio/11-1-0001.wav", np.pad(sound, (2 * rate, 3 * rate)), rate)
    table = json.loads((source / "librispeech/phones.json").read_text())
    table["11-1-0001"] = [["SIL", 0.0, 2.0], *([p, a + 2, b + 2] for p, a, b in table["11-1-0001"])]
    (source / "librispeech/phones.json").write_text(json.dumps(table))
    (source / "facegood").mkdir()
    jaw = 0.3 * ((np.arange(300) // 30) % 2)
    np.savez(source / "facegood/take.npz", fps=30.0, names=["mouth_stretch_c"], coefficients=jaw[:, None])
    soundfile.write(source / "facegood/take.wav", np.random.default_rng(0).normal(0, 0.1, 10 * RATE), RATE)
    build("trimmed", "--packed")
    real, takes = (Corpus.open(tmp_path / "trimmed" / name) for name in ("real", "facegood"))
    clip = next(c for c in real if c.id == "librispeech.11-1-0001")
    first = next(p for p in clip.phones if p[0] == "M")
    assert 0.25 < first[1] < 0.75 and 4.3 < clip.duration < 5.3
    assert abs(clip.duration - len(clip.coefficients) / 30) < 0.05
    assert np.abs(clip.audio[: int(first[1] * RATE) - 800]).max() < 0.02 < np.abs(clip.audio).max()
    assert real.records[0].audio.endswith(".ogg") and takes.records[0].coefficients.endswith(".npz")
    assert "jawOpen" not in takes[0].blind and "browInnerUp" in takes[0].blind
    assert takes.sources["facegood"].licence == "MIT"


def test_asking_for_kokoro_without_it_names_the_remedy(build, tmp_path):
    command = ["prepare", "shipped-corpora", str(tmp_path / "source"), str(tmp_path / "natural"), "--jobs", "1"]
    done = CliRunner().invoke(app, [*command, "--kokoro-hours", "0.1", "--kokoro-voices", str(tmp_path)])
    assert done.exit_code == 1 and "npm pack kokoro-js" in " ".join(done.output.split())
