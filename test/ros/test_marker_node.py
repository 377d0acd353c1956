"""The face as a marker: what is serialized is a marker with the face's corners, and none is made while nobody looks."""

import math
import time

import numpy as np
import pytest
from graph import wait_until
from rclpy.serialization import deserialize_message
from visualization_msgs.msg import Marker

from emotalk_ros.face import INDEX, default_face
from emotalk_ros.face.simplify import simplified
from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.marker_node import MarkerBytes, quaternion
from emotalk_ros.nodes.messages import blendshapes


def corners_of(marker):
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def test_the_bytes_are_a_marker_with_the_corners_of_the_face():
    face = default_face()
    jaw = np.zeros(52, np.float32)
    jaw[INDEX["jawOpen"]] = 1.0
    mesh = MarkerBytes(face, 10.0, "head")
    marker = deserialize_message(mesh.marker(jaw, 12, 34, (0.0, 0.0, 0.6, 0.8)), Marker)
    assert (marker.header.stamp.sec, marker.header.stamp.nanosec, marker.header.frame_id) == (12, 34, "head")
    assert marker.type == Marker.TRIANGLE_LIST and marker.scale.x == 1.0 and marker.color.a == 1.0
    assert (marker.pose.orientation.z, marker.pose.orientation.w) == (0.6, 0.8)
    ids, triangles = simplified(face, 10.0)
    expected = face.vertices(jaw[None], ids)[0][triangles.reshape(-1)] / 1000.0
    np.testing.assert_allclose(corners_of(marker), expected[:, [2, 0, 1]], atol=1e-6)
    assert len(marker.colors) == len(marker.points) == 3 * mesh.triangles
    closed = deserialize_message(mesh.marker(np.zeros(52), 12, 35, (0.0, 0.0, 0.0, 1.0)), Marker)
    assert closed.pose.orientation.w == 1.0 and np.abs(corners_of(closed) - corners_of(marker)).max() > 0.02


@pytest.mark.parametrize(
    ("angles", "direction", "moved"),  # the nose looks along +x, the crown along +z, +y is the face's left
    [
        ((0.3, 0, 0), (1, 0, 0), (math.cos(0.3), math.sin(0.3), 0)),
        ((0, 0.3, 0), (1, 0, 0), (math.cos(0.3), 0, math.sin(0.3))),
        ((0, 0, 0.3), (0, 0, 1), (0, math.sin(0.3), math.cos(0.3))),
    ],
)
def test_the_head_turns_left_up_and_towards_its_left_shoulder(angles, direction, moved):
    x, y, z, w = quaternion(angles)
    axis, vector = np.array([x, y, z]), np.array(direction, float)
    turned = vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)
    np.testing.assert_allclose(turned, moved, atol=1e-6)


def test_markers_come_at_their_rate_while_somebody_looks(graph):
    faces = graph.node.create_publisher(BlendshapeCoefficients, "/seen/blendshapes", 10)
    node = graph.start("marker_node", {"rate": 5.0, "cell": 12.0}, arguments=["-r", "__ns:=/seen"])
    wait_until(faces.get_subscription_count, 60.0, "the node")

    def speak(seconds):
        begin = time.time_ns()
        for index in range(round(30 * seconds)):
            stamp = begin + index * 33_333_333
            frame = FaceFrame(index, stamp, np.full(52, 0.2, np.float32), 1.0, np.zeros(0), head=np.array([0.2, 0, 0]))
            faces.publish(blendshapes(frame, index))
            time.sleep(max(0.0, (stamp + 33_333_333 - time.time_ns()) / 1e9))

    speak(1.0)
    _, _, values = wait_until(lambda: graph.status("face_marker"), 10.0, "diagnostics")
    assert values["markers"] == "0"
    markers = []
    looking = graph.node.create_subscription(Marker, "/seen/face_marker", markers.append, 10)
    wait_until(lambda: graph.node.count_publishers("/seen/face_marker"), 10.0, "the topic")
    time.sleep(1.0)
    speak(3.0)
    time.sleep(0.5)
    graph.node.destroy_subscription(looking)
    assert 8 <= len(markers) <= 17  # 15 on an idle machine
    assert markers[-1].header.frame_id == "face" and markers[-1].pose.orientation.z == pytest.approx(math.sin(0.1))
    assert node.stop() == 0
