"""The demo: three nodes in three processes over DDS, and a look at what they recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from emotalk_ros.audio import AudioFile
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.processes import Crew, NodeSpec, free_domain

LOADING = 240.0
"""Seconds that loading the network may take on a busy machine."""
PATIENCE = 30.0
"""Seconds without a frame after which none is expected any more."""


class DemoError(RuntimeError):
    """The demo can't go on; the message says why."""


@dataclass(frozen=True)
class DemoFiles:
    """What the demo reads and writes, in the folder `folder`."""

    speech: Path
    folder: Path

    @property
    def bag(self) -> Path:
        """The recording."""
        return self.folder / "face_bag"

    @property
    def picture(self) -> Path:
        """The picture."""
        return self.folder / "face.png"

    @property
    def log(self) -> Path:
        """What the nodes said."""
        return self.folder / "nodes.log"


def run_nodes(files: DemoFiles, model: str, progress: Callable[[str, float], None]) -> None:
    """Play, animate, record; returns when the bag is complete.

    Args:
        files: see `DemoFiles`.
        model: folder of the network; empty for the one that ships.
        progress: takes the stage and how much of it is done (0..1).

    Raises:
        DemoError: a node failed; the message quotes its log.
    """
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # nobody else's robot shall move
    domain = free_domain()
    with AudioFile(files.speech) as audio:
        expected = -(-audio.frames * 30 // audio.sample_rate)
    files.folder.mkdir(parents=True, exist_ok=True)
    with files.log.open("wb") as log, Crew({"ROS_DOMAIN_ID": str(domain)}, output=log) as crew:
        for spec in _specs(files, model):
            crew.start(spec)
        rclpy.init(args=[], domain_id=domain)
        try:
            _follow(crew, expected, files.log, progress)
        finally:
            rclpy.try_shutdown()
        progress("recording", 1.0)
        ends = crew.stop()
        if ends.get("recorder_node"):
            raise DemoError(f"the recorder failed:\n{_tail(files.log)}")


def _specs(files: DemoFiles, model: str) -> list[NodeSpec]:
    network: dict[str, object] = {"model.path": model} if model else {}
    play = {"file": files.speech.resolve(), "subscribers": 2, "subscriber_timeout": LOADING}
    return [
        NodeSpec("recorder_node", {"output": files.bag, "overwrite": True, "source_last": True}, essential=True),
        NodeSpec("emotalk_node", {"autostart": True, "exit_on_failure": True, **network}, essential=True),
        NodeSpec("audio_file_node", play),
    ]


def _follow(crew: Crew, expected: int, log: Path, progress: Callable[[str, float], None]) -> None:
    """Watch the frames until the last one has come, or none comes any more."""
    node = rclpy.create_node("demo")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    latest = [-1]

    def take(message: BlendshapeCoefficients) -> None:
        if message.kind == message.SPEECH:
            latest.append(message.frame)

    node.create_subscription(BlendshapeCoefficients, "blendshapes", take, QoSProfile(depth=500))
    begun = changed = time.monotonic()
    seen = -1
    while seen < expected - 1:
        executor.spin_once(timeout_sec=0.1)
        end = crew.ended()
        if end:
            raise DemoError(f"{end[0]} ended with status {end[1]}:\n{_tail(log)}")
        now = time.monotonic()
        if latest[-1] != seen:
            seen, changed = latest[-1], now
        if now - changed > (PATIENCE if seen >= 0 else LOADING):
            break  # the check of the recording tells what is missing
        if seen >= 0:
            progress("speaking", (seen + 1) / expected)
        else:
            progress("loading", 1.0 - 1.0 / (1.0 + 0.2 * (now - begun)))
    deadline = time.monotonic() + 0.7  # the recorder, too, shall have the last frame
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
