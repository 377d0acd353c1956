"""The recorder node: topics into a rosbag2 (mcap), for installations without `ros2 bag`.

The bag appears under its name only when it is complete; until then it grows in a hidden folder beside it. Messages
are written as they came (serialized), with their definitions and type hashes, so that `ros2 bag info` and `play`
understand them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from emotalk_ros.bags.messages import installed_types, type_description
from emotalk_ros.bags.writing import BagWriter
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, Throttled, run_program

PARAMETERS = (
    Row("output", "recording", "folder of the bag to write", live=False),
    Row(
        "topics",
        ["audio", "blendshapes", "emotion"],
        "topics to record, relative to the namespace or absolute",
        live=False,
    ),
    Row(
        "source_last",
        False,
        "take up the first topic only when all others are connected, so that a source that waits for its listeners "
        "plays when nothing of the answer can be lost",
        live=False,
    ),
    Row("storage", "mcap", "file format of the bag", choices=("mcap", "sqlite3"), live=False),
    Row("overwrite", False, "replace a bag of that name", live=False),
)
"""Parameters of the recorder node."""

DEPTH = 2000
"""Messages a topic may be behind while the disk is slow."""


class RecorderNode(Node):
    """Subscribes to each topic as soon as its type is known, with the reliability that its publishers offer.

    Raises NodeError when the bag exists already or its folder can't be written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        try:
            self._bag = BagWriter(self._table["output"], self._table["storage"], self._table["overwrite"])
        except OSError as error:
            raise NodeError(str(error)) from error
        self._waiting = [self.resolve_topic_name(topic) for topic in self._table["topics"]]
        self._source = self._waiting[0] if self._waiting else ""
        self._found: list[Subscription] = []
        self._failure = ""
        self.exit_status = 0
        self._warn = Throttled(self.get_logger().warning, period=10.0)
        self._search = self.create_timer(0.05, self._subscribe_known)
        self._diagnostics = DiagnosticPublisher(self, self._report, str(self._bag.output))
        self.get_logger().info(f"recording {', '.join(self._waiting)} to {self._bag.output}")

    def _subscribe_known(self) -> None:
        for topic in list(self._waiting):
            if self._table["source_last"] and topic == self._source and not self._others_connected():
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            types = sorted({info.topic_type for info in publishers})
            if len(types) > 1:
                self._warn(topic, f"{topic} has several types ({', '.join(types)}); recording {types[0]}")
            try:
                self._subscribe(topic, types[0], publishers)
            except (LookupError, ImportError, AttributeError) as error:
                self._warn(f"type {topic}", f"{topic} can't be recorded: {error}")
                continue
            self._waiting.remove(topic)
        if not self._waiting:
            self._search.cancel()

    def _subscribe(self, topic: str, type_name: str, publishers: Sequence[TopicEndpointInfo]) -> None:
        package, _, name = type_name.split("/")
        kind = getattr(import_module(f"{package}.msg"), name)
        description = type_description(installed_types(type_name), type_name)
        self._bag.add_topic(topic, type_name, *description, [_offered(info.qos_profile) for info in publishers])
        found = self.create_subscription(kind, topic, self._writer(topic), _matching(publishers), raw=True)
        self._found.append(found)

    def _others_connected(self) -> bool:
        return self._waiting == [self._source] and all(found.get_publisher_count() for found in self._found)

    def _writer(self, topic: str) -> Callable[[Any], None]:
        def write(data: bytes) -> None:
            if self._failure:
                return
            try:
                self._bag.write(topic, self.get_clock().now().nanoseconds, data)
            except OSError as error:
                self._give_up(error)

        return write

    def _give_up(self, error: OSError) -> None:
        """Record no more, and leave what there is: a face does not stop because its recorder does."""
        if self._failure:
            return
        self._failure = (
            f"the bag {self._bag.output} can't be written any more ({error.strerror or error}); what was recorded "
            f"until now lies in {self._bag.part} and can be read by emotalk replay"
        )
        self.exit_status = 1
        self.get_logger().error(self._failure)
        self._search.cancel()
        self._bag.abandon()

    def _report(self) -> Report:
        report = Report()
        if self._failure:
            report.error(self._failure)
        if self._waiting:
            report.warn(f"nobody publishes {', '.join(self._waiting)}")
        report.show({"output": self._bag.output, **self._bag.counts})
        return report

    def close(self) -> None:
        """Finish the bag."""
        if self._failure:
            print(self._failure, file=sys.stderr)
            return
        try:
            self._bag.close()
        except OSError as error:
            raise NodeError(
                f"the bag {self._bag.output} could not be finished ({error}); it lies unfinished in {self._bag.part}"
            ) from error
        counts = ", ".join(f"{topic} {count}" for topic, count in sorted(self._bag.counts.items()))
        print(f"recorded {self._bag.output}: {counts or 'no message'}", file=sys.stderr)


def _offered(profile: QoSProfile) -> Qos:
    """rclpy's profile in rosbag2's terms; enumerations share their numbers, infinite times are rmw's largest."""
    forever = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory(profile.history.value) if profile.history.value in (1, 2) else QosHistory.UNKNOWN,
        depth=profile.depth,
        reliability=QosReliability(profile.reliability.value),
        durability=QosDurability(profile.durability.value),
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def _matching(publishers: Sequence[TopicEndpointInfo]) -> QoSProfile:
    """The strictest profile that all of `publishers` satisfy."""
    offers = [info.qos_profile for info in publishers]
    reliable = bool(offers) and all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = bool(offers) and all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `recorder_node`."""
    run_program("recorder_node", __doc__ or "", PARAMETERS, RecorderNode, args)
