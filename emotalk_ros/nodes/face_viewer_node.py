"""The live page from ROS topics: the faces of one or several robots side by side, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from emotalk_ros.audio import AudioFormatError, decode_pcm
from emotalk_ros.emotions import EMOTIONS, canonical
from emotalk_ros.face import default_face
from emotalk_ros.face.aliases import read_mapping
from emotalk_ros.face.gltf_writer import default_surfaces, glb_bytes
from emotalk_ros.live import Feed, LiveFrame, LiveServer, LiveSettings
from emotalk_ros.live.avatar import check_avatar
from emotalk_ros.live.frames import SOUND, write_audio
from emotalk_ros.live.server import PortError
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionState
from emotalk_ros.nodes.bridge_nodes import frame_of
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import from_time
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program
from emotalk_ros.units import NS

_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)

PARAMETERS = (
    Row("robots", [""], "namespaces of the faces to show, side by side; an empty one is this node's own", live=False),
    Row("host", "127.0.0.1", "address to serve on; 0.0.0.0: all, with a token", live=False),
    Row("port", 8765, "port of the page; 0: any free one", low=0, high=65535, live=False),
    Row("token", "", "secret in the page's address; empty: a new one where needed", live=False),
    Row("avatar", "", "GLB or VRM avatar; empty: the project's own face", live=False),
    Row("mapping", "", "YAML file that names the avatar's morph targets; empty: none", live=False),
    Row("visitors", 8, "pages at a time", low=1, high=256, live=False),
    Row("sound", True, "play what is published on `audio`, delayed to meet the lips", live=False),
)
"""Parameters of the viewer node."""


class RobotFace:
    """One robot's topics as a feed of the page."""

    def __init__(self, node: Node, namespace: str, sound: bool = True) -> None:
        place = namespace.strip("/")
        prefix = f"/{place}/" if place else ""
        self.feed = Feed(place or (node.get_namespace().strip("/") or "face"), EMOTIONS)
        self._emotion = np.zeros(len(EMOTIONS), dtype=np.float32)
        self.subscriptions = [
            node.create_subscription(BlendshapeCoefficients, f"{prefix}blendshapes", self._face, _QOS),
            node.create_subscription(EmotionState, f"{prefix}emotion", self._feeling, _QOS),
        ]
        if sound:
            self.subscriptions.append(node.create_subscription(AudioChunk, f"{prefix}audio", self._sound, _QOS))

    def _face(self, message: BlendshapeCoefficients) -> None:
        frame = frame_of(message)
        self.feed.publish(
            [
                LiveFrame(
                    frame.index & 0xFFFFFFFF,
                    frame.stamp_ns / NS,
                    frame.coefficients,
                    frame.activity,
                    self._emotion,
                    frame.angles,
                )
            ]
        )

    def _feeling(self, message: EmotionState) -> None:
        emotion = np.zeros(len(EMOTIONS), dtype=np.float32)
        for label, probability in zip(message.labels, message.probabilities, strict=False):
            try:
                emotion[EMOTIONS.index(canonical(label))] += probability
            except ValueError:
                continue
        self._emotion = np.nan_to_num(emotion)

    def _sound(self, message: AudioChunk) -> None:
        if not self.feed.watchers:
            return
        try:
            samples = decode_pcm(message.data, message.encoding, message.channels).mean(axis=1)
        except AudioFormatError:
            return  # the emotalk node says what is wrong with it
        whole = (np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype(np.int16)
        time = from_time(message.header.stamp) / NS
        self.feed.send(write_audio(0, message.sample_rate, whole, SOUND, time))


class FaceViewerNode(Node):
    """Serves the page from a thread of its own. Raises NodeError when the address or the avatar cannot be used."""

    def __init__(self, **options: Any) -> None:
        super().__init__("face_viewer", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        values = self._table.values
        self._robots = [RobotFace(self, name, values["sound"]) for name in values["robots"] or [""]]
        try:
            avatar = (
                check_avatar(Path(values["avatar"]))
                if values["avatar"]
                else glb_bytes(default_face(), default_surfaces())
            )
            mapping = read_mapping(values["mapping"]) if values["mapping"] else None
            settings = LiveSettings(
                host=values["host"], port=values["port"], token=values["token"], visitors=values["visitors"]
            )
            self._server = LiveServer(
                None, avatar, settings, feeds=[robot.feed for robot in self._robots], mapping=mapping
            )
            address = self._server.bind()
        except (OSError, ValueError, PortError) as error:
            raise NodeError(str(error)) from error
        self._thread = threading.Thread(target=self._server.run, name="page", daemon=True)
        self._thread.start()
        self._diagnostics = DiagnosticPublisher(self, self._report, address.partition("?")[0])
        self.get_logger().info(f"open {address} in a browser; it shows {', '.join(self._server.feeds)}")

    def _report(self) -> Report:
        report = Report()
        if not self._thread.is_alive():
            report.error("the page's server has ended")
        silent = [name for name, feed in self._server.feeds.items() if not feed.frames]
        if silent:
            report.messages.append(f"no frame yet from {', '.join(silent)}")
        report.show({"pages": len(self._server.sessions)})
        report.show({f"frames_{name}": feed.frames for name, feed in self._server.feeds.items()})
        return report

    def close(self) -> None:
        """End the server."""
        self._server.stop()
        self._thread.join(timeout=10.0)


def watch_robots(namespaces: Sequence[str]) -> tuple[list[Feed], Callable[[], None]]:
    """Feeds of robots' topics for a server that is no node, and what ends them; rclpy runs in a thread of its own."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    rclpy.init(args=[], signal_handler_options=rclpy.SignalHandlerOptions.NO)
    node = Node("emotalk_live")
    faces = [RobotFace(node, namespace) for namespace in namespaces]
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="ros", daemon=True)
    thread.start()

    def end() -> None:
        executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=5.0)
        node.destroy_node()
        rclpy.try_shutdown()

    return [face.feed for face in faces], end


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `face_viewer_node`."""
    run_program("face_viewer_node", __doc__ or "", PARAMETERS, FaceViewerNode, args)
