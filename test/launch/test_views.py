"""What shows the face: the Foxglove layout, RViz's settings, and the launch file that starts them."""

import json
import re
from pathlib import Path

import ament_index_python.packages
import launch_stand_in
import pytest
import yaml

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import ARKIT_NAMES

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = json.loads((ROOT / "config" / "foxglove.json").read_text())
TYPES = {"blendshapes": "BlendshapeCoefficients", "emotion": "EmotionState"}


def fields(message):
    """Names of the fields of one of our messages."""
    text = (ROOT / "msg" / f"{message}.msg").read_text()
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return {words[1] for words in lines if len(words) >= 2 and "=" not in words[1]}


def panels(tree):
    if isinstance(tree, str):
        return [tree]
    assert tree["direction"] in ("row", "column") and 0 < tree["splitPercentage"] < 100
    return panels(tree["first"]) + panels(tree["second"])


def test_the_layout_shows_each_of_its_panels_once():
    assert sorted(panels(LAYOUT["layout"])) == sorted(LAYOUT["configById"])
    kinds = {name.partition("!")[0] for name in LAYOUT["configById"]}
    assert kinds <= {"3D", "Plot", "StateTransitions", "DiagnosticSummary", "CallService", "Publish"}
    assert LAYOUT["configById"]["3D!face"]["topics"] == {"/face_marker": {"visible": True}}


def test_its_paths_are_fields_of_what_is_published():
    paths = [path for panel in LAYOUT["configById"].values() for path in panel.get("paths", ())]
    assert len(paths) > 10
    for path in paths:
        topic, field, index = re.fullmatch(r"/(\w+)\.(\w+)(?:\[(\d+)\])?", path["value"]).groups()
        assert field in fields(TYPES[topic])
        if index is not None:
            names = ARKIT_NAMES if field == "coefficients" else EMOTIONS
            assert names[int(index)] == path["label"]


def test_its_buttons_send_commands_that_are_understood():
    buttons = [panel for name, panel in LAYOUT["configById"].items() if name.startswith("Publish!")]
    for button in buttons:
        command = json.loads(button["value"])
        assert button["datatype"] == "emotalk_ros/msg/EmotionCommand" and button["topicName"] == "/emotion_command"
        assert command.keys() <= fields("EmotionCommand") and command["label"] in ("", *EMOTIONS)
    assert len(buttons) == 5


def test_rviz_looks_at_the_marker_in_its_frame():
    manager = yaml.safe_load((ROOT / "config" / "face.rviz").read_text())["Visualization Manager"]
    (marker,) = [d for d in manager["Displays"] if d["Class"] == "rviz_default_plugins/Marker"]
    assert marker["Topic"]["Value"] == "/face_marker" and manager["Global Options"]["Fixed Frame"] == "face"


@pytest.fixture
def view(monkeypatch):
    monkeypatch.setattr(ament_index_python.packages, "get_package_share_directory", lambda name: str(ROOT))
    module = launch_stand_in.load(ROOT / "launch" / "view.launch.py", monkeypatch)

    def started(**given):
        return {action.executable: action for action in launch_stand_in.evaluate(module, given)[0]}

    return started


def test_the_launch_file_starts_what_is_asked_for(view):
    assert set(view()) == {"face_viewer_node"}
    seen = view(web="false", rviz="true", foxglove="true", rate="5")
    assert set(seen) == {"marker_node", "rviz2", "foxglove_bridge"}
    assert seen["marker_node"].parameters == [{"rate": 5.0, "cell": 6.0}]
    assert Path(seen["rviz2"].named["arguments"][1]).is_file()
    sent = view(web="false", livelink="10.0.0.7", vmc="10.0.0.8:39539", namespace="left")
    assert set(sent) == {"livelink_node", "vmc_node"}
    assert set(view(marker="true", respawn="false")) == {"face_viewer_node", "marker_node"}


@pytest.mark.parametrize(
    ("given", "words"),
    [({"web": "false"}, "nothing to show"), ({"port": "web"}, "port:=web is not a number"),
     ({"rviz": "true", "rate": "fast"}, "rate:=fast is not a number")],
)  # fmt: skip
def test_wrong_values_are_refused(view, given, words):
    with pytest.raises(RuntimeError, match=words):
        view(**given)
