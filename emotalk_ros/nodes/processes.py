"""Nodes as child processes of one command: started together, watched, ended in order. Imports no ROS."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO, BinaryIO

PARENT_VARIABLE = "EMOTALK_PARENT"
"""Process id of the command; a node ends when that is no longer its parent."""


class RosMissingError(RuntimeError):
    """ROS 2, or this package's messages, can't be imported; the message names the remedy."""


def check_ros() -> None:
    """Raise RosMissingError unless nodes can run here."""
    remedy = "source a ROS 2 installation and this workspace, or run scripts/setup.sh and use .venv/bin/emotalk"
    if find_spec("rclpy") is None:
        raise RosMissingError(f"ROS 2 is not available (no module rclpy): {remedy}")
    if find_spec("emotalk_ros.msg") is None:
        raise RosMissingError(f"the messages of emotalk_ros are not built: {remedy}")


def with_ros2(words: str, otherwise: str) -> str:
    """Advice: `words` where the program `ros2` is there, else what helps without it."""
    return words if shutil.which("ros2") else otherwise


def parameter(name: str, value: object) -> list[str]:
    """Words for the command line that set a parameter, quoted as YAML where that is needed."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (str, Path)):
        text = "'" + str(value).replace("'", "''") + "'"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(parameter("", item)[1].partition(":=")[2] for item in value) + "]"
    else:
        text = repr(value)
    return ["-p", f"{name}:={text}"]


@dataclass
class NodeSpec:
    """One node to start.

    Attributes:
        program: such as "emotalk_node".
        parameters: by name.
        remappings: topic to topic.
        arguments: further words after --ros-args.
        essential: its end is the end of the whole; otherwise only a failure is.
    """

    program: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    essential: bool = False

    def command(self) -> list[str]:
        """The command line."""
        words = [sys.executable, "-m", "emotalk_ros.nodes", self.program, "--ros-args", *self.arguments]
        for name, value in self.parameters.items():
            words += parameter(name, value)
        for topic, target in self.remappings.items():
            words += ["-r", f"{topic}:={target}"]
        return words


class Crew:
    """Running nodes. A context manager: whatever happens, none of them is left behind.

    Args:
        environment: added to this process's.
        output: where the nodes' words go; None: to this process's.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, output: BinaryIO | None = None) -> None:
        self._output = output
        self._environment = {
            **os.environ,
            "PYTHONSAFEPATH": "1",  # a numpy.py in the user's folder is not numpy
            PARENT_VARIABLE: str(os.getpid()),
            **(environment or {}),
        }
        self._nodes: list[tuple[NodeSpec, subprocess.Popen[bytes]]] = []

    def start(self, spec: NodeSpec) -> subprocess.Popen[bytes]:
        """Start a node in a session of its own: Ctrl-C reaches it through `stop`, once and in order."""
        process = subprocess.Popen(
            spec.command(), env=self._environment, stdout=self._output, stderr=self._output, start_new_session=True
        )
        self._nodes.append((spec, process))
        return process

    def ended(self) -> tuple[str, int] | None:
        """The program and status of a node whose end is the end of the whole, or None while there is none."""
        for spec, process in self._nodes:
            status = process.poll()
            if status is not None and (spec.essential or status != 0):
                return spec.program, status
        return None

    def forget(self, program: str) -> None:
        """Do not report the end of `program` any more."""
        self._nodes = [(spec, process) for spec, process in self._nodes if spec.program != program]

    def stop(self, patience: float = 15.0) -> dict[str, int]:
        """End all nodes, the last started first: SIGINT, after `patience` seconds SIGTERM, then SIGKILL.

        Returns the status of each program.
        """
        for _, process in reversed(self._nodes):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for signum, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0), (None, 5.0)):
            deadline = time.monotonic() + seconds
            alive = [process for _, process in self._nodes if not _wait(process, deadline)]
            for process in alive:
                if signum is not None:
                    process.send_signal(signum)
        return {spec.program: process.poll() or 0 for spec, process in self._nodes}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _wait(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def free_domain() -> int:
    """A ROS domain that no other command or test of this package uses on this machine, kept until this process ends.

    Raises OSError when there is none.
    """
    for domain in random.SystemRandom().sample(range(1, 102), 101):
        try:
            lock = open(Path(tempfile.gettempdir()) / f"emotalk_ros_domain_{domain}.lock", "a")  # noqa: SIM115
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or another user's
            continue
        _held_domains.append(lock)
        return domain
    raise OSError("all ROS domains from 1 to 101 are in use by emotalk_ros on this machine")


_held_domains: list[IO[str]] = []


def interrupt_on_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that its nodes are ended too; and SIGINT also where a script
    started it in the background, which makes Python ignore it."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
