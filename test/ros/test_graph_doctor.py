"""`emotalk doctor` on a real graph: what it finds, which policy it names, what it advises, and its exit code."""

import threading
import time

import numpy as np
import pytest
import rclpy
import typer
from graph import Graph, chunk_message
from lifecycle_msgs.srv import GetState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sounds import vowels
from std_msgs.msg import String
from typer.testing import CliRunner

from emotalk_ros.commands import doctor
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients
from emotalk_ros.nodes.checkup import CheckSettings, checkup

NS = 1_000_000_000
app = typer.Typer()
doctor.register(app)


def look(**settings):
    """Findings as (subject, state, text with its remedy)."""
    with checkup(CheckSettings(**{"seconds": 2.0, **settings})) as check:
        return [(f.subject, f.state.value, f"{f.text} -> {f.remedy}") for f in check.findings()]


def only(findings, subject, state=None):
    return [text for name, how, text in findings if name.startswith(subject) and state in (None, how)]


@pytest.fixture
def quiet_graph():
    with Graph() as running:
        yield running


class Source:
    """Publishes a sound over and over while the block lasts."""

    def __init__(self, graph, topic, samples, qos=10, late=0.0):
        # The graph has a publisher of `audio` itself, and the node warns of a second one.
        self._publisher = graph.audio if topic == "audio" else graph.node.create_publisher(AudioChunk, topic, qos)
        self._samples, self._late = samples, late
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        begun, at = time.monotonic(), 0
        while not self._ending.wait(max(0.0, begun + at / 16000 - time.monotonic())):
            piece = self._samples[at % (len(self._samples) - 320) :][:320]
            self._publisher.publish(chunk_message(piece, time.time_ns() - round(self._late * NS)))
            at += 320

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ending.set()
        self._thread.join(5.0)


def test_nobody_there(quiet_graph):
    result = CliRunner().invoke(app, ["--seconds", "0.5", "--namespace", "nowhere"])
    said = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "node: no node called emotalk in /nowhere; nodes seen: /test_listener" in said
    assert "-> start it: `emotalk run`" in said and "ROS_DOMAIN_ID" in said
    assert "trouble(s) found" in said


class LosesTheFirstAnswer:
    """A client whose first answer never comes, as it happens where its node does not know it yet."""

    def __init__(self, real):
        self._real, self.asked = real, 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    def call_async(self, request):
        self.asked += 1
        return Future() if self.asked == 1 else self._real.call_async(request)


def test_a_lost_answer_is_asked_for_again(quiet_graph, monkeypatch):
    service = quiet_graph.node.create_service(GetState, "/emotalk/get_state", answer_active)
    with checkup(CheckSettings()) as check:
        node, clients = check._node, []
        create, destroy = node.create_client, node.destroy_client
        monkeypatch.setattr(
            node, "create_client", lambda *words: clients.append(LosesTheFirstAnswer(create(*words))) or clients[-1]
        )
        monkeypatch.setattr(node, "destroy_client", lambda client: destroy(client._real))
        assert check._state("/emotalk") == "active" and clients[0].asked == 2
        assert check._state("/nobody") is None
    quiet_graph.node.destroy_service(service)


def answer_active(request, response):
    response.current_state.label = "active"
    return response


def test_a_node_that_hears_and_shows(quiet_graph, model_path):
    quiet_graph.start_emotalk(model_path, {"output.pacing": "paced", "output.idle": True})
    with Source(quiet_graph, "audio", vowels(3.0)):
        time.sleep(1.0)
        with checkup(CheckSettings(seconds=3.0)) as check:
            found = [(f.subject, f.state.value, f.text) for f in check.findings()]
            pattern = check.send_pattern(lambda name: None)
    assert only(found, "node", "ok") == ["/emotalk is active"]
    (sound,) = only(found, "sound /audio", "ok")
    assert ("dB of full scale" in sound and "a voice in it with probability 0.9" in sound) or "1.0" in sound
    (frames,) = only(found, "frames /blendshapes", "ok")
    assert "a second from /emotalk" in frames
    assert only(found, "outputs of /blendshapes", "ok") == ["/test_listener"]
    assert not [text for subject, state, text in found if state == "trouble"]
    assert [(f.state.value, f.text) for f in pattern] == [("not looked at", "frames of /emotalk are shown there")]
    assert quiet_graph.transition("deactivate")
    (state,) = only(look(), "node", "trouble")
    assert state.startswith("/emotalk is inactive") and "activate" in state
    with checkup(CheckSettings(seconds=0.5)) as check:  # nobody shows frames now: the pattern may go out
        check.findings()
        quiet_graph.clear()
        moves = []
        (sent,) = check.send_pattern(moves.append)
    assert sent.state.value == "note" and "went to /test_listener" in sent.text
    assert moves == ["blink", "jaw", "smile"]
    jaw = np.array([face.coefficients[BlendshapeCoefficients.JAW_OPEN] for face in quiet_graph.faces])
    assert len(jaw) > 120 and jaw.max() > 0.9 and jaw[-1] == 0.0


def test_the_policy_that_does_not_fit_is_named(quiet_graph):
    loose = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    strict = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    quiet_graph.node.create_subscription(AudioChunk, "loose", lambda message: None, strict)
    other = rclpy.Context()  # Fast DDS refuses two types on one topic within a participant
    rclpy.init(context=other)
    texts = rclpy.create_node("texts", context=other)
    texts.create_subscription(String, "loose", lambda message: None, loose)
    with Source(quiet_graph, "loose", 0.001 * vowels(3.0), loose):
        found = look(namespace="nowhere")
    texts.destroy_node()
    rclpy.shutdown(context=other)
    (policy,) = only(found, "QoS /loose", "trouble")
    assert "/test_listener cannot hear /test_listener" in policy and "reliable" in policy.lower()
    assert "qos_overrides./loose.subscription" in policy
    (kind,) = only(found, "type /loose", "trouble")
    assert "publishes emotalk_ros/AudioChunk, /texts listens to std_msgs/String" in kind
    assert any("too quiet" in text for text in only(found, "sound /loose", "trouble"))


def test_sound_that_is_late_silent_or_absent(quiet_graph):
    publisher = quiet_graph.node.create_publisher(AudioChunk, "mute", 10)
    with (
        Source(quiet_graph, "late", vowels(3.0), late=60.0),
        Source(quiet_graph, "zeros", np.zeros(48000, np.float32)),
    ):
        found = look(namespace="nowhere")
    assert any("stamps are 60 s behind" in text for text in only(found, "sound /late", "trouble")), found
    assert any("nothing but zeros -> unmute" in text for text in only(found, "sound /zeros", "trouble"))
    assert any("not one message in 2 s" in text for text in only(found, "sound /mute", "trouble"))
    quiet_graph.node.destroy_publisher(publisher)
