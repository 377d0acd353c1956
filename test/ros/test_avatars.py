"""Bridges, receiver and viewer over real topics and real sockets."""

import threading
import time

import httpx
import numpy as np
from graph import wait_until

from emotalk_ros.bridges import LiveLinkReceiver, ifacialmocap, make_output
from emotalk_ros.bridges.drive import Driver, frames_of
from emotalk_ros.bridges.udp import UdpTarget
from emotalk_ros.live.frames import read_frames
from emotalk_ros.motion import FaceFrame
from emotalk_ros.msg import BlendshapeCoefficients, EmotionState
from emotalk_ros.nodes.messages import blendshapes, emotion_state

MOTION = np.random.default_rng(4).random((45, 52)).astype(np.float32)


def show(publisher, motion=MOTION, pace=0.033):
    begin = time.time_ns()
    for k, values in enumerate(motion):
        head = np.array([0.1, 0.2, 0.3], np.float32)
        face = FaceFrame(k, begin + k * 33_333_333, values, 1.0, np.zeros(0, np.float32), head=head)
        publisher.publish(blendshapes(face, k))
        time.sleep(pace)


def test_two_robots_two_protocols(graph):
    """One robot's face goes to Unreal, the other's to iFacialMocap; a bridge to nowhere says so and goes on."""
    import socket

    live_link = LiveLinkReceiver(0, "127.0.0.1")
    text = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    text.bind(("127.0.0.1", 0))
    text.settimeout(10)
    port = text.getsockname()[1]
    faces = {name: graph.node.create_publisher(BlendshapeCoefficients, f"/{name}/blendshapes", 100) for name in "ab"}
    nodes = [
        graph.start("livelink_node", {"address": f"127.0.0.1:{live_link.port}"}, arguments=["-r", "__ns:=/a"]),
        graph.start("ifacialmocap_node", {"address": f"127.0.0.1:{port}"}, arguments=["-r", "__ns:=/b"]),
        graph.start("vmc_node", {"address": "127.0.0.1:9", "names": "vrm0"}, arguments=["-r", "__ns:=/b"]),
    ]
    wait_until(
        lambda: faces["a"].get_subscription_count() and faces["b"].get_subscription_count() == 2, 120.0, "the bridges"
    )
    time.sleep(0.5)
    got = []

    def listen():
        for frame in live_link.frames(3.0):
            if frame is None:
                return
            got.append(frame)

    listener = threading.Thread(target=listen)
    listener.start()
    show(faces["a"])
    show(faces["b"], MOTION[:5])
    listener.join(10)
    assert len(got) == 45
    np.testing.assert_allclose([f.coefficients for f in got], MOTION, atol=1e-6)
    np.testing.assert_allclose(got[0].angles[:3], [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(ifacialmocap.decode(text.recv(8192))[0], MOTION[0], atol=0.0051)
    wait_until(lambda: "no program listens there" in (graph.status("vmc_bridge") or ("", ""))[1], 10.0, "the diagnosis")
    assert all(node.stop() == 0 for node in nodes)
    live_link.close()
    text.close()


def test_an_address_that_is_none_ends_the_node(graph):
    node = graph.start("vmc_node", {"address": "nowhere.invalid"})
    wait_until(lambda: not node.alive, 60.0, "its end")
    assert node.stop() == 1 and "nowhere.invalid:39539 cannot be reached" in node.log


def test_a_phone_moves_a_robot(graph):
    with LiveLinkReceiverPort() as port:
        node = graph.start("livelink_receiver_node", {"port": port})
        wait_until(lambda: graph.node.count_publishers("blendshapes"), 60.0, "the receiver")
        time.sleep(0.5)
        graph.clear()
        UdpTarget("127.0.0.1", port).send(b"something else")
        output = make_output("livelink", f"127.0.0.1:{port}", subject="Ada")
        with Driver(output, 30.0) as driver:
            driver.put(frames_of(MOTION[:20], 30.0))
            driver.finish()
        heard = graph.wait_frames(20)
    np.testing.assert_allclose([f.coefficients for f in heard[:20]], MOTION[:20], atol=1e-6)
    assert [f.sequence for f in heard[:20]] == list(range(20))
    assert node.stop() == 0


class LiveLinkReceiverPort:
    """A UDP port that is free."""

    def __enter__(self):
        receiver = LiveLinkReceiver(0, "127.0.0.1")
        receiver.close()
        return receiver.port

    def __exit__(self, *exception):
        pass


def test_two_faces_on_a_page(graph):
    from websockets.sync.client import connect

    faces = [graph.node.create_publisher(BlendshapeCoefficients, f"/{name}/blendshapes", 100) for name in ("al", "bo")]
    feelings = graph.node.create_publisher(EmotionState, "/bo/emotion", 10)
    node = graph.start("face_viewer_node", {"robots": ["al", "bo"], "port": 0})
    wait_until(lambda: faces[1].get_subscription_count() and "open http" in node.log, 120.0, "the viewer")
    address = node.log.partition("open ")[2].split()[0]
    assert httpx.get(f"{address}api/config").json()["feeds"] == ["al", "bo"]
    with connect(address.replace("http", "ws") + "live") as page:
        page.send('{"type": "watch", "feed": "bo"}')
        time.sleep(0.5)
        heard = FaceFrame(0, 1, np.zeros(52, np.float32), 1.0, np.array([0.25, 0.75], np.float32))
        feelings.publish(emotion_state(["fear", "happy"], heard, heard.emotion))
        time.sleep(0.3)
        for face, value in zip(faces, (0.2, 0.8), strict=True):
            show(face, np.full((3, 52), value, np.float32))
        found = []
        while len(found) < 3:
            message = page.recv(timeout=10)
            if isinstance(message, bytes):
                assert message[-1] == 1
                found += read_frames(bytes([message[0] & 0x7F]) + message[1:-1])
    assert all(frame.coefficients[24] == np.float32(0.8) for frame in found)
    assert found[0].emotion[2] == 0.75 and found[0].emotion[5] == 0.25  # happy, fearful
    assert node.stop() == 0
