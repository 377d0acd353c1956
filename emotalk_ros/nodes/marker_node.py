"""The marker node: the face as a mesh for RViz and Foxglove: `face_marker`, visualization_msgs/Marker (TRIANGLE_LIST).

A marker carries the corners of all triangles, each time: 40 bytes a corner with its colour. `rate` and `cell` keep
that bearable (docs/nodes.md has the figures), and none is made while nobody listens. The face looks along +x of
`frame_id`, +z is up, lengths are metres; the head's yaw, pitch and roll turn it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from emotalk_ros.face import FaceBasis, default_face, read_basis
from emotalk_ros.face.simplify import simplified
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.bridge_nodes import frame_of
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program
from emotalk_ros.units import NS

PARAMETERS = (
    Row("rate", 10.0, "markers per second at most", 0.1, 60.0),
    Row("cell", 6.0, "mm within which vertices become one; 0: the whole mesh", 0.0, 50.0, live=False),
    Row("face", "", "mesh with the 52 shapes (GLB, npz, folder of OBJ files); empty: the project's own", live=False),
    Row("frame_id", "face", "frame of the marker", live=False),
)
"""Parameters of the marker node."""

_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_SKIN = (205, 160, 135)


class MarkerNode(Node):
    """See the module. Raises NodeError where visualization_msgs is not installed, or the mesh cannot be read."""

    def __init__(self, **options: Any) -> None:
        super().__init__("face_marker", **options)
        try:
            from visualization_msgs.msg import Marker
        except ImportError as error:
            raise NodeError(
                f"visualization_msgs is not installed ({error}): apt install ros-$ROS_DISTRO-visualization-msgs, "
                "or with the wheels: pip install ros-jazzy-visualization-msgs"
            ) from error
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        try:
            face = read_basis(self._table["face"]) if self._table["face"] else default_face()
        except (OSError, ValueError) as error:
            raise NodeError(f"face: {error}") from error
        self._mesh = MarkerBytes(face, self._table["cell"], self._table["frame_id"])
        self._made, self._frames, self._next = 0, 0, 0
        self._publisher = self.create_publisher(Marker, "face_marker", 2)
        self.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, _QOS)
        self._diagnostics = DiagnosticPublisher(self, self._report, face.name)
        self.get_logger().info(
            f"{self._publisher.topic_name}: {self._mesh.triangles} triangles, {self._mesh.size / 1e6:.2f} MB a marker, "
            f"at most {self._mesh.size * self._table['rate'] / 1e6:.1f} MB/s"
        )

    def _on_face(self, message: BlendshapeCoefficients) -> None:
        self._frames += 1
        now = self.get_clock().now().nanoseconds
        period = round(NS / self._table["rate"])
        if now < self._next or not self._publisher.get_subscription_count():
            return
        # Evenly, but not all at once after a pause.
        self._next = max(self._next + period, now - period)
        frame = frame_of(message)
        stamp = message.header.stamp
        turn = quaternion(frame.angles[:3])
        self._publisher.publish(self._mesh.marker(frame.coefficients, stamp.sec, stamp.nanosec, turn))
        self._made += 1

    def _report(self) -> Report:
        report = Report()
        if self._frames == 0:
            report.warn(f"no face yet on {self.resolve_topic_name('blendshapes')}: is the emotalk node active?")
        report.show({"frames": self._frames, "markers": self._made, "triangles": self._mesh.triangles})
        report.show({"bytes_per_marker": self._mesh.size})
        return report


class MarkerBytes:
    """A marker in its serialized form (CDR), in which only stamp, orientation and corners change from frame to frame.

    rclpy would turn each corner into an object of its own: many times slower than the rest together.

    Args:
        face: mesh in mm.
        cell: see `face.simplify.simplified`.
        frame_id: of the marker.
    """

    def __init__(self, face: FaceBasis, cell: float, frame_id: str) -> None:
        self._face = face
        self._ids, triangles = simplified(face, cell)
        self._corners = triangles.reshape(-1)
        self.triangles = len(triangles)
        self._data, self._turn_at, self._points_at = self._serialized(frame_id)
        self.size = len(self._data)

    def _serialized(self, frame_id: str) -> tuple[bytearray, int, int]:
        """The bytes, and where orientation and corners begin in them."""
        from geometry_msgs.msg import Point
        from std_msgs.msg import ColorRGBA
        from visualization_msgs.msg import Marker

        marker = Marker(ns="face", id=0, type=Marker.TRIANGLE_LIST, action=Marker.ADD)
        marker.header.frame_id = frame_id
        marker.scale.x = marker.scale.y = marker.scale.z = marker.color.a = 1.0
        sign = (0.123456789, 2.3456789, 3.456789, 4.56789)
        turn = marker.pose.orientation
        turn.x, turn.y, turn.z, turn.w = sign
        marker.points = [Point(x=sign[3], y=sign[2], z=sign[1])] * len(self._corners)
        colours = self._face.colours if self._face.colours is not None else np.tile(_SKIN, (len(self._face), 1))
        shades = [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in (colours[self._ids] / 255.0).tolist()]
        marker.colors = [shades[corner] for corner in self._corners]
        data = bytearray(serialize_message(marker))
        points = struct.pack("<3d", sign[3], sign[2], sign[1])
        turn_at, points_at = data.find(struct.pack("<4d", *sign)), data.find(points)
        if min(turn_at, points_at) < 0 or data[points_at : points_at + 24 * len(self._corners)] != points * len(
            self._corners
        ):
            raise NodeError("the middleware serializes markers in another way than CDR, little endian")
        return data, turn_at, points_at

    def marker(self, coefficients: ArrayLike, sec: int, nanosec: int, turn: Sequence[float]) -> bytes:
        """The serialized marker of a face (52,); `turn` is its orientation as a quaternion x, y, z, w."""
        vertices = self._face.vertices(np.asarray(coefficients)[None], self._ids)[0]
        # +x left, +y up, +z forward in mm become x forward, y left, z up in m.
        corners = (vertices[:, [2, 0, 1]] / 1000.0).astype("<f8")[self._corners]
        data = self._data
        struct.pack_into("<iI", data, 4, sec, nanosec)
        struct.pack_into("<4d", data, self._turn_at, *turn)
        data[self._points_at : self._points_at + corners.nbytes] = corners.tobytes()
        return bytes(data)


def quaternion(angles: NDArray[np.float32] | Sequence[float]) -> tuple[float, float, float, float]:
    """x, y, z, w of a head's yaw to its left, pitch up and roll to its left shoulder, radians."""
    yaw, pitch, roll = float(angles[0]), -float(angles[1]), -float(angles[2])
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `marker_node`."""
    run_program("marker_node", __doc__ or "", PARAMETERS, MarkerNode, args)
