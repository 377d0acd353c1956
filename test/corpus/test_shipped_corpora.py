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
