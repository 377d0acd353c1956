"""The say node: text becomes stamped speech and emotions, in order, and stops when it is told."""

import os
import subprocess
import sys
import time
from pathlib import Path

import foreign_messages
import numpy as np
import pytest
from graph import DEEP, NS, wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, Empty, String

from emotalk_ros.msg import AudioChunk, EmotionCommand
from emotalk_ros.nodes.messages import from_time


class Conversation:
    def __init__(self, graph):
        self.graph, node = graph, graph.node
        self.chunks, self.emotions, self.said, self.speaking = [], [], [], []
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(AudioChunk, "/talk/audio", self.chunks.append, DEEP)
        node.create_subscription(EmotionCommand, "/talk/emotion_command", self.emotions.append, DEEP)
        node.create_subscription(String, "/talk/said", self.said.append, DEEP)
        node.create_subscription(Bool, "/talk/speaking", self.speaking.append, kept)
        self.texts = node.create_publisher(String, "/talk/say", DEEP)
        self.interrupts = node.create_publisher(Empty, "/talk/interrupt", DEEP)

    def clear(self):
        for heard in (self.chunks, self.emotions, self.said, self.speaking):
            heard.clear()

    def say(self, text):
        self.clear()
        self.texts.publish(String(data=text))


@pytest.fixture(scope="module")
def talk(graph):
    conversation = Conversation(graph)
    node = graph.start("say_node", {"rate": 300, "pause": 0.1}, arguments=["-r", "__ns:=/talk"])

    def ready():
        assert node.alive, node.log
        return (
            conversation.texts.get_subscription_count()
            and conversation.interrupts.get_subscription_count()
            and conversation.speaking
        )

    wait_until(ready, 60.0, "the say node")
    yield conversation
    assert node.stop() == 0, node.log


def test_text_becomes_stamped_speech_with_its_emotions(talk):
    before = time.time_ns()
    talk.say("[happy] Good news. [sad] Bad news.")
    wait_until(lambda: talk.said, 30.0, "the end")
    assert talk.said[0].data == "[happy] Good news. [sad] Bad news."
    stamps = np.array([from_time(chunk.header.stamp) for chunk in talk.chunks])
    lengths = np.array([len(chunk.data) // 2 for chunk in talk.chunks])
    ends = stamps + lengths * NS // 16000
    between = stamps[1:] - ends[:-1]
    assert stamps[0] > before and between.min() >= -1  # no overlap
    assert (between > 1).sum() <= 1  # a gap only where the second sentence was not ready when the first had ended
    assert 0.5 < (ends[-1] - stamps[0]) / NS < 3.0
    loudest = max(np.abs(np.frombuffer(chunk.data.tobytes(), "<i2")).max() for chunk in talk.chunks)
    assert loudest > 3000
    wait_until(lambda: len(talk.emotions) == 3, 5.0, "three commands")
    assert [command.label for command in talk.emotions] == ["happy", "sad", ""]
    begins = [from_time(command.header.stamp) for command in talk.emotions]
    assert begins[0] == stamps[0] and begins[1] in stamps and begins[2] == ends[-1]
    assert time.time_ns() >= ends[-1]  # said when it was spoken, not when it was sent
    wait_until(lambda: [m.data for m in talk.speaking] == [True, False], 5.0, "speaking, then not")


def test_an_interruption_forgets_the_rest(talk):
    talk.say("One two three four five. " * 8)
    talk.texts.publish(String(data="And more."))
    wait_until(lambda: len(talk.chunks) > 5, 20.0, "speech")
    talk.interrupts.publish(Empty())
    wait_until(lambda: talk.speaking and not talk.speaking[-1].data, 5.0, "silence")
    assert not talk.said
    talk.say("Again.")
    wait_until(lambda: talk.said, 20.0, "the next text")
    assert from_time(talk.chunks[0].header.stamp) < time.time_ns()


def test_what_is_said_to_a_new_node_waits_for_its_listeners(graph):
    """A node that was killed and is back: its listeners find it a moment later than the text does."""
    texts = graph.node.create_publisher(String, "/new/say", DEEP)
    chunks, emotions = [], []
    node = graph.start("say_node", {"rate": 300}, arguments=["-r", "__ns:=/new"])
    wait_until(lambda: texts.get_subscription_count(), 60.0, "the say node")
    texts.publish(String(data="[happy] Hello there!"))
    time.sleep(0.3)
    listeners = [
        graph.node.create_subscription(AudioChunk, "/new/audio", chunks.append, DEEP),
        graph.node.create_subscription(EmotionCommand, "/new/emotion_command", emotions.append, DEEP),
    ]
    wait_until(lambda: len(emotions) == 2, 20.0, "the emotion, and its end")
    begins, end = (from_time(command.header.stamp) for command in emotions)
    stamps = [from_time(chunk.header.stamp) for chunk in chunks]
    assert stamps[0] == begins
    assert sum(len(chunk.data) // 2 for chunk in chunks) * NS // 16000 == pytest.approx(end - begins, abs=1000)
    assert node.stop() == 0, node.log
    for listener in listeners:
        graph.node.destroy_subscription(listener)


# -- the action --------------------------------------------------------------------------------------------------------

TALK = Path(__file__).with_name("talk_tts.py")
TTS = {"audio_common_msgs/action/TTS": 'string text\nstring language "en"\nfloat32 volume\nfloat32 rate\n---\n---'}


@pytest.fixture(scope="module")
def environment():
    return foreign_messages.environment("mgonzs13-tts", TTS)


@pytest.fixture(scope="module")
def actor(graph, environment):
    """A say node that serves the action: words of talk_tts.py -> how the goals ended, and when (ns)."""
    node = graph.start("say_node", {"rate": 300, "pause": 0.1}, arguments=["-r", "__ns:=/act"], environment=environment)

    def send(*words):
        command = [sys.executable, str(TALK), "/act", *words]
        run = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == 0, run.stderr + node.log
        return [(line.split()[0], int(line.split()[1])) for line in run.stdout.splitlines()]

    yield send
    assert node.stop() == 0, node.log


def test_a_goal_succeeds_when_its_text_was_spoken(graph, actor):
    chunks, said = [], []
    listeners = [
        graph.node.create_subscription(AudioChunk, "/act/audio", chunks.append, DEEP),
        graph.node.create_subscription(String, "/act/said", said.append, DEEP),
    ]
    ends = actor("[happy] Good news.", "Bad news.")
    assert [how for how, _ in ends] == ["succeeded", "succeeded"]
    assert [message.data for message in said] == ["[happy] Good news.", "Bad news."]
    spoken = from_time(chunks[-1].header.stamp) + len(chunks[-1].data) // 2 * NS // 16000
    assert ends[1][1] >= spoken  # when it was heard, not when it was sent
    for listener in listeners:
        graph.node.destroy_subscription(listener)


def test_a_goal_that_waits_is_taken_out_and_one_that_is_spoken_interrupts_all(actor):
    long = "One two three four five. " * 8
    ends = [how for how, _ in actor(long, "And more.", "cancel:1", "wait:0.5", "cancel:0", "Again.")]
    assert ends == ["canceled", "canceled", "succeeded"]
    ends = [how for how, _ in actor(long, "And more.", "wait:0.5", "cancel:0")]
    assert ends == ["canceled", "aborted"]


def test_a_factor_that_makes_no_sense_is_refused(actor):
    assert [how for how, _ in actor("nan|Hello.", "-1|Hello.", "2|Hello.")] == ["refused", "refused", "succeeded"]
