"""A clip that cannot be trained on is named by file and place, with exit code 2; the learning rate is not blamed."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.face.names import INDEX


def _label(value):
    def damage(folder, record):
        path = folder / record["coefficients"]
        labels = np.load(path).astype(np.float32)
        labels[7, INDEX["jawOpen"]] = value
        np.save(path, labels)
        return path

    return damage


def _sample(value):
    def damage(folder, record):
        path = (folder / record["audio"]).with_suffix(".wav")
        samples, rate = soundfile.read(folder / record["audio"], dtype="float32")
        samples[1600] = value
        soundfile.write(path, samples, rate, subtype="FLOAT")
        record["audio"] = str(path.relative_to(folder))
        return path

    return damage


DAMAGES = {
    "a label that is NaN": (_label(np.nan), "1 values are NaN or infinite, the first in frame 7 (jawOpen)"),
    "a label of 1e30": (_label(1e30), "jawOpen is 1e+30 at frame 7; coefficients are 0..1"),
    "a sample that is NaN": (_sample(np.nan), "1 samples are no sound, the first at 0.100 s is nan"),
    "a sample of 1e20": (_sample(1e20), "1 samples are no sound, the first at 0.100 s is 1e+20"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", DAMAGES)
def test_the_file_of_a_damaged_clip_is_named(toy_corpus, toy_recipe, tmp_path, name, workers):
    folder = shutil.copytree(toy_corpus, tmp_path / "corpus")
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    damage, words = DAMAGES[name]
    path = damage(folder, lines[3])
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = toy_recipe(data={"corpora": [str(folder)]}, optim={"steps": 40}, run={"workers": workers})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    done = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run")])
    assert done.exit_code == 2, done.output
    assert f"error: {path}: {words}" in done.stderr
    assert "Traceback" not in done.stderr and "optim.lr" not in done.stderr


def test_a_clip_of_floats_is_heard_as_it_is(toy_corpus, tmp_path):
    from emotalk_ros.corpus.store import Corpus

    folder = shutil.copytree(toy_corpus, tmp_path / "corpus")
    plain = Corpus.open(folder)[0].audio
    path = folder / Corpus.open(folder).records[0].audio
    soundfile.write(path.with_suffix(".wav"), 1.5 * plain, 16000, subtype="DOUBLE")
    text = (folder / "manifest.jsonl").read_text()
    (folder / "manifest.jsonl").write_text(text.replace(f"{path.stem}.flac", f"{path.stem}.wav"))
    heard = Corpus.open(folder)[0].audio
    assert np.abs(plain).max() > 0.2
    np.testing.assert_allclose(heard, np.clip(1.5 * plain, -1, 1), atol=1 / 32768)
