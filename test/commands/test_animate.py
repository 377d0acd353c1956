"""`emotalk animate` on a small random network: files, orders, rates, errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import psutil
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
    assert values.shape == (69, 53)  # 2 s and a tail of 0.3 s
    np.testing.assert_allclose(values[:, 0], np.arange(69) / 30, atol=1e-6)
    assert values[:, 1:].min() >= 0 and values[:, 1:].max() <= 1 and np.ptp(values[:, 1:], axis=0).max() > 0.1
    assert "69 frames at 30 fps" in said and "wrote 1 file" in said


def test_npz_and_json_carry_the_emotion_heard(folder, tmp_path):
    call(folder, "@speech.wav", "-o", str(tmp_path / "face.npz"))
    call(folder, "@speech.wav", "-o", str(tmp_path / "face.json"))
    arrays = np.load(tmp_path / "face.npz", allow_pickle=False)
    assert tuple(arrays["names"]) == ARKIT_NAMES and arrays["fps"] == 30
    assert arrays["coefficients"].shape == (69, 52) and arrays["emotion"].shape == (69, 8)
    document = json.loads((tmp_path / "face.json").read_text())
    assert document["names"] == list(ARKIT_NAMES) and len(document["frames"]) == 69
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
    assert (rows[1][0], rows[-1][0]) == ("00:00:00:00.000", "00:00:02:08.000")
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
        "--tail",
        "0",
    )
    call(folder, "@speech.wav", "-o", str(tmp_path / "a.npz"), *plain)
    expected = load_model(folder / "model").predict(load_audio(folder / "speech.wav"))
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["coefficients"], expected.clip(0, 1), atol=1e-5)


def test_another_rate_and_the_live_windows(folder, tmp_path):
    call(folder, "@speech.wav", "-o", str(tmp_path / "a.npz"), "--fps", "60", "--live", "--tail", "0.5")
    arrays = np.load(tmp_path / "a.npz")
    assert len(arrays["time"]) == 150 and arrays["fps"] == 60


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


def coefficients_of(folder, tmp_path, *words, sound="@speech.wav"):
    call(folder, sound, "-o", str(tmp_path / "c.npz"), *words)
    return np.load(tmp_path / "c.npz")["coefficients"]


@pytest.mark.parametrize("cut", [0.9, 1.13, 1.37, 1.6, 1.83])
def test_a_recording_ends_with_a_closed_mouth_and_open_eyes(folder, tmp_path, cut):
    """Cut off in mid-speech, with blinks so often that some are cut as well."""
    sound, rate = soundfile.read(folder / "speech.wav")
    soundfile.write(tmp_path / "cut.wav", sound[: round(cut * rate)], rate)
    for seed in range(6):
        values = coefficients_of(folder, tmp_path, "--seed", str(seed), sound=str(tmp_path / "cut.wav"))
        assert len(values) == int(np.ceil(cut * 30)) + 9
        mouth = [k for k, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth", "eyeBlink"))]
        assert values[-1, mouth].max() == 0.0
        assert values[-9, mouth].max() > 0.05  # closed within the tail, not at once
    bare = coefficients_of(folder, tmp_path, "--tail", "0", sound=str(tmp_path / "cut.wav"))
    assert len(bare) == int(np.ceil(cut * 30))


def test_every_recording_blinks_in_its_own_way_and_always_in_the_same(folder, tmp_path):
    sound, rate = soundfile.read(folder / "speech.wav")
    for name, gain in (("a", 1.0), ("b", 0.99)):
        soundfile.write(tmp_path / f"{name}.wav", np.tile(sound, 6) * gain, rate)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    lids = ARKIT_NAMES.index("eyeBlinkLeft")

    def blinks(name, *words):
        still = ("--gain", "eyeBlinkLeft=0")  # of the network itself
        return coefficients_of(folder, tmp_path, *still, *words, sound=str(tmp_path / f"{name}.wav"))[:, lids]

    a, b, copy = blinks("a"), blinks("b"), blinks("copy")
    assert len(a) == 369 and a.max() > 0.8 and np.abs(a - b).max() > 0.5
    np.testing.assert_array_equal(a, copy)
    np.testing.assert_array_equal(blinks("a", "--seed", "3"), blinks("b", "--seed", "3"))


def test_gains_of_all_of_the_mouth_and_of_one(folder, tmp_path):
    plain = ("--seed", "1", "--no-blinks", "--tail", "0")
    usual = coefficients_of(folder, tmp_path, *plain)
    jaw, brow = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("browInnerUp")
    half = coefficients_of(folder, tmp_path, *plain, "--gain", "0.5")
    np.testing.assert_allclose(half, usual * 0.5, atol=1e-6)
    one = coefficients_of(folder, tmp_path, *plain, "--gain", "jawOpen=0.5", "--gain", "browInnerUp=0")
    np.testing.assert_allclose(one[:, jaw], usual[:, jaw] * 0.5, atol=1e-6)
    assert one[:, brow].max() == 0
    mouth = coefficients_of(folder, tmp_path, *plain, "--mouth-gain", "0.25")
    np.testing.assert_allclose(mouth[:, jaw], usual[:, jaw] * 0.25, atol=1e-6)
    np.testing.assert_allclose(mouth[:, brow], usual[:, brow], atol=1e-6)
    assert "write it like 1.2" in call(folder, "@speech.wav", "--gain", "jawOpen:2", code=1)
    assert "no coefficient is called 'jaw'" in call(folder, "@speech.wav", "--gain", "jaw=2", code=1)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_batch_goes_on_after_a_bad_file_names_it_and_resumes(folder, tmp_path, processes):
    (tmp_path / "bad [red].wav").write_text("no audio")
    sounds = [str(tmp_path / "bad [red].wav"), str(tmp_path / "missing.wav"), "@speech.wav", "@other.flac"]
    words = [*sounds, "-o", str(tmp_path / "faces"), "-j", processes]
    said = call(folder, *words, code=2)
    assert sorted(os.listdir(tmp_path / "faces")) == ["other.csv", "speech.csv"]
    assert "wrote 2 files, 2 failed" in said
    assert "bad [red].wav as audio" in said and "no audio file" in said and "missing.wav" in said
    kept = (tmp_path / "faces" / "speech.csv").stat().st_mtime_ns
    os.remove(tmp_path / "faces" / "other.csv")
    said = call(folder, *words[2:4], "-o", str(tmp_path / "faces"), "--resume", "-j", processes)
    assert "1 of 2 are there already" in said and "wrote 1 file" in said
    assert (tmp_path / "faces" / "speech.csv").stat().st_mtime_ns == kept
    assert "replaced the file that was there" in call(folder, "@speech.wav", "-o", str(tmp_path / "faces"))


def test_names_with_brackets_and_without_utf8(folder, tmp_path):
    for name in ("x[red].wav", "x[b]c.wav", os.fsdecode(b"m\xfcll.wav")):
        data = (folder / "speech.wav").read_bytes()
        (tmp_path / name).write_bytes(data)
        said = call(folder, str(tmp_path / name), "--format", "json")
        assert os.path.exists(tmp_path / f"{name[:-4]}.json")
        assert name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") in said
    (tmp_path / "x[").mkdir()  # `x[/b]c.wav` is a name in a folder
    (tmp_path / "x[" / "b]c.wav").write_text("no audio")
    assert "x[/b]c.wav as audio" in call(folder, str(tmp_path / "x[" / "b]c.wav"), code=1)


def test_sound_without_speech_says_so_with_its_level(folder, tmp_path):
    hum = 0.0005 * np.sin(2 * np.pi * 50 * np.arange(48000) / 16000)
    soundfile.write(tmp_path / "hum.wav", hum, 16000, subtype="FLOAT")
    said = call(folder, str(tmp_path / "hum.wav"))
    assert "no speech was heard; its loud moments lie at -69 dBFS" in said and "heard mostly" not in said


def test_a_quiet_or_cancelling_recording_moves_the_face_and_says_why(folder, tmp_path):
    sound, rate = soundfile.read(folder / "speech.wav")
    jaw = ARKIT_NAMES.index("jawOpen")
    usual = coefficients_of(folder, tmp_path)[:, jaw]
    soundfile.write(tmp_path / "quiet.wav", sound / np.abs(sound).max() * 10 ** (-52 / 20), rate, subtype="FLOAT")
    said = call(folder, str(tmp_path / "quiet.wav"), "-o", str(tmp_path / "q.npz"))
    assert "quiet, its loud moments lie at -" in said and "amplified by" in said
    assert np.load(tmp_path / "q.npz")["coefficients"][:, jaw].max() > 0.5 * usual.max()
    soundfile.write(tmp_path / "both.wav", np.stack([sound, -sound], axis=1), rate)
    said = call(folder, str(tmp_path / "both.wav"), "-o", str(tmp_path / "b.npz"))
    assert "cancel each other" in said
    assert np.load(tmp_path / "b.npz")["coefficients"][:, jaw].max() > 0.5 * usual.max()


def test_one_absurd_sample_costs_nothing_and_no_nan_is_written(folder, tmp_path):
    sound, rate = soundfile.read(folder / "speech.wav")
    clean = coefficients_of(folder, tmp_path, "--seed", "1")
    sound[20000] = 1e20
    soundfile.write(tmp_path / "x.wav", sound, rate, subtype="FLOAT")
    said = call(folder, str(tmp_path / "x.wav"), "-o", str(tmp_path / "x.json"), "--seed", "1")
    assert "the sample at 0.833 s is 1e+20" in said and "nan" not in said
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text
    values = np.array([frame["coefficients"] for frame in json.loads(text)["frames"]])
    assert np.abs(values - clean).mean() < 0.02


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


def _workers(process):
    """The processes that animate: not the one that keeps multiprocessing's semaphores."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def _alive(group):
    """Command lines of the processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


@pytest.mark.parametrize("moment", ["the workers begin", "they import", "a file is done"])
def test_ctrl_c_of_a_batch_ends_all_processes_and_leaves_whole_files(tmp_path, moment):
    """As a terminal does it: SIGINT to every process of the foreground group at once."""
    sound = vowels(20.0)
    for k in range(8):
        soundfile.write(tmp_path / f"{k}.wav", sound, 16000)
    out = tmp_path / "faces"
    words = [str(tmp_path / f"{k}.wav") for k in range(8)]
    options = ["-o", str(out), "-j", "2", "--backend", "onnx"]
    process = subprocess.Popen(
        [sys.executable, "-m", "emotalk_ros.cli", "animate", *words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (any(out.glob("*.csv")) if moment == "a file is done" else len(_workers(process)) == 2):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.01)
    time.sleep(0.4 if moment == "they import" else 0.0)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    deadline = time.monotonic() + 5
    assert process.returncode == 130, said
    assert "stopped; finished files are whole, nothing half-written is left; --resume goes on" in said
    assert "Traceback" not in said
    while left := _alive(process.pid):  # the one of the semaphores goes when it sees that the others are gone
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    made = os.listdir(out)
    assert len(made) < 8 and all(name.endswith(".csv") for name in made)
    for name in made:
        assert read_csv(out / name)[1].shape == (609, 53)  # 20 s and a tail of 0.3 s
