"""Decisions of the launch files: what is started again, what ends everything, which values are refused."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import ament_index_python.packages
import launch_stand_in
import pytest

from emotalk_ros.nodes.processes import PARENT_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
SPEECH = str(ROOT / "examples" / "speech" / "demo.ogg")


@pytest.fixture
def load(monkeypatch):
    monkeypatch.setattr(ament_index_python.packages, "get_package_share_directory", lambda name: str(ROOT))
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "robot", "robot.launch.py"])
    return lambda name: launch_stand_in.load(ROOT / "launch" / f"{name}.launch.py", monkeypatch)


@pytest.fixture
def emotalk(load):
    module = load("emotalk")
    return lambda **given: launch_stand_in.evaluate(module, given)[0]


def nodes(actions):
    return {action.executable: action for action in actions if hasattr(action, "executable")}


def exit_of(actions, program, status, shutting_down=False):
    """What the launch does when `program` ends with `status`."""
    handlers = [a.arguments[0] for a in actions if type(a).__name__ == "RegisterEventHandler"]
    (handler,) = [h for h in handlers if h.target_action.executable == program]
    event = SimpleNamespace(returncode=status, process_name=program)
    return handler.on_exit(event, SimpleNamespace(is_shutdown=shutting_down))


def test_node_and_microphone_are_started_again(emotalk):
    started = nodes(emotalk())
    assert set(started) == {"emotalk_node", "microphone_node"}
    for node in started.values():
        assert node.respawn and node.respawn_delay == 2.0
    assert not any(node.respawn for node in nodes(emotalk(respawn="false")).values())


def test_the_node_activates_itself_also_after_a_restart(emotalk):
    (settings,) = [p for p in nodes(emotalk())["emotalk_node"].parameters if "autostart" in p]
    assert settings["autostart"] is True
    (settings,) = [p for p in nodes(emotalk(autostart="false"))["emotalk_node"].parameters if "autostart" in p]
    assert settings["autostart"] is False


def test_included_in_a_robot_nothing_ends_the_robot(emotalk):
    actions = emotalk(source="file", file=SPEECH, respawn="false")
    for program, status in (("emotalk_node", -9), ("audio_file_node", 0), ("audio_file_node", 1)):
        assert [type(action).__name__ for action in exit_of(actions, program, status)] == ["LogInfo"]


def test_launched_by_itself_the_end_of_the_file_ends_it_well_and_a_failure_does_not(emotalk, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "emotalk_ros", "emotalk.launch.py"])
    actions = emotalk(source="file", file=SPEECH, respawn="false")
    (timer,) = exit_of(actions, "audio_file_node", 0)
    assert timer.period == 2.0
    with pytest.raises(RuntimeError, match="audio_file_node ended with status 1"):
        exit_of(actions, "audio_file_node", 1)
    with pytest.raises(RuntimeError, match="emotalk_node ended with status -9"):
        exit_of(actions, "emotalk_node", -9)
    assert exit_of(actions, "emotalk_node", -9, shutting_down=True) == []


def test_a_recorder_that_ends_stops_nothing(emotalk, tmp_path):
    actions = emotalk(source="file", file=SPEECH, record=str(tmp_path / "bag"), shutdown_on_exit="true")
    started = nodes(actions)
    (settings, _) = started["recorder_node"].parameters
    assert settings["source_last"] and started["audio_file_node"].parameters[0]["subscribers"] == 2
    assert [type(a).__name__ for a in exit_of(actions, "recorder_node", 1)] == ["LogInfo"]


def test_names_and_time_reach_the_nodes(emotalk):
    started = nodes(emotalk(name="left_face", use_sim_time="true", source="topic"))
    assert set(started) == {"emotalk_node"}
    node = started["emotalk_node"]
    assert node.name == "left_face" and {"use_sim_time": True} in node.parameters


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"params_file": "/no/such.yaml"}, "params_file:=/no/such.yaml does not exist"),
        ({"source": "file"}, "needs file:="),
        ({"source": "file", "file": "/no/such.wav"}, "file:=/no/such.wav does not exist"),
        ({"respawn": "perhaps"}, "respawn:=perhaps is neither true nor false"),
        ({"respawn_delay": "soon"}, "respawn_delay:=soon is not a number"),
        ({"source": "file", "file": SPEECH, "subscribers": "two"}, "subscribers:=two is not a whole number"),
    ],
)
def test_wrong_values_are_refused_in_words(emotalk, given, words):
    with pytest.raises(RuntimeError, match=words):
        emotalk(**given)


def test_log_levels_are_a_choice(emotalk):
    with pytest.raises(ValueError, match="log_level:=chatty"):
        emotalk(log_level="chatty")


def test_what_the_demo_and_the_replay_pass_on_is_declared(load):
    declared = {e.name for e in load("emotalk").generate_launch_description().entities if hasattr(e, "name")}
    demo = load("demo").generate_launch_description()
    (included,) = [e for e in demo.entities if type(e).__name__ == "IncludeLaunchDescription"]
    assert dict(included.launch_arguments).keys() <= declared
    replay, _ = launch_stand_in.evaluate(load("replay_evaluation"), {"bag": "my_bag", "mode": "live"})
    (included,) = [a for a in replay if type(a).__name__ == "IncludeLaunchDescription"]
    assert dict(included.launch_arguments).keys() <= declared


def test_a_replay_that_fails_is_a_failure_of_its_launch(load):
    module = load("replay_evaluation")
    actions, _ = launch_stand_in.evaluate(module, {"bag": "my_bag"})
    (shutdown,) = exit_of(actions, "replay_evaluation", 0)
    assert type(shutdown).__name__ == "Shutdown"
    with pytest.raises(RuntimeError, match="the replay ended with status 1"):
        exit_of(actions, "replay_evaluation", 1)
    assert exit_of(actions, "replay_evaluation", -2, shutting_down=True) == []


def test_nodes_know_their_launch_and_end_with_it(load, emotalk):
    robot, _ = launch_stand_in.evaluate(load("talking_robot"), {})
    for node in (*nodes(emotalk()).values(), *nodes(robot).values()):
        assert node.additional_env == {PARENT_VARIABLE: str(os.getpid())}


def test_a_talking_robot_has_a_voice_a_face_and_what_it_is_given(load):
    module = load("talking_robot")
    actions, _ = launch_stand_in.evaluate(module, {"engine": "espeak", "namespace": "robot"})
    (face,) = [a for a in actions if type(a).__name__ == "IncludeLaunchDescription"]
    declared = {e.name for e in load("emotalk").generate_launch_description().entities if hasattr(e, "name")}
    passed = dict(face.launch_arguments)
    assert passed["source"] == "topic" and passed["namespace"] == "robot" and passed.keys() <= declared
    assert set(nodes(actions)) == {"say_node", "speaker_node"}
    servo_map = str(ROOT / "config" / "servos" / "head_3.yaml")
    actions, _ = launch_stand_in.evaluate(module, {"play": "false", "servo_map": servo_map, "respawn": "false"})
    started = nodes(actions)
    assert set(started) == {"say_node", "servo_node"}
    assert started["servo_node"].parameters[0]["map"] == servo_map and not started["servo_node"].respawn
    with pytest.raises(RuntimeError, match=r"servo_map:=/no/such\.yaml does not exist"):
        launch_stand_in.evaluate(module, {"servo_map": "/no/such.yaml"})
    with pytest.raises(RuntimeError, match="offset:=soon is not a number"):
        launch_stand_in.evaluate(module, {"offset": "soon"})
