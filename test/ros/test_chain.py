"""The whole job with several processes over DDS: commands, recorder, example, and what happens when one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import frames_of
from graph import check_grid, wait_until
from rosbags.highlevel import AnyReader
from std_msgs.msg import Float64MultiArray

from emotalk_ros.nodes.messages import from_time

ROOT = Path(__file__).resolve().parents[2]
EMOTALK = [sys.executable, "-m", "emotalk_ros.cli"]


def _emotalk(*words, timeout=200, **environment):
    command = [*EMOTALK, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment})


def _read(bag):
    """Topic: messages, and the definitions that came along."""
    found, definitions = {}, {}
    with AnyReader([bag]) as reader:
        for connection in reader.connections:
            definitions[connection.topic] = connection.msgdef.data
        for connection, _, data in reader.messages():
            found.setdefault(connection.topic, []).append(reader.deserialize(data, connection.msgtype))
    return found, definitions


def spoken(faces):
    """The frames made from audio: without closing and idle ones."""
    return [face for face in faces if face.kind == 0]


def test_the_demo_ends_with_bag_picture_and_summary(speech_file, model_path, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "face.png").write_bytes(b"old")
    run = _emotalk("demo", "--speech", speech_file, "--model", model_path, "-o", tmp_path / "demo")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == f"note: {tmp_path / 'demo' / 'face.png'} is there already: it is replaced\n"
    assert "38 of 38" in run.stdout and "every frame there, once, in order" in run.stdout
    found, definitions = _read(tmp_path / "demo" / "face_bag")
    assert set(found) == {"/audio", "/blendshapes", "/emotion"}
    assert "JAW_OPEN=24" in definitions["/blendshapes"].replace(" ", "")
    check_grid(spoken(found["/blendshapes"]), from_time(found["/audio"][0].header.stamp), 38)
    assert (tmp_path / "demo" / "face_bag" / "face_bag.mcap").exists()
    assert (tmp_path / "demo" / "face.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("demo/.*"))


def test_the_demo_fails_without_a_network(speech_file, tmp_path):
    run = _emotalk("demo", "--speech", speech_file, "--model", "/nowhere", "-o", tmp_path / "demo")
    assert run.returncode == 1 and "/nowhere" in run.stderr


def test_run_plays_a_file_and_records_it(speech_file, model_path, tmp_path):
    bag = tmp_path / "bag"
    run = _emotalk("run", "--file", speech_file, "--model", model_path, "--record", bag, "--namespace", "bob")
    assert run.returncode == 0, run.stderr
    found, _ = _read(bag)
    check_grid(spoken(found["/bob/blendshapes"]), from_time(found["/bob/audio"][0].header.stamp), 38)
    assert found["/bob/emotion"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--source", "file"], "--source file needs --file"),
        (["--file", "/nowhere.wav"], "/nowhere.wav does not exist"),
        (["--params-file", "/nowhere.yaml"], "/nowhere.yaml does not exist"),
        (["--colour", "red"], "--colour red is not understood"),
    ],
)
def test_run_names_what_is_wrong_with_its_words(words, text):
    run = _emotalk("run", *words, COLUMNS="200")
    assert run.returncode == 2 and text in run.stderr


def test_run_ends_when_a_node_dies_and_on_ctrl_c(model_path):
    run = _emotalk("run", "--source", "topic", "--model", "/nowhere")
    assert run.returncode == 1 and "emotalk_node ended with status 1" in run.stderr
    process = subprocess.Popen([*EMOTALK, "run", "--source", "topic", "--model", str(model_path)])
    time.sleep(4.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def node(graph, model_path):
    return graph.start_emotalk(model_path)


def test_the_face_controller_follows(graph, node, speech, expect_frames):
    moves = []
    graph.node.create_subscription(Float64MultiArray, "jaw_controller/commands", moves.append, 500)
    controller = subprocess.Popen([sys.executable, str(ROOT / "examples" / "face_controller.py")])
    try:
        wait_until(lambda: graph.node.count_subscribers("blendshapes") >= 2, 60.0, "the controller")
        time.sleep(0.3)
        graph.clear()
        graph.speak(speech, pace=1.0)
        graph.wait_frames(expect_frames)
        wait_until(lambda: len(moves) >= 0.9 * expect_frames, 5.0, "its commands")
    finally:
        controller.send_signal(signal.SIGINT)
        assert controller.wait(20) == 0
    values = np.array([move.data[0] for move in moves])
    assert values.std() > 0.0 and values.min() >= 0.0 and values.max() <= 0.5


def test_a_publisher_killed_in_mid_stream_can_come_back(graph, node, speech_file):
    graph.clear()
    first = graph.start("audio_file_node", {"file": speech_file, "loop": True})
    wait_until(lambda: len(graph.faces) > 20, 60.0, "frames")
    first.stop(signal.SIGKILL)
    count = wait_until(lambda: _still(graph), 20.0, "silence")
    killed = _from_the_beginning(graph.faces[:count])
    check_grid(killed, from_time(killed[0].header.stamp), len(killed))
    graph.clear()
    again = graph.start("audio_file_node", {"file": speech_file})
    assert again.process.wait(60) == 0, again.log
    wait_until(lambda: graph.faces and graph.faces[-1].frame >= 37, 20.0, "the last frame")
    fresh = _from_the_beginning(graph.faces)
    check_grid(fresh, from_time(fresh[0].header.stamp), 38)
    assert node.alive


def _from_the_beginning(frames):
    """The last stream that began: without what closed the mouth before, or a start that broke off."""
    return frames[max(at for at, frame in enumerate(frames) if frame.frame == 0) :]


def _still(graph):
    count = len(graph.faces)
    time.sleep(1.0)
    return count if len(graph.faces) == count else 0


def test_a_mouth_left_open_comes_to_rest(graph, node, speech):
    wait_until(lambda: _still(graph), 20.0, "silence") if graph.faces else None
    graph.clear()
    loud = np.resize(speech[2000:6000], 24000)  # breaks off while it speaks
    stamp = graph.speak(loud)
    heard = graph.wait_frames(frames_of(len(loud)))
    check_grid(heard, stamp, len(heard))
    wait_until(lambda: len(graph.others) >= 8, 10.0, "closing frames")
    assert [face.frame for face in graph.others] == list(range(len(heard), len(heard) + 8))
    assert {face.kind for face in graph.others} == {graph.others[0].CLOSING}
    jaws = [face.coefficients[face.JAW_OPEN] for face in (heard[-1], *graph.others)]
    assert jaws[-1] < 0.1 and jaws[-1] < 0.5 * max(jaws)


def test_a_node_killed_in_mid_stream_can_come_back(graph, node, model_path, speech, expect_frames):
    graph.clear()
    graph.speak(speech[:16000], pace=1.0)
    assert graph.faces
    node.stop(signal.SIGKILL)
    since = len(graph.logs)
    again = graph.start("emotalk_node", {"model.path": str(model_path), "output.blinks": False})
    deadline = time.monotonic() + 120
    graph.clear()
    while not (graph.faces and graph.said("listening to", since)):  # a microphone would not wait either
        assert time.monotonic() < deadline, again.log
        graph.speak(speech[:3200], pace=1.0)
    active = next(from_time(m.stamp) for m in graph.logs[since:] if "listening to" in m.msg)
    assert from_time(graph.faces[0].header.stamp) - active < 1e9  # the new stream began at once
    time.sleep(1.5)
    graph.clear()
    stamp = graph.speak(speech)
    frames = graph.wait_frames(expect_frames)
    check_grid([f for f in frames if from_time(f.header.stamp) >= stamp], stamp, expect_frames)
    assert again.stop() == 0
