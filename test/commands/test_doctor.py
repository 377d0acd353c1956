"""`emotalk doctor` without ROS: what it looks at all the same, and what it says it could not look at."""

from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from emotalk_ros.audio import capture, silero
from emotalk_ros.commands import doctor
from emotalk_ros.nodes import processes

app = typer.Typer()
doctor.register(app)


class PortAudio:
    """Two devices, of which one records; what was played."""

    PortAudioError = RuntimeError
    default = SimpleNamespace(device=(1, 0))

    def __init__(self):
        self.played = []

    def query_devices(self):
        return [
            {"name": "Speaker", "index": 0, "max_input_channels": 0, "max_output_channels": 2},
            {"name": "Camera [USB]", "index": 1, "max_input_channels": 1, "max_output_channels": 0},
        ]

    def play(self, samples, rate, blocking):
        self.played.append(len(samples) / rate)


@pytest.fixture
def devices(monkeypatch):
    sound = PortAudio()
    monkeypatch.setattr(capture, "portaudio", lambda: sound)
    return sound


@pytest.fixture
def without_ros(monkeypatch):
    def missing():
        raise processes.RosMissingError("ROS 2 is not available (no module rclpy): source it")

    monkeypatch.setattr(processes, "check_ros", missing)


def run(*words):
    result = CliRunner().invoke(app, words)
    return result.exit_code, " ".join(result.output.split())


def test_without_ros_the_rest_is_looked_at(devices, without_ros):
    code, said = run()
    assert code == 0
    assert "ok sound input: Camera [USB]; 1 in all" in said and "ok sound output: Speaker" in said
    assert "ok network:" in said and "ok voice detector: silero" in said
    assert "not looked at ROS graph: ROS 2 is not available (no module rclpy): source it" in said
    assert "no trouble found" in said and not devices.played


def test_a_tone_on_the_loudspeaker(devices, without_ros):
    code, said = run("--test-pattern")
    assert code == 0 and devices.played == [0.5] and "half a second was played" in said


def test_trouble_comes_with_its_remedy_and_exit_code_1(monkeypatch, without_ros, tmp_path):
    def missing():
        raise capture.MicrophoneError("the PortAudio library is missing: apt install libportaudio2")

    monkeypatch.setattr(capture, "portaudio", missing)
    monkeypatch.setattr(silero, "candidate_paths", lambda inside: [tmp_path])
    code, said = run()
    assert code == 1 and "2 trouble(s) found" in said
    assert "trouble sound devices: the PortAudio library is missing -> apt install libportaudio2" in said
    assert "trouble voice detector: the voice detector's weights are missing" in said


def test_no_device_is_no_trouble_by_itself(monkeypatch, without_ros):
    monkeypatch.setattr(PortAudio, "query_devices", lambda self: [])
    monkeypatch.setattr(capture, "portaudio", PortAudio)
    code, said = run()
    assert code == 0 and "note sound input: no input device" in said and "may this user use it" in said
