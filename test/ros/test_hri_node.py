"""The face in the messages of ROS4HRI: expressions in, action units and expressions out; refusals in words.

`hri_msgs` is compiled for the test from its fields (release 2.3 for Jazzy; constants do not change what is sent).
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import foreign_messages
import numpy as np
import pytest
from graph import wait_until

from emotalk_ros.face import INDEX
from emotalk_ros.face.action_units import NAMES, TABLE
from emotalk_ros.face.circumplex import EXPRESSIONS
from emotalk_ros.msg import BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.nodes.hri_node import wanted

DEFINITIONS = {
    "hri_msgs/msg/Expression": "std_msgs/Header header\nstring expression\nfloat32 valence\nfloat32 arousal\n"
    "float32 confidence",
    "hri_msgs/msg/FacialActionUnits": "std_msgs/Header header\nfloat32[99] intensity\nfloat32[99] confidence",
}
TALK = Path(__file__).with_name("talk_hri.py")
DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "ros.md").read_text()


@pytest.fixture(scope="module")
def environment():
    return foreign_messages.environment("ros4hri", DEFINITIONS)


@pytest.fixture(scope="module")
def node(graph, environment):
    running = graph.start("hri_node", {"hold": 2.5}, arguments=["-r", "__ns:=/robot"], environment=environment)
    yield running
    assert running.stop() == 0


def talk(environment, *words):
    """A process with hri_msgs publishes or hears; what it prints."""
    run = subprocess.run(
        [sys.executable, str(TALK), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_expressions_become_commands(graph, node, environment):
    commands = []
    graph.node.create_subscription(EmotionCommand, "/robot/emotion_command", commands.append, 10)
    wait_until(lambda: graph.node.count_publishers("/robot/emotion_command"), 60.0, "the hri node")
    time.sleep(0.5)  # both ends of the match
    talk(environment, "express", "furious")
    command = wait_until(lambda: commands and commands[-1], 20.0, "a command")
    assert (command.labels, list(command.weights)) == (["angry"], [1.0])
    assert command.intensity == pytest.approx(EXPRESSIONS["furious"][1]) and command.hold == 2.5
    talk(environment, "express", "", "0.0", "0.9")
    wait_until(lambda: len(commands) == 2, 20.0, "a command")
    assert set(commands[-1].labels) == {"surprised", "angry"} and commands[-1].intensity == pytest.approx(0.9)
    talk(environment, "express", "hapy")
    wait_until(lambda: "did you mean happy?" in node.log, 10.0, "the refusal")
    talk(environment, "express", "", "nan", "0.0")
    wait_until(lambda: "must be finite" in node.log, 10.0, "the refusal")
    assert len(commands) == 2


def test_frames_become_action_units_and_emotions_expressions(graph, node, environment):
    faces = graph.node.create_publisher(BlendshapeCoefficients, "/robot/blendshapes", 10)
    feelings = graph.node.create_publisher(EmotionState, "/robot/emotion", 10)
    face = BlendshapeCoefficients(speech_activity=0.75)
    face.coefficients[INDEX["jawOpen"]] = 0.5
    face.coefficients[INDEX["mouthSmileLeft"]] = face.coefficients[INDEX["mouthSmileRight"]] = 0.25
    feeling = EmotionState(labels=["happy", "sad"], probabilities=[0.75, 0.25], dominant="happy", intensity=1.0)
    feeling.source = EmotionState.COMMANDED
    timer = graph.node.create_timer(0.05, lambda: (faces.publish(face), feelings.publish(feeling)))
    try:
        heard = dict(line.split(" ", 1) for line in talk(environment, "hear").splitlines())
    finally:
        graph.node.destroy_timer(timer)
    units = np.array(heard["units"].split(), float)
    confidence = np.array(heard["confidence"].split(), float)
    assert (units[26], units[25], units[12], units[50]) == (0.5, 0.5, 0.25, 0.75)
    assert set(np.flatnonzero(confidence)) == {*TABLE, 25, 30, 50} and np.count_nonzero(units) == 4
    word, valence, arousal, sure = heard["expression"].split()
    assert word == "happy" and float(sure) == 0.75
    assert 0.3 < float(valence) < 0.7 and abs(float(arousal)) < 0.1


def test_without_hri_msgs_it_says_where_they_come_from(graph):
    if find_spec("hri_msgs") is not None:  # installed: it starts
        assert graph.start("hri_node", arguments=["-r", "__ns:=/other"]).stop() == 0
        return
    missing = graph.start("hri_node")
    assert missing.process.wait(60) == 1
    wait_until(lambda: "apt install ros-$ROS_DISTRO-hri-msgs" in missing.log, 5.0, "the reason")


def test_every_word_is_a_command_that_the_node_takes():
    for word in EXPRESSIONS:
        weights, intensity = wanted(word.upper(), 0.0, 0.0)
        assert sum(weights.values()) == pytest.approx(1.0) and 0.0 <= intensity <= 2.0


def test_the_tables_of_the_document_are_those_of_the_code():
    for unit, names in TABLE.items():
        listed = ", ".join(f"`{name}`" for name in names)
        assert f"| {unit} | {NAMES[unit]} | {listed} |" in DOCUMENT
    for word, (weights, intensity) in EXPRESSIONS.items():
        mixture = ", ".join(f"{label} {share:g}" for label, share in weights.items())
        assert f"| {word} | {mixture} | {intensity:g} |" in DOCUMENT
