"""Live Link Face as a source: what a phone sends to UDP port 11111 goes out on `blendshapes`, for bags and robots."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.node import Node

from emotalk_ros.bridges import LiveLinkReceiver
from emotalk_ros.bridges.udp import TargetError
from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import blendshapes
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program

PARAMETERS = (
    Row("port", 11111, "UDP port that the phone sends to", low=1, high=65535, live=False),
    Row("subject", "", "name of the face in the app; empty: the first that comes", live=False),
    Row("frame_id", "", "frame_id of the messages"),
)
"""Parameters of the receiver node."""


class LiveLinkReceiverNode(Node):
    """Raises NodeError when the port is taken. Stamps are times of arrival: the phone's clock is another one."""

    def __init__(self, **options: Any) -> None:
        super().__init__("livelink_receiver", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        try:
            self._receiver = LiveLinkReceiver(self._table["port"])
        except TargetError as error:
            raise NodeError(str(error)) from error
        self._publisher = self.create_publisher(BlendshapeCoefficients, "blendshapes", 10)
        self._subject = str(self._table["subject"])
        self._count = 0
        self._silent = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="receiver", daemon=True)
        self._diagnostics = DiagnosticPublisher(self, self._report, f"udp:{self._receiver.port}")
        self._thread.start()
        self.get_logger().info(f"UDP port {self._receiver.port} to {self._publisher.topic_name}")

    def _receive(self) -> None:
        for frame in self._receiver.frames(timeout=0.5, ending=self._over.is_set):
            self._silent = frame is None
            if frame is None:
                continue
            self._subject = self._subject or frame.subject
            if frame.subject != self._subject:
                continue
            stamp = self.get_clock().now().nanoseconds
            nothing = np.zeros(0, dtype=np.float32)
            face = FaceFrame(frame.frame, stamp, frame.coefficients, 1.0, nothing, head=frame.angles[:3])
            message = blendshapes(face, self._count, self._table["frame_id"])
            self._publisher.publish(message)
            self._count += 1

    def _report(self) -> Report:
        report = Report()
        if self._silent:
            report.warn("no frame comes: set this machine's address and port in the app, and start streaming")
        report.show({"subject": self._subject, "frames": self._count, "packets_refused": self._receiver.refused})
        return report

    def close(self) -> None:
        """End the thread before the publisher goes."""
        self._over.set()
        self._thread.join(timeout=2.0)
        self._receiver.close()


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `livelink_receiver_node`."""
    run_program("livelink_receiver_node", __doc__ or "", PARAMETERS, LiveLinkReceiverNode, args)
