"""The servo node over real topics: limits kept, rest when told, when stale, at the end."""

import signal
import time

import numpy as np
import pytest
from graph import wait_until
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Int32MultiArray
from std_srvs.srv import SetBool

from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.messages import blendshapes
from emotalk_ros.servos import load_servo_map
from emotalk_ros.share import candidate_paths

MAP = next(path for path in candidate_paths("config/servos/head_3.yaml") if path.exists())


@pytest.fixture
def listen(graph):
    made = []

    def subscribe(kind, topic):
        seen = []
        made.append(graph.node.create_subscription(kind, topic, seen.append, 1000))
        return seen

    yield subscribe
    for subscription in made:
        graph.node.destroy_subscription(subscription)


def speak(publisher, seconds, opening):
    """A jaw that is open for `seconds`, 30 frames a second."""
    values = np.zeros(52, np.float32)
    values[BlendshapeCoefficients.JAW_OPEN] = opening
    begin = time.time_ns()
    for index in range(round(seconds * 30)):
        stamp = begin + round(index * 1e9 / 30)
        publisher.publish(blendshapes(FaceFrame(index, stamp, values, 1.0, np.zeros(0)), index))
        time.sleep(max(0.0, (stamp + 33_000_000 - time.time_ns()) / 1e9))


def test_it_follows_rests_and_keeps_its_limits(graph, listen):
    commands = listen(Float64MultiArray, "/robot/commands")
    face = graph.node.create_publisher(BlendshapeCoefficients, "/robot/blendshapes", 100)
    node = graph.start("servo_node", {"wait_for_joints": 0.2}, arguments=["-r", "__ns:=/robot"])
    wait_until(lambda: face.get_subscription_count() and commands, 60.0, "the servo node")
    speak(face, 1.5, 0.8)
    wait_until(lambda: commands[-1].data[0] > 0.4, 5.0, "an open jaw")
    wait_until(lambda: commands[-1].data[0] == 0.0, 5.0, "rest when no frame comes any more")
    rest = graph.node.create_client(SetBool, "/robot/servo/rest")
    assert rest.wait_for_service(10.0)
    answer = rest.call_async(SetBool.Request(data=True))
    wait_until(answer.done, 10.0, "the answer")
    assert answer.result().success
    speak(face, 0.7, 0.8)
    assert commands[-1].data[0] == 0.0
    wait_until(rest.call_async(SetBool.Request(data=False)).done, 10.0, "the answer")
    speak(face, 1.0, 0.8)
    assert commands[-1].data[0] > 0.3
    assert node.stop(signal.SIGINT) == 0
    time.sleep(0.2)
    assert commands[-1].data[0] == pytest.approx(0.0, abs=1e-3)
    jaw = load_servo_map(MAP).joints["jaw"]
    angles = np.array([message.data[0] for message in commands])
    assert angles.min() >= jaw.limits[0] and angles.max() <= jaw.limits[1]
    assert np.abs(np.diff(angles)).max() * 50 <= jaw.speed + 1e-6


def test_it_starts_from_where_the_joints_are(graph, listen):
    counts = listen(Int32MultiArray, "/other/counts")
    joints = graph.node.create_publisher(JointState, "/other/joint_states", 10)
    node = graph.start("servo_node", {"output": "counts", "wait_for_joints": 30.0}, arguments=["-r", "__ns:=/other"])
    wait_until(lambda: joints.get_subscription_count() and graph.node.count_publishers("/other/counts"), 60.0, "it")
    time.sleep(0.3)
    joints.publish(JointState(name=["jaw", "brows", "mouth_corners"], position=[0.4, 0.0, 0.0]))
    wait_until(lambda: len(counts) > 50, 20.0, "counts")
    assert node.stop() == 0
    jaw = [message.data[0] for message in counts]
    assert jaw[0] > 2048 + 200 and jaw[-1] == 2048
    assert np.abs(np.diff(jaw)).max() < 8.0 / 50 * 4096 / (2 * np.pi) + 1


def test_joints_with_a_dead_band_rest_exactly(graph, listen):
    """The twelve joints of face_12 have dead bands: after a face they come back to zero, not nearly."""
    states = listen(JointState, "/twelve/joint_commands")
    face = graph.node.create_publisher(BlendshapeCoefficients, "/twelve/blendshapes", 100)
    path = MAP.with_name("face_12.yaml")
    settings = {"map": str(path), "output": "joint_state", "wait_for_joints": 0.1}
    node = graph.start("servo_node", settings, arguments=["-r", "__ns:=/twelve"])
    wait_until(lambda: face.get_subscription_count() and states, 60.0, "the servo node")
    values = np.full(52, 0.3, np.float32)
    for index in range(30):
        face.publish(blendshapes(FaceFrame(index, time.time_ns(), values, 1.0, np.zeros(0)), index))
        time.sleep(1 / 30)
    zero = [joint.zero for joint in load_servo_map(path).joints.values()]
    assert np.abs(np.array(states[-1].position) - zero).max() > 0.05
    wait_until(lambda: list(states[-1].position) == zero and not any(states[-1].velocity), 5.0, "rest")
    assert node.stop() == 0


def test_a_wrong_map_ends_it_with_the_reason(graph, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("joints: {jaw: {weights: {jaw_open: 1}, limits: [0, 1]}}")
    node = graph.start("servo_node", {"map": str(path)})
    assert node.process.wait(60) == 1
    assert "no coefficient is called 'jaw_open'" in node.log
