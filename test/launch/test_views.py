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

# What the panels read of their settings: Foxglove's own classes of layouts (`foxglove.layouts` of the package
# foxglove-sdk 0.30) and the types in the source of Lichtblick, the open continuation of Foxglove Studio.
# `foxglovePanelTitle` names any panel.
SERIES = {"value", "label", "enabled", "timestampMethod"}
PANELS = {
    "3D": {"cameraState", "followMode", "followTf", "scene", "transforms", "topics", "layers", "publish"},
    "Plot": {"paths", "minXValue", "maxXValue", "minYValue", "maxYValue", "showLegend", "legendDisplay", "isSynced"}
    | {"showPlotValuesInLegend", "showXAxisLabels", "showYAxisLabels", "xAxisVal", "followingViewWidth"},
    "StateTransitions": {"paths", "isSynced", "xAxisMaxValue", "xAxisMinValue", "xAxisRange", "showPoints"},
    "DiagnosticSummary": {"minLevel", "pinnedIds", "topicToRender", "hardwareIdFilter", "sortByLevel"},
    "CallService": {"serviceName", "requestPayload", "layout", "buttonText", "buttonTooltip", "buttonColor"},
    "Publish": {"topicName", "datatype", "buttonText", "buttonTooltip", "buttonColor", "advancedView", "value"},
}
CAMERA = {"distance", "perspective", "phi", "target", "targetOffset", "targetOrientation", "thetaOffset"}
CAMERA |= {"fovy", "near", "far"}
CHOICES = {
    "followMode": ("follow-pose", "follow-heading", "follow-position", "follow-none"),
    "legendDisplay": ("floating", "top", "left"),
    "xAxisVal": ("timestamp", "index", "custom", "currentCustom"),
    "timestampMethod": ("receiveTime", "publishTime", "headerStamp", "customField"),
    "layout": ("vertical", "horizontal"),
}
# Names of classes and properties as the sources of RViz (ros2/rviz) declare them: displays, tools, views.
DISPLAY = {"Class", "Enabled", "Name", "Value"}
TOPIC = {"Depth", "Durability Policy", "History Policy", "Reliability Policy", "Filter size", "Value"}
RVIZ = {
    "rviz_default_plugins/Marker": DISPLAY | {"Namespaces", "Topic"},
    "rviz_default_plugins/Axes": DISPLAY | {"Length", "Radius", "Reference Frame"},
    "rviz_default_plugins/MoveCamera": {"Class"},
    "rviz_default_plugins/Orbit": {"Class", "Name", "Value", "Distance", "Focal Point", "Focal Shape Size", "Pitch"}
    | {"Yaw", "Near Clip Distance", "Target Frame"},
}


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
    assert set(LAYOUT) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    assert LAYOUT["configById"]["3D!face"]["topics"] == {"/face_marker": {"visible": True}}


def test_its_settings_are_those_that_the_panels_read():
    for name, config in LAYOUT["configById"].items():
        kind = name.partition("!")[0]
        assert config.keys() <= PANELS[kind] | {"foxglovePanelTitle"}, name
        for part in (config, *config.get("paths", ())):
            for key, values in CHOICES.items():
                assert part.get(key, values[0]) in values, (name, key)
        assert all(path.keys() == SERIES for path in config.get("paths", ()))
        assert config.get("cameraState", {}).keys() <= CAMERA


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


def test_rviz_knows_the_classes_and_their_properties():
    settings = yaml.safe_load((ROOT / "config" / "face.rviz").read_text())
    manager = settings["Visualization Manager"]
    assert {panel["Class"] for panel in settings["Panels"]} == {"rviz_common/Displays"}
    parts = [*manager["Displays"], *manager["Tools"], manager["Views"]["Current"]]
    for part in parts:
        assert part.keys() <= RVIZ[part["Class"]], part["Class"]
    assert {part["Class"] for part in parts} == set(RVIZ)
    assert manager["Global Options"].keys() <= {"Background Color", "Fixed Frame", "Frame Rate"}
    topic = manager["Displays"][0]["Topic"]
    assert topic.keys() <= TOPIC and topic["Reliability Policy"] in ("Best Effort", "Reliable", "System Default")
    assert topic["Durability Policy"] in ("Volatile", "Transient Local", "System Default")
    assert topic["History Policy"] in ("Keep Last", "Keep All", "System Default")


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
