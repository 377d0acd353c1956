#!/usr/bin/env python3
"""The package under the real `ros2` tools, as a robot builder uses it: a line with PASS or FAIL for each fact.

    scripts/ros2_session.py                    the installed package (source ROS 2 and the workspace first)
    scripts/ros2_session.py --source           this source tree, with the messages that are installed
    scripts/ros2_session.py --only kills       some parts: parent lifecycle params kills microphone robot ends refusals

It includes emotalk.launch.py in the launch file of a robot, beside another process; goes twice around the lifecycle;
gets and sets parameters; kills each process; and looks at exit codes and refusals. Microphone and loudspeaker are
stand-ins (test/ros/fake_portaudio). Exit status 1: a line says FAIL.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from emotalk_ros.nodes.processes import free_domain

os.environ.setdefault("ROS_DOMAIN_ID", str(free_domain()))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import numpy as np
import psutil
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile

from emotalk_ros.msg import BlendshapeCoefficients

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "examples" / "speech" / "demo.ogg"
START = 60.0
"""Seconds that a node may take until it is active, on a busy machine."""

PARENT = """
import os, sys
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

FACE = os.path.join(get_package_share_directory("emotalk_ros"), "launch", "emotalk.launch.py")

def generate_launch_description():
    return LaunchDescription([
        ExecuteProcess(cmd=[sys.executable, {sibling!r}], name="sibling"),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(FACE), launch_arguments={arguments!r}.items()),
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


class Session:
    """Counts the facts, prints them."""

    def __init__(self):
        self.failed, self.passed = [], 0

    def check(self, fact, holds, figure=""):
        print(f"{'PASS' if holds else 'FAIL'}  {fact}{f'  [{figure}]' if figure != '' else ''}", flush=True)
        if holds:
            self.passed += 1
        else:
            self.failed.append(fact)
        return holds


class Watch:
    """Hears the face and asks for the state, in a thread."""

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node("ros2_session")
        self.frames = []  # (monotonic seconds, message)
        self.node.create_subscription(
            BlendshapeCoefficients,
            "blendshapes",
            lambda face: self.frames.append((time.monotonic(), face)),
            QoSProfile(depth=1000),
        )
        self._state = self.node.create_client(GetState, "emotalk/get_state")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        with suppress(ExternalShutdownException):
            while rclpy.ok():
                self._executor.spin_once(timeout_sec=0.1)

    def close(self):
        rclpy.try_shutdown()
        self._thread.join(5.0)

    def state(self):
        """Label of the lifecycle state; "" where nobody answers."""
        if not self._state.wait_for_service(0.0):
            return ""
        answer = self._state.call_async(GetState.Request())
        end = time.monotonic() + 2.0
        while not answer.done() and time.monotonic() < end:
            time.sleep(0.01)
        if answer.done():
            return answer.result().current_state.label
        self._state.remove_pending_request(answer)
        return ""

    def wait_state(self, label, timeout=START):
        """Seconds that it took, or None."""
        return waited(lambda: self.state() == label, timeout)

    def wait_frame(self, timeout=START, kind=None):
        """Seconds until the next frame (of a kind), or None."""
        count = len(self.frames)

        def there():
            return any(kind is None or face.kind == kind for _, face in self.frames[count:])

        return waited(there, timeout)


def waited(condition, timeout):
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            return None
        time.sleep(0.02)
    return round(time.monotonic() - begin, 2)


def ros2(*words, timeout=60.0, check=False):
    """(exit status, what it said)."""
    try:
        run = subprocess.run(
            ["ros2", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=check,
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return run.returncode, run.stdout.strip()


class Launch:
    """A running `ros2 launch`; ended with the block."""

    def __init__(self, log, *words, environment=None):
        self._log = open(log, "w")  # noqa: SIM115
        self.path = Path(log)
        self._children = []
        self.process = subprocess.Popen(
            ["ros2", "launch", *map(str, words)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )

    @property
    def said(self):
        return self.path.read_text(errors="replace")

    @property
    def alive(self):
        return self.process.poll() is None

    def find(self, program):
        """The process of a node's program below this launch, or None."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if any(os.path.basename(word) == program for word in child.cmdline()[:3]):
                        return child
        return None

    def kill(self, program):
        """SIGKILL; the process number that is gone."""
        process = self.find(program)
        assert process is not None, f"{program} does not run:\n{self.said[-2000:]}"
        process.kill()
        return process.pid

    def wait_new(self, program, old, timeout=30.0):
        """Seconds until another process of a program runs, or None."""
        return waited(lambda: (found := self.find(program)) is not None and found.pid != old, timeout)

    def stop(self, signum=signal.SIGINT, timeout=40.0):
        """The exit status, and how many of its processes it left behind."""
        with suppress(psutil.Error):
            self._children = psutil.Process(self.process.pid).children(recursive=True)
        if self.alive:
            self.process.send_signal(signum)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        gone = waited(lambda: not any(child.is_running() for child in self._children), 10.0)
        return status, 0 if gone is not None else sum(child.is_running() for child in self._children)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.alive:
            self.stop()
        for child in self._children:
            with suppress(psutil.Error):
                child.kill()
        if self.alive:
            self.process.kill()
        self._log.close()


class Robot:
    """The launch file of a robot that includes this package's, beside a process of its own."""

    def __init__(self, folder, **arguments):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        sibling = self.folder / "sibling.py"
        sibling.write_text(SIBLING)
        self._note = sibling.with_suffix(".txt")
        self.path = self.folder / "robot.launch.py"
        self.path.write_text(PARENT.format(sibling=str(sibling), arguments=arguments))

    @property
    def sibling(self):
        """ "alive", "interrupted" or "" (not started)."""
        return self._note.read_text() if self._note.exists() else ""

    def launch(self, environment=None):
        return Launch(self.folder / "launch.log", self.path, environment=environment)


# -- the parts ---------------------------------------------------------------------------------------------------------


def parent(session, watch, folder):
    """Included beside another process: it starts, lives, and ends well."""
    robot = Robot(folder / "parent", source="file", file=str(SPEECH), loop="true")
    with robot.launch() as launch:
        seconds = watch.wait_state("active")
        session.check(
            "included in a robot's launch file, the node becomes active by itself", seconds is not None, f"{seconds} s"
        )
        session.check("speech becomes frames", (s := watch.wait_frame(kind=0)) is not None, f"{s} s")
        begin = len(watch.frames)
        time.sleep(5.0)
        count = len(watch.frames) - begin
        session.check("30 frames a second", abs(count - 150) <= 5, f"{count} in 5 s")
        status, left = launch.stop()
        session.check(
            "Ctrl-C ends the robot with status 0, no process is left",
            (status, left) == (0, 0),
            f"{status}, {left} left",
        )
        session.check("no traceback in its log", "Traceback" not in launch.said)
    time.sleep(0.3)
    last = watch.frames[-1][1]
    session.check(
        "the face is left at rest",
        last.kind == last.CLOSING and max(last.coefficients) < 0.01,
        f"{max(last.coefficients):.3f}",
    )


def lifecycle(session, watch, folder):
    """Twice around with the tools; nothing fights them."""
    robot = Robot(folder / "lifecycle", source="topic", respawn_delay="0.2")
    with robot.launch() as launch:
        watch.wait_state("active")
        for turn in (1, 2):
            for word, state in (("deactivate", "inactive"), ("cleanup", "unconfigured"), ("configure", "inactive")):
                status, text = ros2("lifecycle", "set", "/emotalk", word)
                session.check(
                    f"turn {turn}: {word}",
                    status == 0 and "successful" in text and watch.state() == state,
                    watch.state(),
                )
                if word != "configure":
                    quiet = len(watch.frames)
                    time.sleep(1.0)
                    session.check(f"turn {turn}: no frame while {state}", len(watch.frames) == quiet)
            time.sleep(3.0)
            session.check(
                f"turn {turn}: nobody activates it behind the tool's back", watch.state() == "inactive", watch.state()
            )
            status, text = ros2("lifecycle", "set", "/emotalk", "activate")
            session.check(f"turn {turn}: activate", status == 0 and watch.state() == "active", text)
            session.check(f"turn {turn}: frames again", (s := watch.wait_frame(timeout=5.0)) is not None, f"{s} s")
        status, text = ros2("lifecycle", "set", "/emotalk", "configure")
        session.check(
            "a transition that is not there is refused", status != 0 and "Unknown transition" in text, text[:80]
        )
        status, text = ros2("lifecycle", "nodes")
        session.check("`ros2 lifecycle nodes` lists it", "/emotalk" in text, text)
        status, text = ros2("lifecycle", "set", "/emotalk", "shutdown")
        session.check("shutdown finalizes it", status == 0 and watch.state() == "finalized", watch.state())
        old = launch.kill("emotalk_node")
        launch.wait_new("emotalk_node", old)
        session.check(
            "killed then, it comes back and is active", (s := watch.wait_state("active")) is not None, f"{s} s"
        )
        session.check("robot and sibling never noticed", launch.alive and robot.sibling == "alive", robot.sibling)


def params(session, watch, folder):
    """Parameters with the tools; what is refused says why."""
    robot = Robot(folder / "params", source="topic")
    with robot.launch():
        watch.wait_state("active")

        def param(verb, *words):
            return ros2("param", verb, "/emotalk", *words)

        status, text = param("get", "output.gain")
        session.check("param get", status == 0 and "Double value is: 1.0" in text, text)
        for name, value, shown in (
            ("output.gain", "1.2", "1.2"),
            ("output.gain", "1", "1"),
            ("output.blinks", "false", "False"),
            ("output.gains", "['jawOpen:1.3']", "jawOpen:1.3"),
            ("emotion.source", "label", "label"),
            ("emotion.label", "happy", "happy"),
        ):
            status, text = param("set", name, value)
            back = param("get", name)[1]
            session.check(f"param set {name} {value}", status == 0 and "successful" in text and shown in back, back)
        smile = BlendshapeCoefficients.MOUTH_SMILE_LEFT
        seen = waited(lambda: bool(watch.frames) and watch.frames[-1][1].coefficients[smile] > 0.2, 5.0)
        session.check("the face smiles when emotion.label says happy", seen is not None, f"{seen} s")
        for name, value, words in (
            ("output.gain", "99.0", "outside of 0 to 4|range"),
            ("output.gain", "high", "not a number|high"),
            ("emotion.label", "bored", "'bored' is not one of"),
            ("output.gains", "['jaw_open:2.0']", "jaw_open"),
            ("stream.hop", "0.2", "cannot change while the node is active; deactivate"),
            ("model.device", "gpu", "'gpu' is no device"),
            ("no.such", "1", "undeclared"),  # rclpy's own words,
        ):
            status, text = param("set", name, value)
            session.check(
                f"param set {name} {value} is refused in words",
                "Setting parameter failed" in text and re.search(words, text) is not None,
                text,
            )
        status, text = param("describe", "output.rest_time")
        session.check("param describe tells range and meaning", "2.0" in text and "seconds from speaking" in text)
        status, text = param("dump")
        session.check("param dump can be read back as a params_file", status == 0 and "ros__parameters" in text)
        dumped = folder / "dumped.yaml"
        dumped.write_text(text + "\n")
        status, text = param("list")
        session.check("param list", status == 0 and "stream.lookahead" in text, f"{len(text.splitlines())} names")
    again = Robot(folder / "dumped", source="topic", params_file=str(dumped))
    with again.launch() as launch:
        seconds = watch.wait_state("active")
        text = ros2("param", "get", "/emotalk", "output.gains")[1]
        session.check(
            "a dumped params file starts the node as it was", seconds is not None and "jawOpen:1.3" in text, text
        )
        wrong = re.findall(r".*(?:no such parameter|is used).*", launch.said)
        session.check("... without a complaint", not wrong, wrong[:1])
        text = ros2("param", "set", "/emotalk", "emotion.source", "heard")[1]


def kills(session, watch, folder):
    """kill -9 of the face and of its source, inside a robot."""
    robot = Robot(folder / "kills", source="file", file=str(SPEECH), loop="true")
    with robot.launch() as launch:
        watch.wait_state("active")
        watch.wait_frame(kind=0)
        for turn in (1, 2):
            killed, old = time.monotonic(), launch.kill("emotalk_node")
            launch.wait_new("emotalk_node", old)
            started = time.monotonic() - killed
            watch.wait_state("active")
            active = time.monotonic() - killed
            first = watch.wait_frame(kind=0)
            session.check(
                f"kill -9 of emotalk_node ({turn}): it is back and active; speech moves the face within 1 s of that",
                first is not None and first < 1.0,
                f"started after {started:.1f} s, active after {active:.1f} s, speech {first} s later",
            )
            session.check("the robot and its sibling live", launch.alive and robot.sibling == "alive", robot.sibling)
        launch.kill("audio_file_node")
        idle = waited(lambda: watch.frames[-1][1].kind == BlendshapeCoefficients.IDLE, 10.0)
        session.check(
            "kill -9 of audio_file_node: the face comes to rest and lives on", idle is not None, f"idle after {idle} s"
        )
        rest = waited(lambda: watch.frames[-1][1].coefficients[BlendshapeCoefficients.JAW_OPEN] < 0.02, 3.0)
        session.check("its mouth is closed", rest is not None, f"{rest} s")
        session.check(
            "the log tells what ended, and with which status",
            "audio_file" in launch.said and "status -9" in launch.said,
        )
        session.check("the robot and its sibling live", launch.alive and robot.sibling == "alive", robot.sibling)
        status, left = launch.stop()
        session.check("Ctrl-C ends the robot with status 0", (status, left) == (0, 0), f"{status}, {left} left")


def sound(folder):
    """Environment of a sound card that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "portaudio").write_text("plugged")
    path = os.pathsep.join(filter(None, [str(ROOT / "test" / "ros" / "fake_portaudio"), os.environ.get("PYTHONPATH")]))
    return {"FAKE_PORTAUDIO": str(folder / "portaudio"), "FAKE_LOUDSPEAKER": str(folder / "heard"), "PYTHONPATH": path}


def microphone(session, watch, folder):
    """kill -9 of the microphone: it comes back, and the face speaks on."""
    robot = Robot(folder / "microphone")
    with robot.launch(sound(folder / "mic_sound")) as launch:
        watch.wait_state("active")
        session.check("the microphone's sound becomes frames", (s := watch.wait_frame(kind=0)) is not None, f"{s} s")
        killed, old = time.monotonic(), launch.kill("microphone_node")
        waited(lambda: watch.frames[-1][1].kind == BlendshapeCoefficients.IDLE, 10.0)
        back = launch.wait_new("microphone_node", old)
        again = watch.wait_frame(kind=0)
        session.check(
            "kill -9 of microphone_node: it is back, and its sound makes frames",
            back is not None and again is not None,
            f"{time.monotonic() - killed:.1f} s after the kill",
        )
        session.check("the robot and its sibling live", launch.alive and robot.sibling == "alive", robot.sibling)


def robot(session, watch, folder):
    """The talking robot: each of its four nodes is killed while it speaks."""
    environment = sound(folder / "robot_sound")
    heard = folder / "robot_sound" / "heard"
    servo_map = ROOT / "config" / "servos" / "head_3.yaml"
    with Launch(
        folder / "robot.log",
        "emotalk_ros",
        "talking_robot.launch.py",
        f"servo_map:={servo_map}",
        environment=environment,
    ) as launch:
        watch.wait_state("active")
        opened = waited(lambda: heard.exists() and heard.stat().st_size > 0, 30.0)
        if not session.check(
            "it starts, with a loudspeaker", opened is not None, launch.said[-300:] if opened is None else ""
        ):
            return

        def speaks(fact):
            before, count = heard.stat().st_size, len(watch.frames)
            text = "{data: '[happy] Hello there!'}"
            told, said = ros2("topic", "pub", "-w", "1", "--once", "/say", "std_msgs/msg/String", text)
            face = waited(lambda: any(face.kind == face.SPEECH for _, face in watch.frames[count:]), 15.0)
            loud = waited(lambda: loudest(heard, before) > 1000, 15.0)
            session.check(fact, told == 0 and face is not None and loud is not None, "" if told == 0 else said)
            waited(lambda: watch.frames[-1][1].kind == BlendshapeCoefficients.IDLE, 15.0)

        speaks("text becomes a face and sound")
        for program in ("say_node", "speaker_node", "servo_node", "emotalk_node"):
            killed, old = time.monotonic(), launch.kill(program)
            back = launch.wait_new(program, old)
            if program == "emotalk_node":
                watch.wait_state("active")
            elif program == "speaker_node":
                size = heard.stat().st_size
                waited(lambda size=size: heard.stat().st_size > size, 20.0)
            else:
                topic, kind = {"say_node": ("/say", "sub"), "servo_node": ("/commands", "pub")}[program]
                count = watch.node.count_subscribers if kind == "sub" else watch.node.count_publishers
                waited(lambda count=count, topic=topic: count(topic) > 0, 20.0)
            session.check(f"kill -9 of {program}: it is back", back is not None, f"{time.monotonic() - killed:.1f} s")
            speaks(f"after the kill of {program} the robot speaks again")
        status, left = launch.stop()
        session.check("Ctrl-C ends it with status 0", (status, left) == (0, 0), f"{status}, {left} left")
        session.check("no traceback in its log", "Traceback" not in launch.said)


def loudest(path, since):
    with open(path) as file:
        file.seek(since)
        peaks = [int(words[1]) for words in map(str.split, file) if len(words) == 2]
    return max(peaks, default=0)


def ends(session, watch, folder):
    """With which status the launch files end."""
    import soundfile

    short = folder / "short.wav"
    soundfile.write(short, 0.1 * np.sin(0.05 * np.arange(24000)), 16000)

    def launched(*words, timeout=90.0, environment=None):
        with Launch(folder / "ends.log", "emotalk_ros", *words, environment=environment) as launch:
            try:
                status = launch.process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            return status, launch.said

    status, _ = launched("emotalk.launch.py", "source:=file", f"file:={short}")
    session.check("launched by itself, the end of the file ends it with status 0", status == 0, status)
    status, said = launched("emotalk.launch.py", "source:=file", "file:=/etc/passwd")
    session.check(
        "a file that is no sound ends it with another status, in words",
        status not in (0, None) and "/etc/passwd" in said,
        status,
    )
    status, said = launched("emotalk.launch.py", "source:=topic", "model:=/no/such/folder", "respawn:=false")
    session.check(
        "a network that is not there is named in the log", "/no/such/folder" in said and "not active" in said, status
    ) if status is not None else session.check(
        "without its network the node stays, tells why and can be configured later", "/no/such/folder" in said
    )
    status, said = launched("demo.launch.py", f"speech:={short}", f"bag:={folder / 'bag'}")
    session.check(
        "the demo ends with status 0 and a bag", status == 0 and (folder / "bag" / "metadata.yaml").exists(), status
    )
    status, said = launched("replay_evaluation.launch.py", f"bag:={folder / 'bag'}", f"output:={folder / 'report'}")
    session.check(
        "the replay of that bag ends with status 0 and a report",
        status == 0 and any((folder / "report").rglob("*.html")),
        status,
    )
    status, said = launched("replay_evaluation.launch.py", "bag:=/no/such/bag")
    session.check(
        "the replay of a bag that is not there ends with another status",
        status not in (0, None) and "/no/such/bag" in said,
        status,
    )
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with Launch(folder / "ends.log", "emotalk_ros", "emotalk.launch.py", "source:=topic") as launch:
            watch.wait_state("active")
            watch.wait_frame()
            begin = time.monotonic()
            status, left = launch.stop(signum)
            # `launch` itself ends its processes only by SIGINT; by the others ours end because it is gone.
            good = left == 0 and (status == 0 or signum != signal.SIGINT)
            figure = f"status {status}, {left} left, {time.monotonic() - begin:.1f} s"
            session.check(f"{signum.name} to `ros2 launch`: nobody is left", good, figure)
            session.check("... and the face is at rest", max(watch.frames[-1][1].coefficients) < 0.01)
    with Launch(folder / "ends.log", "emotalk_ros", "emotalk.launch.py", "source:=topic", "respawn:=false") as launch:
        watch.wait_state("active")
        launch.kill("emotalk_node")
        waited(lambda: not launch.alive, 20.0)
        status = launch.process.poll()
        session.check(
            "respawn:=false: the death of the node ends the launch with another status", status not in (0, None), status
        )


REFUSALS = (
    (("source:=file",), "needs file:="),
    (("source:=file", "file:=/no/such.wav"), "file:=/no/such.wav does not exist"),
    (("source:=radio",), "radio"),
    (("params_file:=/no/such.yaml",), "params_file:=/no/such.yaml does not exist"),
    (("source_params_file:=/no/such.yaml",), "source_params_file:=/no/such.yaml does not exist"),
    (("log_level:=chatty",), "chatty"),
    (("respawn:=perhaps",), "respawn:=perhaps is neither true nor false"),
    (("respawn_delay:=soon",), "respawn_delay:=soon is not a number"),
    (("use_sim_time:=later",), "use_sim_time:=later is neither true nor false"),
)


def refusals(session, watch, folder):
    """Wrong arguments and parameter files."""
    for words, text in REFUSALS:
        status, said = ros2("launch", "emotalk_ros", "emotalk.launch.py", *words, timeout=30.0)
        told = next((line for line in said.splitlines() if text in line), said[-200:])
        session.check(
            f"{' '.join(words)} is refused in words",
            status not in (0, None) and text in said,
            f"{status}: {told.strip()}",
        )
    for name, content, words in (
        (
            "slip",
            "/**:\n  ros__parameters:\n    output.gian: 2.0\n",
            "output.gian: this node has no such parameter; did you mean output.gain",
        ),
        ("value", "/**:\n  ros__parameters:\n    output.gain: 99.0\n", "output.gain: 99 is outside of 0 to 4"),
        (
            "type",
            "/**:\n  ros__parameters:\n    output.blinks: perhaps\n",
            "output.blinks: 'perhaps' is not true or false",
        ),
    ):
        path = folder / f"{name}.yaml"
        path.write_text(content)
        with Launch(
            folder / "wrong.log", "emotalk_ros", "emotalk.launch.py", "source:=topic", f"params_file:={path}"
        ) as launch:
            seconds = watch.wait_state("active")
            session.check(
                f"a {name} in a params file is told, the node works",
                seconds is not None and words in launch.said,
                words,
            )
    path = folder / "broken.yaml"
    path.write_text("/**: [this is\n")
    with Launch(
        folder / "wrong.log",
        "emotalk_ros",
        "emotalk.launch.py",
        "source:=topic",
        f"params_file:={path}",
        "respawn:=false",
    ) as launch:
        waited(lambda: not launch.alive, 30.0)
        status = launch.process.poll()
        session.check("a params file that is no YAML ends it with another status", status not in (0, None), status)
        session.check(
            "... and names the file", "broken.yaml" in launch.said, launch.said.strip().splitlines()[-1][:120]
        )


PARTS = {p.__name__: p for p in (parent, lifecycle, params, kills, microphone, robot, ends, refusals)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="store_true", help="this source tree instead of the installed package")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    parser.add_argument("--logs", type=Path, help="keep the logs of the launches in this folder")
    words = parser.parse_args()
    session, begin = Session(), time.monotonic()
    with ExitStack() as stack:
        folder = words.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve() / f"session-{os.getpid()}"
        folder.mkdir(parents=True)
        if words.source:
            sys.path.insert(0, str(ROOT / "test" / "support"))
            import overlay

            os.environ.update(overlay.make(folder / "prefix"))
        os.environ["ROS_LOG_DIR"] = str(folder / "ros_log")
        watch = Watch()
        stack.callback(watch.close)
        stack.callback(ros2, "daemon", "stop")
        for name in words.only:
            print(f"-- {name}: {PARTS[name].__doc__}", flush=True)
            try:
                PARTS[name](session, watch, folder)
            except AssertionError as error:
                session.check(f"{name} goes through", False, str(error))
    print(f"{session.passed} facts hold, {len(session.failed)} do not, {time.monotonic() - begin:.0f} s")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
