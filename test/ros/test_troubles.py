"""What goes wrong around a running graph: a damaged model folder, a recorder on a full disk. The face outlives both."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import frames_of
from diagnostic_msgs.msg import DiagnosticStatus
from graph import START, check_grid, wait_until

from emotalk_ros.bags.bag import open_bag
from emotalk_ros.model import CheckpointError, load_model


def _cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _nan_weights(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["output.bias"][7] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})


def _wrong_type(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "decoder_layers": "one"}))


DAMAGES = {
    "cut": (_cut_weights, "model.safetensors"),
    "nan": (_nan_weights, "output.bias holds NaN or infinity (1 of 52 numbers)"),
    "type": (_wrong_type, "decoder_layers"),
}


def _loaders_words(folder):
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    return str(caught.value)


@pytest.fixture(scope="module")
def unconfigured(graph, model_path, tmp_path_factory):
    """A node started with a folder whose weights are cut off, and that folder."""
    folder = shutil.copytree(model_path, tmp_path_factory.mktemp("damaged") / "model")
    _cut_weights(folder)
    values = {"model.path": str(folder), "output.blinks": False, "output.pacing": "burst", "output.idle": False}
    return graph.start("emotalk_node", values), folder


def _stays_unconfigured(graph, node, words, since):
    wait_until(lambda: graph.said(words, since), START, f"{words!r} in the log")
    assert node.alive and graph.state() == "unconfigured"
    level, message, values = wait_until(
        lambda: (status := graph.status(since=len(graph.statuses) - 1)) and words in status[1] and status,
        10.0,
        "a status with the reason",
    )
    assert level == DiagnosticStatus.ERROR and values["state"] == "unconfigured"
    assert words in message


def test_a_damaged_model_leaves_the_node_unconfigured_with_the_loaders_words(graph, unconfigured):
    node, folder = unconfigured
    words = _loaders_words(folder)
    assert "model.safetensors" in words
    _stays_unconfigured(graph, node, words, 0)
    wait_until(lambda: graph.said("not active; when that is mended"), 5.0, "the way on")
    assert "Traceback" not in node.log


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_told_anew_and_the_repaired_model_is_configured(
    graph, unconfigured, model_path, speech, expect_frames, damage
):
    node, folder = unconfigured
    shutil.copytree(model_path, folder, dirs_exist_ok=True)
    harm, named = DAMAGES[damage]
    harm(folder)
    words = _loaders_words(folder)
    assert named in words
    said = len(graph.logs)
    assert not graph.transition("configure")
    _stays_unconfigured(graph, node, words, said)

    shutil.copytree(model_path, folder, dirs_exist_ok=True)
    assert graph.transition("configure") and graph.state() == "inactive"
    assert graph.transition("activate")
    graph.wait_active(node)
    graph.clear()
    stamp = graph.speak(speech)
    check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    assert graph.transition("deactivate") and graph.transition("cleanup") and graph.state() == "unconfigured"
    assert node.alive and "Traceback" not in node.log


LIMIT = 1_500_000
"""Bytes that a file may have: it stands in for the disk's end. A chunk of the recording, a mebibyte, fits once."""


@pytest.fixture(scope="module")
def long_file(tmp_path_factory, speech):
    """8 s in two channels at 96 kHz, 3 MB of messages."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    sound = np.resize(np.repeat(speech, 6), 8 * 96000)
    soundfile.write(path, np.stack([sound, sound], axis=1), 96000)
    return path


def test_the_face_goes_on_when_the_recorders_disk_is_full(graph, unconfigured, model_path, long_file, tmp_path):
    unconfigured[0].stop()
    graph.clear()
    bag = tmp_path / "bag"
    command = [sys.executable, "-m", "emotalk_ros.cli", "run", "--file", long_file, "--model", model_path]
    run = subprocess.run(
        [*map(str, command), "--record", str(bag)],
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )
    count = frames_of(8 * 16000)
    assert [face.frame for face in graph.faces] == list(range(count)), run.stderr
    told = re.search(
        rf"the bag {bag} can't be written any more \(File too large\); what was recorded until now lies in (\S+) ",
        run.stderr,
    )
    assert told, run.stderr
    assert run.returncode == 1 and "recorder_node ended with status 1" in run.stderr
    assert "Traceback" not in run.stderr and not bag.exists()
    with open_bag(Path(told[1])) as kept:
        recorded = sum(message.topic == "/audio" for message in kept.messages())
    assert 100 < recorded < 300  # of 400: the first mebibyte of three
