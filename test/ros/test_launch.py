"""The launch files executed: started, killed, refused.

By `ros2 launch` where it is installed, and always by the stand-in test/support/launch_runner.py.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import overlay
import psutil
import pytest
from graph import START, wait_until

from emotalk_ros.msg import BlendshapeCoefficients

ROOT = Path(__file__).resolve().parents[2]
FACE = ROOT / "launch" / "emotalk.launch.py"
RUNNER = [sys.executable, str(ROOT / "test" / "support" / "launch_runner.py")]
REAL = shutil.which("ros2") is not None and find_spec("launch_ros") is not None
TOOLS = ["stand-in", *(["ros2"] if REAL else [])]

PARENT = """
import sys
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

def generate_launch_description():
    return LaunchDescription([
        ExecuteProcess(cmd=[sys.executable, {sibling!r}], name="sibling"),
        IncludeLaunchDescription(PythonLaunchDescriptionSource({face!r}), launch_arguments={arguments!r}.items()),
    ])
"""
SIBLING = """
import pathlib, signal, sys, time
note = pathlib.Path(__file__).with_suffix(".txt")
signal.signal(signal.SIGINT, lambda *_: (note.write_text("interrupted"), sys.exit(0)))
note.write_text("alive")
while True:
    time.sleep(0.1)
"""


def _hear_ctrl_c():
    """A shell that starts the tests in the background has them, and what they start, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Launched:
    """A running launch file."""

    def __init__(self, tool, path, log, environment, *words):
        command = ["ros2", "launch"] if tool == "ros2" else RUNNER
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                [*command, str(path), *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                preexec_fn=_hear_ctrl_c,
            )
        self._log = log
        self._children = []

    @property
    def said(self):
        return self._log.read_text(errors="replace")

    def find(self, program):
        """The process of a program below this launch, or None."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any(os.path.basename(word) == program for word in child.cmdline()[:5]):
                    return child
            except psutil.Error:
                continue
        return None

    def kill(self, program):
        found = wait_until(lambda: self.find(program), 30.0, f"{program}; the log:\n{self.said[-1000:]}")
        found.kill()
        wait_until(lambda: not found.is_running() or found.status() == psutil.STATUS_ZOMBIE, 5.0, "its end")
        return found.pid

    def stop(self, signum=signal.SIGINT):
        """The exit status."""
        if self.process.poll() is None:
            self._children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signum)
        try:
            return self.process.wait(30)
        finally:
            for child in [self.process, *self._children]:
                try:
                    child.kill()
                except psutil.Error:
                    continue


@pytest.fixture(params=TOOLS)
def launch(request, tmp_path):
    """Starts a launch file by one of the tools: (path, *words, environment) -> Launched."""
    environment = overlay.make(tmp_path / "prefix") if request.param == "ros2" else {}
    environment["ROS_LOG_DIR"] = str(tmp_path / "ros_log")
    running = []

    def start(path, *words, further=None):
        log = tmp_path / f"launch{len(running)}.log"
        running.append(Launched(request.param, path, log, {**environment, **(further or {})}, *words))
        return running[-1]

    yield start
    for launched in running:
        launched.stop()


@pytest.fixture
def robot(tmp_path, model_path):
    """A launch file that includes ours beside another process: arguments -> (path, what the other process notes)."""

    def write(**arguments):
        sibling, path = tmp_path / "sibling.py", tmp_path / "robot.launch.py"
        sibling.write_text(SIBLING)
        given = {"model": str(model_path), "respawn_delay": "0.2", **arguments}
        path.write_text(PARENT.format(sibling=str(sibling), face=str(FACE), arguments=given))
        return path, sibling.with_suffix(".txt")

    return write


def frames(graph, kind=None, timeout=START):
    """Wait for new frames (of a kind)."""
    graph.clear()
    wait_until(
        lambda: any(kind in (None, face.kind) for face in [*graph.faces, *graph.others]),
        timeout,
        f"frames of kind {kind}",
    )


def test_in_a_robot_a_killed_face_comes_back_and_the_robot_lives(graph, launch, robot, speech_file):
    path, note = robot(source="file", file=str(speech_file), loop="true")
    launched = launch(path)
    frames(graph, BlendshapeCoefficients.SPEECH)
    old = launched.kill("emotalk_node")
    wait_until(lambda: (found := launched.find("emotalk_node")) is not None and found.pid != old, 20.0, "a new node")
    frames(graph, BlendshapeCoefficients.SPEECH)
    assert graph.state() == "active"
    launched.kill("audio_file_node")  # nobody starts a file again: the face lives on without it
    wait_until(lambda: "audio_file_node" in launched.said and "status -9" in launched.said, 10.0, "its end in the log")
    frames(graph, BlendshapeCoefficients.IDLE)
    assert launched.process.poll() is None and note.read_text() == "alive"
    graph.clear()
    assert launched.stop() == 0 and note.read_text() == "interrupted"
    time.sleep(0.3)
    last = graph.others[-1]
    assert last.kind == last.CLOSING and max(last.coefficients) < 0.01


def test_a_lifecycle_manager_is_not_fought(graph, launch, robot):
    launched = launch(robot(source="topic")[0])
    frames(graph)
    for _ in range(2):
        for label in ("deactivate", "cleanup", "configure"):
            assert graph.transition(label)
        time.sleep(1.0)
        assert graph.state() == "inactive"
        assert graph.transition("activate")
        frames(graph, timeout=10.0)
    assert launched.stop() == 0


def test_a_killed_microphone_comes_back(graph, launch, robot, tmp_path):
    (tmp_path / "portaudio").write_text("plugged")
    fakes = os.pathsep.join([str(ROOT / "test" / "ros" / "fake_portaudio"), os.environ.get("PYTHONPATH", "")])
    path, note = robot(source="mic")
    further = {"FAKE_PORTAUDIO": str(tmp_path / "portaudio"), "PYTHONPATH": os.pathsep.join([fakes, str(ROOT)])}
    launched = launch(path, further=further)
    frames(graph, BlendshapeCoefficients.SPEECH)
    launched.kill("microphone_node")
    frames(graph, BlendshapeCoefficients.IDLE)
    frames(graph, BlendshapeCoefficients.SPEECH)
    assert note.read_text() == "alive"


def test_launched_by_itself_a_failure_is_a_failure(graph, launch, model_path, speech_file):
    launched = launch(FACE, "source:=file", "file:=/etc/passwd", f"model:={model_path}")
    assert launched.process.wait(60) == 1 and "/etc/passwd" in launched.said
    launched = launch(FACE, "source:=topic", "respawn:=false", f"model:={model_path}")
    frames(graph)
    launched.kill("emotalk_node")
    assert launched.process.wait(30) == 1 and "status -9" in launched.said
    launched = launch(FACE, "source:=file", f"file:={speech_file}", f"model:={model_path}")
    assert launched.process.wait(90) == 0, launched.said


def test_when_the_launch_itself_is_killed_no_node_plays_on(graph, launch, model_path):
    launched = launch(FACE, "source:=topic", f"model:={model_path}")
    frames(graph)
    node = launched.find("emotalk_node")
    graph.clear()
    launched.process.kill()
    wait_until(lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE, 20.0, "the end of the node")
    assert max(graph.others[-1].coefficients) < 0.01


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["source:=file"], "source:=file needs file:="),
        (["source:=radio"], "radio"),
        (["params_file:=/no/such.yaml"], "params_file:=/no/such.yaml does not exist"),
        (["log_level:=chatty"], "chatty"),
    ],
)
def test_wrong_words_are_refused(launch, words, text):
    launched = launch(FACE, *words)
    assert launched.process.wait(30) == 1 and text in launched.said


@pytest.mark.parametrize("launch", TOOLS[-1:], indirect=True)
def test_in_the_shape_of_launch_testing(launch, model_path, tmp_path):
    """The same facts by launch_testing's own runner; elsewhere the stand-in shows them."""
    if find_spec("launch_testing") is not None:
        path = Path(__file__).with_name("launch_test_emotalk.py")
        environment = {**os.environ, **overlay.make(tmp_path / "testing_prefix"), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-m", "launch_testing.launch_test", str(path), f"model:={model_path}"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert run.returncode == 0, run.stdout + run.stderr
        return
    launched = launch(FACE, "source:=topic", f"model:={model_path}", "respawn:=false")
    wait_until(lambda: "listening to /audio" in launched.said, START, "an active node")
    assert launched.stop() == 0
