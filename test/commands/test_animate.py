"""`emotalk animate` on a small random network: files, orders, rates, errors."""

import csv
import json
import os

import numpy as np
import pytest
import soundfile
import torch
import typer
from sounds import vowels
from typer.testing import CliRunner

from emotalk_ros.commands import animate
from emotalk_ros.face.names import ARKIT_NAMES, LIVE_LINK_CSV_NAMES
from emotalk_ros.model import EmoTalk, EmoTalkConfig, load_model

app = typer.Typer()
animate.register(app)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder with random weights, and two recordings."""
    path = tmp_path_factory.mktemp("animate")
    torch.manual_seed(0)
    network = EmoTalk(EmoTalkConfig.preset("tiny"))
    with torch.no_grad():
        network.output.weight.normal_(0, 0.05)
        network.output.bias.fill_(0.3)
        network.set_prototypes(torch.randn_like(network.emotion_prototypes))
    network.save_pretrained(path / "model")
    sound = vowels(2.0, rate=24000)
    soundfile.write(path / "speech.wav", sound, 24000)
    soundfile.write(path / "other.flac", np.stack([sound[:30001], sound[:30001]], axis=1), 24000)
    return path


def call(folder, *words, code=0):
    arguments = [str(folder / w[1:]) if w.startswith("@") else w for w in words]
    result = CliRunner().invoke(app, [*arguments, "--model", str(folder / "model"), "--device", "cpu"])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def read_csv(path):
    with open(path) as file:
        rows = list(csv.reader(file))
    return rows[0], np.array(rows[1:], dtype=float)


def test_csv_has_a_time_column_and_the_named_coefficients(folder, tmp_path):
    said = call(folder, "@speech.wav", "-o", str(tmp_path / "face.csv"))
    head, values = read_csv(tmp_path / "face.csv")
    assert head == ["time", *ARKIT_NAMES]
    assert values.shape == (60, 53)
    np.testing.assert_allclose(values[:, 0], np.arange(60) / 30, atol=1e-6)
    assert values[:, 1:].min() >= 0 and values[:, 1:].max() <= 1 and np.ptp(values[:, 1:], axis=0).max() > 0.1
    assert "60 frames at 30 fps" in said and "wrote 1 file" in said


def test_npz_and_json_carry_the_emotion_heard(folder, tmp_path):
    call(folder, "@speech.wav", "-o", str(tmp_path / "face.npz"))
    call(folder, "@speech.wav", "-o", str(tmp_path / "face.json"))
    arrays = np.load(tmp_path / "face.npz", allow_pickle=False)
    assert tuple(arrays["names"]) == ARKIT_NAMES and arrays["fps"] == 30
    assert arrays["coefficients"].shape == (60, 52) and arrays["emotion"].shape == (60, 8)
    document = json.loads((tmp_path / "face.json").read_text())
    assert document["names"] == list(ARKIT_NAMES) and len(document["frames"]) == 60
    last = document["frames"][-1]
    np.testing.assert_allclose(last["coefficients"], arrays["coefficients"][-1], atol=1e-6)
    probabilities = last["emotion"]["probabilities"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert last["emotion"]["dominant"] == max(probabilities, key=probabilities.get)
    assert list(probabilities) == list(arrays["emotion_labels"])


def test_orders_map_by_name(folder, tmp_path):
    call(folder, "@speech.wav", "-o", str(tmp_path / "a.csv"))
    call(folder, "@speech.wav", "-o", str(tmp_path / "b.csv"), "--order", "livelink")
    call(folder, "@speech.wav", "-o", str(tmp_path / "c.csv"), "--format", "livelink-csv")
    (_, ours), (head, apples) = read_csv(tmp_path / "a.csv"), read_csv(tmp_path / "b.csv")
    assert head[1:] == list(LIVE_LINK_CSV_NAMES)
    jaw = 1 + ARKIT_NAMES.index("jawOpen")
    np.testing.assert_array_equal(apples[:, 1 + LIVE_LINK_CSV_NAMES.index("jawOpen")], ours[:, jaw])
    rows = [line.split(",") for line in (tmp_path / "c.csv").read_text().splitlines()]
    assert rows[0][:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"] and rows[0][-1] == "RightEyeRoll"
    assert len(rows[0]) == len(rows[1]) == 63 and rows[1][1] == "61"
    assert (rows[1][0], rows[-1][0]) == ("00:00:00:00.000", "00:00:01:29.000")
    assert float(rows[30][rows[0].index("JawOpen")]) == pytest.approx(ours[29, jaw], abs=1e-5)


def test_the_frames_are_those_of_predict_when_nothing_is_finished(folder, tmp_path):
    from emotalk_ros.audio import load_audio

    plain = (
        "--level-jaw",
        "0",
        "--expression",
        "0",
        "--smoothing",
        "0",
        "--expression-smoothing",
        "0",
        "--no-rest",
        "--no-blinks",
    )
    call(folder, "@speech.wav", "-o", str(tmp_path / "a.npz"), *plain)
    expected = load_model(folder / "model").predict(load_audio(folder / "speech.wav"))
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["coefficients"], expected.clip(0, 1), atol=1e-5)


def test_another_rate_and_the_live_windows(folder, tmp_path):
    call(folder, "@speech.wav", "-o", str(tmp_path / "a.npz"), "--fps", "60", "--live")
    arrays = np.load(tmp_path / "a.npz")
    assert len(arrays["time"]) == 120 and arrays["fps"] == 60


def test_the_emotion_can_be_chosen_mixed_or_borrowed(folder, tmp_path):
    def coefficients(*words):
        call(folder, "@speech.wav", "-o", str(tmp_path / "e.npz"), *words)
        return np.load(tmp_path / "e.npz")["coefficients"]

    heard, happy = coefficients(), coefficients("--emotion", "happy")
    mixed = coefficients("--emotion", "happy:0.7,surprise:0.3")
    borrowed = coefficients("--emotion-audio", "@other.flac")
    weaker = coefficients("--emotion", "happy", "--intensity", "0.3")
    for a, b in ((heard, happy), (happy, mixed), (heard, borrowed), (happy, weaker)):
        assert np.abs(a - b).max() > 1e-3


def test_several_recordings_go_into_a_folder(folder, tmp_path):
    call(folder, "@speech.wav", "@other.flac", "-o", str(tmp_path / "faces"), "--format", "json")
    assert sorted(os.listdir(tmp_path / "faces")) == ["other.json", "speech.json"]


def test_without_an_output_the_csv_lies_beside_the_recording(folder):
    call(folder, "@other.flac")
    assert (folder / "other.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["@missing.wav", "-o", "x.csv"], "no audio file"),
        (["@text.wav", "-o", "{tmp}/x.csv"], "as audio"),
        (["@empty.wav", "-o", "{tmp}/x.csv"], "holds no audio"),
        (["@speech.wav", "-o", "{tmp}/x.fbx"], "no format has the suffix '.fbx'; use .csv, .npz or .json"),
        (["@speech.wav", "-o", "{tmp}/none/x.csv"], "make it first"),
        (["@speech.wav", "@other.flac", "-o", "{tmp}/x.csv"], "name a folder"),
        (["@speech.wav", "@speech.wav", "-o", "{tmp}"], "more than one recording"),
        (["@speech.wav", "-o", "{tmp}/x.csv", "--emotion", "hapy"], "unknown emotion 'hapy'; known: neutral"),
        (["@speech.wav", "-o", "{tmp}/x.csv", "--emotion", "happy:much"], "'much' is no weight"),
        (["@speech.wav", "-o", "{tmp}/x.csv", "--person", "24"], "0..23"),
        (["@speech.wav", "-o", "{tmp}/x.csv", "--device", "abacus"], "use auto, cpu, cuda"),
    ],
)
def test_errors_name_the_value_and_the_remedy_and_leave_nothing_behind(folder, tmp_path, words, message):
    (folder / "text.wav").write_text("no audio")
    soundfile.write(folder / "empty.wav", np.zeros(0), 16000)
    arguments = [w.replace("{tmp}", str(tmp_path)) for w in words]
    result = CliRunner().invoke(
        app,
        [str(folder / w[1:]) if w.startswith("@") else w for w in arguments]
        + ["--model", str(folder / "model")]
        + ([] if "--device" in words else ["--device", "cpu"]),
    )
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert os.listdir(tmp_path) == []


def test_a_missing_model_says_how_to_get_one(folder, tmp_path):
    words = [str(folder / "speech.wav"), "-o", str(tmp_path / "x.csv"), "--model", str(tmp_path / "nothing")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "emotalk train" in result.output


@pytest.mark.parametrize("where", ["emotalk_ros.audio.SpeechActivity.push", "os.replace"])
def test_ctrl_c_keeps_what_was_there_and_leaves_nothing_half_written(folder, tmp_path, monkeypatch, where):
    (tmp_path / "face.csv").write_text("the old one")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    assert "nothing half-written" in call(folder, "@speech.wav", "-o", str(tmp_path / "face.csv"), code=130)
    assert os.listdir(tmp_path) == ["face.csv"] and (tmp_path / "face.csv").read_text() == "the old one"
