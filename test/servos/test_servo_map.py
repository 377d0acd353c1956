"""Servo maps: the two that ship, what they make of a face, and what is refused with which words."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from emotalk_ros.face.names import INDEX
from emotalk_ros.servos import ServoMapError, load_servo_map

CONFIG = Path(__file__).resolve().parents[2] / "config" / "servos"


@pytest.mark.parametrize(("name", "joints"), [("head_3", 3), ("face_12", 12)])
def test_the_maps_that_ship(name, joints):
    servo_map = load_servo_map(CONFIG / f"{name}.yaml")
    assert len(servo_map.joints) == joints
    assert servo_map.targets(np.zeros(52)) == pytest.approx([joint.zero for joint in servo_map.joints.values()])
    for face in np.random.default_rng(0).uniform(0, 1, (200, 52)):
        for angle, joint in zip(servo_map.targets(face), servo_map.joints.values(), strict=True):
            assert joint.limits[0] <= angle <= joint.limits[1]


def test_the_urdf_has_the_joints_and_limits_of_the_map():
    servo_map = load_servo_map(CONFIG / "face_12.yaml")
    joints = {j.get("name"): j.find("limit") for j in ElementTree.parse(CONFIG / "face_12.urdf").iter("joint")}
    assert joints.keys() == servo_map.joints.keys()
    for name, joint in servo_map.joints.items():
        limit = joints[name]
        assert (float(limit.get("lower")), float(limit.get("upper"))) == joint.limits
        assert float(limit.get("velocity")) == joint.speed


def test_closed_lips_close_the_jaw_servo():
    servo_map = load_servo_map(CONFIG / "head_3.yaml")
    face = np.zeros(52)
    face[INDEX["jawOpen"]] = 0.4
    assert servo_map.targets(face)[0] == pytest.approx(0.24)
    face[INDEX["mouthClose"]] = 0.4
    assert servo_map.targets(face)[0] == pytest.approx(0.0)


def test_counts_of_a_servo():
    joint = load_servo_map(CONFIG / "head_3.yaml").joints["jaw"]
    assert [joint.units.counts(angle) for angle in (0.0, np.pi / 2, -np.pi / 2)] == [2048, 3072, 1024]


JOINT = {"weights": {"jawOpen": 1.0}, "limits": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "must be a mapping of keys to values"),
        ({"joints": {}}, "joints: Dictionary should have at least 1 item"),
        ({"joints": {"jaw": {**JOINT, "weights": {"jaw_open": 1}}}}, "joints.jaw.weights: no coefficient is called"),
        ({"joints": {"jaw": {**JOINT, "limits": [1, 0]}}}, "joints.jaw: limits 1 to 0 must rise"),
        ({"joints": {"jaw": {**JOINT, "zero": 2}}}, "zero 2 must lie within the limits"),
        ({"joints": {"jaw": {**JOINT, "speed": 0}}}, "joints.jaw.speed must be greater than 0, got 0"),
        ({"joints": {"jaw": {**JOINT, "speeed": 1}}}, "unknown key 'joints.jaw.speeed'; did you mean 'speed'"),
        ({"joints": {"jaw": {**JOINT, "gain": float("nan")}}}, "joints.jaw.gain must be a finite number"),
        ({"joints": {"jaw": {**JOINT, "units": {"kind": "custom"}}}}, "needs per_radian"),
        ({"rate": 1e9, "joints": {"jaw": JOINT}}, "rate must be less than or equal to 1000"),
    ],
)
def test_wrong_maps_name_the_key(tmp_path, content, words):
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ServoMapError, match=r"map\.yaml") as error:
        load_servo_map(path)
    assert words in str(error.value)


def test_hostile_maps_are_refused_at_once(tmp_path):
    path = tmp_path / "map.yaml"
    lines = [f"k{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    path.write_text("\n".join(["k0: &a0 [x, x]", *lines]))
    with pytest.raises(ServoMapError, match="aliases"):
        load_servo_map(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ServoMapError, match="not readable"):
        load_servo_map(path)
    path.write_text("x" * 1_000_001)
    with pytest.raises(ServoMapError, match="at most"):
        load_servo_map(path)
    with pytest.raises(ServoMapError, match="No such file"):
        load_servo_map(tmp_path / "none.yaml")
