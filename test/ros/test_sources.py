"""The nodes that bring audio: a file, and a microphone without a sound card."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diagnostic_msgs.msg import DiagnosticStatus
from graph import DEEP, NS, START, wait_until
from rosgraph_msgs.msg import Clock

from emotalk_ros.audio import decode_pcm
from emotalk_ros.msg import AudioChunk
from emotalk_ros.nodes.messages import from_time, to_time

FAKES = Path(__file__).parent / "fake_portaudio"


@pytest.fixture
def heard(graph):
    """Chunks on a topic, in order."""
    lists, subscriptions = {}, []

    def listen(topic):
        chunks = lists.setdefault(topic, [])
        subscriptions.append(graph.node.create_subscription(AudioChunk, topic, chunks.append, DEEP))
        return chunks

    yield listen
    for subscription in subscriptions:
        graph.node.destroy_subscription(subscription)


def _samples(chunks):
    return np.concatenate([decode_pcm(c.data.tobytes(), c.encoding, c.channels) for c in chunks])


def _check_stamps(chunks, rate):
    """Sample n is stamped start + n / rate, exactly."""
    start, at = from_time(chunks[0].header.stamp), 0
    for chunk in chunks:
        assert from_time(chunk.header.stamp) == start + at * NS // rate
        at += len(decode_pcm(chunk.data.tobytes(), chunk.encoding, chunk.channels))


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_a_file_is_played_whole_with_exact_stamps(graph, heard, speech_file, encoding):
    chunks = heard("file_audio")
    before = time.time_ns()
    node = graph.start(
        "audio_file_node",
        {"file": speech_file, "speed": 4.0, "encoding": encoding, "chunk": 0.03},
        {"audio": "file_audio"},
    )
    assert node.process.wait(60) == 0, node.log
    expected, rate = soundfile.read(speech_file, dtype="float32", always_2d=True)
    wait_until(lambda: len(_samples(chunks)) == len(expected) if chunks else False, 5.0, "the last chunk")
    np.testing.assert_allclose(_samples(chunks), expected, atol=1e-6)
    assert (chunks[0].sample_rate, chunks[0].channels, chunks[0].encoding) == (rate, 2, encoding)
    assert before < from_time(chunks[0].header.stamp) < time.time_ns()
    assert {len(c.data) for c in chunks[:-1]} == {len(chunks[0].data)}
    _check_stamps(chunks, rate)


class SimulatedTime:
    """Publishes /clock: `speed` times as fast as the world's, from 1000 s on; 0 stands still."""

    def __init__(self, graph):
        self._publisher = graph.node.create_publisher(Clock, "/clock", 10)
        self.seconds, self.speed = 1000.0, 0.0
        self._seen = time.monotonic()
        self._timer = graph.node.create_timer(0.005, self._tick)
        self._node = graph.node

    def _tick(self):
        now = time.monotonic()
        self.seconds += self.speed * (now - self._seen)
        self._seen = now
        self._publisher.publish(Clock(clock=to_time(round(self.seconds * NS))))

    def close(self):
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)


def test_a_file_follows_simulated_time_at_its_rate(graph, heard, speech_file):
    chunks = heard("simulated_audio")
    arrivals = []
    simulated = SimulatedTime(graph)
    graph.node.create_subscription(
        AudioChunk,
        "simulated_audio",
        lambda m: arrivals.append((simulated.seconds, from_time(m.header.stamp) / NS)),
        DEEP,
    )
    node = graph.start(
        "audio_file_node",
        {"file": speech_file, "use_sim_time": True, "loop": True},
        {"audio": "simulated_audio"},
    )
    wait_until(lambda: graph.node.count_publishers("simulated_audio"), START, "the node")
    time.sleep(1.0)
    assert len(chunks) <= 1  # the clock stands still
    simulated.speed = 3.0
    begun, at = time.monotonic(), simulated.seconds
    wait_until(lambda: simulated.seconds > at + 6.0, 20.0, "six seconds of simulated time")
    played = sum(len(c.data) for c in chunks) / (2 * chunks[0].channels * chunks[0].sample_rate)
    assert played == pytest.approx(simulated.seconds - at, abs=1.0) and time.monotonic() - begun < 4.0
    # Each chunk came when its last sample was due by the simulated clock.
    late = np.array([seconds - stamp - 0.02 for seconds, stamp in arrivals])
    assert np.median(np.abs(late)) < 0.2 and late.min() > -0.1
    _check_stamps(chunks, chunks[0].sample_rate)
    simulated.speed = 0.0
    time.sleep(0.5)
    count = len(chunks)
    time.sleep(0.5)
    assert len(chunks) == count
    simulated.seconds, simulated.speed = 500.0, 1.0  # a bag that begins again
    wait_until(lambda: len(chunks) > count + 20, 20.0, "sound after the clock jumped back")
    assert from_time(chunks[-1].header.stamp) / NS == pytest.approx(simulated.seconds, abs=0.5)
    assert node.stop() == 0
    simulated.close()


def test_a_loop_has_no_seam(graph, heard, speech, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, speech[:3000], 16000, subtype="FLOAT")
    chunks = heard("loop_audio")
    node = graph.start(
        "audio_file_node",
        {"file": path, "loop": True, "speed": 5.0, "encoding": "f32le"},
        {"audio": "loop_audio"},
    )
    wait_until(lambda: len(chunks) > 40, 60.0, "40 chunks")
    assert node.stop() == 0, node.log
    found = _samples(chunks)[:, 0]
    np.testing.assert_array_equal(found, np.resize(speech[:3000], len(found)))
    _check_stamps(chunks, 16000)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no audio file"), (b"this is no sound", "cannot read"), (b"", "cannot read")]
)
def test_a_file_that_cannot_be_played_is_named(graph, tmp_path, content, words):
    path = tmp_path / "speech.wav"
    if content is not None:
        path.write_bytes(content)
    node = graph.start("audio_file_node", {"file": path})
    assert node.process.wait(60) == 1
    node._reader.join(5.0)
    assert words in node.log and str(path) in node.log


@pytest.fixture
def portaudio(tmp_path):
    """(environment, function that plugs or unplugs)."""
    state = tmp_path / "portaudio"
    state.write_text("plugged")
    path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])

    def plug(mode):
        part = state.with_suffix(".part")
        part.write_text(mode)
        part.replace(state)

    return {"FAKE_PORTAUDIO": str(state), "PYTHONPATH": path}, plug


def test_the_microphone_survives_being_unplugged(graph, heard, portaudio):
    environment, plug = portaudio
    plug("absent")
    chunks = heard("mic_audio")
    node = graph.start(
        "microphone_node",
        {"device": "Ears", "timeout": 0.3, "retry_limit": 0.5},
        {"audio": "mic_audio"},
        environment=environment,
    )
    wait_until(lambda: graph.status("microphone"), 60.0, "a status")
    level, message, _ = wait_until(lambda: graph.status("microphone"), 5.0, "a status")
    assert level == DiagnosticStatus.ERROR and "no input device 'Ears'" in message and "--list-devices" in message
    plug("plugged")
    wait_until(lambda: len(chunks) > 30, 20.0, "sound")
    assert (chunks[0].sample_rate, chunks[0].channels, chunks[0].encoding) == (48000, 1, "s16le")
    plug("silent")
    wait_until(lambda: "unplugged?" in graph.status("microphone")[1], 20.0, "the loss")
    count = len(chunks)
    plug("plugged")
    wait_until(lambda: len(chunks) > count + 10, 20.0, "sound again")
    seen = len(graph.statuses)
    level, _, values = wait_until(lambda: graph.status("microphone", seen), 5.0, "a status")
    assert level == DiagnosticStatus.OK and int(values["devices_lost"]) >= 1 and values["device"] == "Robot Ears: USB"
    gaps = np.diff([from_time(c.header.stamp) for c in chunks[:30]])
    assert np.abs(gaps - 0.02 * NS).max() < 0.01 * NS  # steady, though the threads are not
    assert abs(from_time(chunks[-1].header.stamp) - time.time_ns()) < 5 * NS
    assert node.stop() == 0, node.log


def test_the_microphone_lists_devices(portaudio):
    environment, plug = portaudio
    command = [sys.executable, "-m", "emotalk_ros.nodes", "microphone_node", "--list-devices"]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and "0  Robot Ears: USB  (2 channels, 48000 Hz)" in run.stdout
    plug("absent")
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and "no input device found" in run.stdout


def test_a_missing_portaudio_is_named(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "emotalk_ros.nodes", "microphone_node"]
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "apt install libportaudio2" in run.stderr


@pytest.mark.parametrize("values", [{"sample_rate": 192000}, {"channels": 8}])
def test_a_format_the_device_lacks_is_named(graph, portaudio, values):
    node = graph.start("microphone_node", values, {"audio": "mic_audio"}, environment=portaudio[0])
    wait_until(lambda: "Robot Ears" in node.log, 60.0, "the reason")
    assert str(next(iter(values.values()))) in node.log
    assert node.stop(signal.SIGTERM) == 0
