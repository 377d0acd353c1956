"""What the bridge nodes share: frames from `blendshapes` to an avatar over UDP, with figures of what arrives.

One node for each protocol, in modules of their own: `livelink_node`, `vmc_node`, `ifacialmocap_node`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from emotalk_ros.bridges import OUTPUTS, Output, make_output
from emotalk_ros.bridges.vmc import NAMES
from emotalk_ros.face.aliases import read_mapping
from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import from_time
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, Throttled, run_program

_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
_QUIET = 2.0
"""Seconds without a frame after which diagnostics say so."""


def parameters(protocol: str) -> tuple[Row, ...]:
    """Of a protocol's node."""
    rows = [
        Row(
            "address", "127.0.0.1", f"host or host:port of the avatar's machine (port {OUTPUTS[protocol]})", live=False
        ),
        Row("mapping", "", "YAML file with names and gains of the avatar; empty: none", live=False),
    ]
    if protocol == "vmc":
        rows.append(Row("names", "perfect-sync", "how the avatar calls its shapes", choices=tuple(NAMES), live=False))
    if protocol == "livelink":
        rows.append(Row("subject", "emotalk", "name of the face in Unreal Engine", live=False))
    return tuple(rows)


class BridgeNode(Node):
    """Sends each frame on as it comes; the emotalk node releases them evenly.

    Raises NodeError for an address or a mapping that cannot be used.
    """

    def __init__(self, protocol: str, **options: Any) -> None:
        super().__init__(f"{protocol}_bridge", **options)
        self._table = ParameterTable(self, parameters(protocol), active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._output = self._open(protocol)
        self._frames = 0
        self._heard = self.get_clock().now().nanoseconds
        self._warn = Throttled(self.get_logger().warning, period=10.0)
        self._subscription = self.create_subscription(
            BlendshapeCoefficients,
            "blendshapes",
            self._send,
            _QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        target = self._output.target
        self._diagnostics = DiagnosticPublisher(self, self._report, f"{target.host}:{target.port}")
        self.get_logger().info(f"{self.resolve_topic_name('blendshapes')} to {protocol} at {target.host}:{target.port}")

    def _open(self, protocol: str) -> Output:
        values = self._table.values
        try:
            mapping = read_mapping(values["mapping"]) if values["mapping"] else None
            further = {name: values[name] for name in ("names", "subject") if name in values}
            return make_output(protocol, values["address"], mapping=mapping, **further)
        except (ValueError, OSError) as error:
            raise NodeError(str(error)) from error

    def _send(self, message: BlendshapeCoefficients) -> None:
        self._frames += 1
        self._heard = self.get_clock().now().nanoseconds
        self._output.send(frame_of(message))
        problem = self._output.target.problem
        if problem:
            self._warn("target", problem)

    def _report(self) -> Report:
        report = Report()
        target = self._output.target
        quiet = (self.get_clock().now().nanoseconds - self._heard) / 1e9
        if target.problem:
            report.warn(target.problem)
        elif quiet > _QUIET:
            report.messages.append(f"no frame on {self.resolve_topic_name('blendshapes')} since {quiet:.0f} s")
        report.show({"frames": self._frames, "packets": target.sent, "packets_lost": target.lost})
        return report

    def close(self) -> None:
        """Close the socket."""
        self._output.close()


def frame_of(message: BlendshapeCoefficients) -> FaceFrame:
    """A message as a frame; what is not finite is 0."""
    coefficients = np.nan_to_num(np.asarray(message.coefficients, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    head = np.nan_to_num(np.asarray(message.head, dtype=np.float32))
    return FaceFrame(
        index=int(message.frame),
        stamp_ns=from_time(message.header.stamp),
        coefficients=np.clip(coefficients, 0.0, 1.0),
        activity=float(message.speech_activity),
        emotion=np.zeros(0, dtype=np.float32),
        head=head if head.any() else None,
    )


def program(protocol: str, about: str) -> Callable[[Sequence[str] | None], None]:
    """The `main` of a protocol's node."""

    def main(args: Sequence[str] | None = None) -> None:
        run_program(f"{protocol}_node", about, parameters(protocol), partial(BridgeNode, protocol), args)

    return main
