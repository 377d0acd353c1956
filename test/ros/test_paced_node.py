"""The node as a robot sees it: an even rate, a face without audio, rest when told to stop, commands at their time."""

import time

import numpy as np
import pytest
from graph import NS, wait_until
from lifecycle_msgs.srv import ChangeState
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from emotalk_ros.face import INDEX
from emotalk_ros.msg import BlendshapeCoefficients, EmotionCommand
from emotalk_ros.nodes.messages import from_time, to_time
from emotalk_ros.srv import SetEmotion

SMILE = INDEX["mouthSmileLeft"]


@pytest.fixture(scope="module")
def node(graph, model_path):
    running = graph.start_emotalk(
        model_path, {"output.pacing": "paced", "output.idle": True, "stream.idle_timeout": 0.2}
    )
    yield running
    assert running.stop() == 0


@pytest.fixture
def arrivals(graph, node):
    """(arrival s, message) of every frame from now on."""
    seen = []
    listener = graph.node.create_subscription(
        BlendshapeCoefficients, "blendshapes", lambda face: seen.append((time.monotonic(), face)), 1000
    )
    yield seen
    graph.node.destroy_subscription(listener)


def newest(arrivals):
    """The last frame; waits for the first one."""
    wait_until(lambda: arrivals, 10.0, "frames")
    return arrivals[-1][1]


def call(graph, kind, name, **fields):
    return graph.call(kind, f"/emotalk/{name}", kind.Request(**fields))


def test_without_audio_the_face_lives_at_the_frame_rate(graph, arrivals):
    time.sleep(2.5)
    faces = [face for _, face in arrivals]
    assert len(faces) == pytest.approx(75, abs=8) and {face.kind for face in faces} == {BlendshapeCoefficients.IDLE}
    assert np.diff([face.sequence for face in faces]).tolist() == [1] * (len(faces) - 1)
    assert np.diff([face.frame for face in faces]).tolist() == [1] * (len(faces) - 1)


def test_frames_come_one_by_one(graph, arrivals, speech):
    graph.speak(np.tile(speech, 2), pace=1.0)
    time.sleep(0.6)
    spoken = [at for at, face in arrivals if face.kind == face.SPEECH]
    steps = np.diff(spoken)[5:]
    assert len(spoken) > 60
    # Three frames a hop came at once before: two of three intervals were under 5 ms.
    assert np.mean((steps > 0.02) & (steps < 0.05)) > 0.8 and np.median(steps) == pytest.approx(1 / 30, abs=0.004)
    stamps = [from_time(face.header.stamp) for _, face in arrivals]
    assert (np.diff(stamps)[1:] != 0).all()


def test_a_sentence_in_one_message_takes_its_own_time(graph, arrivals, speech):
    graph.speak(speech, chunk=len(speech) / 16000, pace=100.0)
    wait_until(lambda: any(face.kind == face.SPEECH for _, face in arrivals), 10.0, "speech")
    seconds = len(speech) / 16000
    time.sleep(seconds + 0.7)
    spoken = [at for at, face in arrivals if face.kind == face.SPEECH]
    # The last frames wait for the pause that ends the stream: nobody said that the sentence is over.
    assert seconds - 0.1 < spoken[-1] - spoken[0] < seconds + 0.5


def test_a_command_shows_without_audio_and_the_parameters_tell_it(graph, node, arrivals):
    answer = call(graph, SetEmotion, "set_emotion", command=EmotionCommand(label="happy"))
    assert answer.success and "happy" in answer.message
    wait_until(lambda: newest(arrivals).coefficients[SMILE] > 0.3, 5.0, "a smile")
    smiles = np.array([face.coefficients[SMILE] for _, face in arrivals])
    assert np.abs(np.diff(smiles)).max() < 0.15  # without a step
    assert graph.parameters("/emotalk")["emotion.source"].string_value == "command"
    assert graph.parameters("/emotalk")["emotion.label"].string_value == "happy"
    wait_until(lambda: graph.feelings and graph.feelings[-1].dominant == "happy", 5.0, "the emotion on its topic")
    refused = call(graph, SetEmotion, "set_emotion", command=EmotionCommand(label="bored"))
    assert not refused.success and "'bored'" in refused.message
    assert call(graph, SetEmotion, "set_emotion", command=EmotionCommand()).success
    wait_until(lambda: newest(arrivals).coefficients[SMILE] < 0.05, 10.0, "no smile")
    assert graph.parameters("/emotalk")["emotion.source"].string_value == "heard"


def test_a_stamped_command_waits_for_its_audio_and_ends_by_itself(graph, node, arrivals):
    begin = time.time_ns() + round(1.0 * NS)
    command = EmotionCommand(label="happy", hold=0.6)
    command.header.stamp = to_time(begin)
    assert call(graph, SetEmotion, "set_emotion", command=command).success
    time.sleep(3.5)
    before = [f.coefficients[SMILE] for _, f in arrivals if from_time(f.header.stamp) < begin]
    during = [f.coefficients[SMILE] for _, f in arrivals if 0.3 * NS < from_time(f.header.stamp) - begin < 0.6 * NS]
    assert before and max(before) < 0.06 and min(during) > 0.2
    assert newest(arrivals).coefficients[SMILE] < 0.1


def test_an_interruption_closes_the_mouth_at_once(graph, node, arrivals, speech):
    graph.speak(np.tile(speech, 4), chunk=1.0, pace=50.0)
    wait_until(lambda: any(face.kind == face.SPEECH for _, face in arrivals), 10.0, "speech")
    time.sleep(0.3)
    assert call(graph, Trigger, "interrupt").success
    asked = time.monotonic()
    time.sleep(1.0)
    late = [at - asked for at, face in arrivals if face.kind == face.SPEECH]
    assert max(late) < 0.1 and newest(arrivals).kind == BlendshapeCoefficients.IDLE
    assert not call(graph, Trigger, "reset_speaker").success  # this network keeps no picture of the speaker


def test_the_topic_interrupt_closes_it_too_and_the_service_tells_it(graph, node, arrivals, speech):
    told = []
    listener = graph.node.create_subscription(Empty, "interrupt", told.append, 10)
    topic = graph.node.create_publisher(Empty, "interrupt", 10)
    wait_until(topic.get_subscription_count, 10.0, "a listener")
    time.sleep(0.5)
    graph.speak(np.tile(speech, 4), chunk=1.0, pace=50.0)
    wait_until(lambda: newest(arrivals).kind == BlendshapeCoefficients.SPEECH, 10.0, "speech")
    topic.publish(Empty())
    asked = time.monotonic()
    time.sleep(1.0)
    late = [at - asked for at, face in arrivals if face.kind == face.SPEECH]
    assert max(late) < 0.25
    wait_until(lambda: newest(arrivals).kind == BlendshapeCoefficients.IDLE, 10.0, "a face without audio")
    heard = len(told)
    assert call(graph, Trigger, "interrupt").success
    wait_until(lambda: len(told) == heard + 1, 5.0, "the topic")
    graph.node.destroy_subscription(listener)
    graph.node.destroy_publisher(topic)


def test_deactivating_leaves_the_face_at_rest(graph, node, arrivals):
    assert call(graph, SetEmotion, "set_emotion", command=EmotionCommand(label="surprised")).success
    wait_until(lambda: np.max(newest(arrivals).coefficients) > 0.3, 5.0, "an expression")
    begun = time.monotonic()
    change = ChangeState.Request()
    change.transition.id = 4  # deactivate
    assert graph.call(ChangeState, "/emotalk/change_state", change).success
    assert time.monotonic() - begun < 1.5
    time.sleep(0.3)
    last = newest(arrivals)
    assert last.kind == last.CLOSING and np.max(last.coefficients) < 0.01
    change.transition.id = 3  # activate
    assert graph.call(ChangeState, "/emotalk/change_state", change).success
    count = len(arrivals)
    wait_until(lambda: len(arrivals) > count + 10, 10.0, "idle frames again")
    assert newest(arrivals).coefficients[SMILE] < 0.02
    assert graph.parameters("/emotalk")["emotion.source"].string_value == "heard"
