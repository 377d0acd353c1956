"""What avatars call the shapes: every common way of writing is understood, what is not is told, a mapping wins."""

import re

import pytest

from emotalk_ros.face.aliases import MappingError, arkit_name, match, parse_mapping
from emotalk_ros.face.names import ARKIT_NAMES


def snake(name):
    return re.sub("([A-Z])", r"_\1", name)


def short_sides(name):
    sided = name.endswith(("Left", "Right")) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
    return re.sub("(Left|Right)$", lambda side: "_" + side[1][0], name) if sided else name


WRITINGS = {
    "Apple": lambda name: name,
    "Live Link": lambda name: name[0].upper() + name[1:],
    "snake": lambda name: snake(name).lower(),
    "Reallusion": lambda name: "A25_" + snake(name).title(),
    "node": lambda name: "BS_Head." + name,
    "Maya": lambda name: "blendShape1." + short_sides(name),
    "iFacialMocap": short_sides,
    "upper case": str.upper,
    "MetaHuman": lambda name: "CTRL_expressions_" + name,
    "spaces": lambda name: snake(name).replace("_", " "),
    "dots": lambda name: short_sides(name).replace("_", "."),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_all_52_in_every_common_writing(writing):
    write = WRITINGS[writing]
    assert [arkit_name(write(name)) for name in ARKIT_NAMES] == list(ARKIT_NAMES)


@pytest.mark.parametrize(
    "own, home",
    [
        ("Mouth_Open", "jawOpen"),
        ("Brow_Drop_L", "browDownLeft"),
        ("Brow_Raise_Outer_R", "browOuterUpRight"),
        ("Jaw_L", "jawLeft"),
        ("browInnerUp_L", "browInnerUp"),
        ("Mouth_Down_Lower_L", "mouthLowerDownLeft"),
        ("Cheek_Puff_R", "cheekPuff"),
        ("Breathing", None),
        ("", None),
        ("mouth", None),
    ],
)
def test_other_words(own, home):
    assert arkit_name(own) == home


def test_a_second_word_for_a_shape_that_is_there_stays_still():
    found = match([*ARKIT_NAMES, "mouthOpen", "mouthSmile"])
    assert found.unmatched == ("mouthOpen", "mouthSmile")
    assert not found.silent


def test_an_avatar_with_only_the_simple_shapes_moves():
    found = match(["mouthOpen", "mouthSmile", "eyesClosed"])
    assert found.targets["mouthOpen"] == {"jawOpen": 1.0}
    assert found.targets["mouthSmile"] == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert not found.unmatched


def test_one_missing_shape_is_named():
    found = match([name for name in ARKIT_NAMES if name != "tongueOut"])
    assert found.silent == ("tongueOut",)
    assert "51 of 52" in found.report() and "missing: tongueOut" in found.report()


def test_an_avatar_that_stays_still_is_told():
    assert "no morph targets" in match([]).report()
    report = match(["Bone_A", "Bone_B"]).report()
    assert "Bone_A" in report and "stays still" in report


@pytest.mark.parametrize(
    "names",
    [
        ["Fcl_MTH_A", "Fcl_MTH_I", "Fcl_MTH_U", "Fcl_MTH_E", "Fcl_MTH_O", "Fcl_EYE_Close"],
        ["vrc.v_aa", "vrc.v_ih", "vrc.v_ou", "vrc.v_e", "vrc.v_oh"],
        ["aa", "ih", "ou", "ee", "oh", "blink"],
        ["あ", "い", "う", "え", "お", "まばたき"],
    ],
)
def test_avatars_with_vowels(names):
    found = match(names)
    assert found.vowels and not found.unmatched
    assert found.targets[names[0]]["jawOpen"] > 0 > found.targets[names[0]]["mouthClose"]


def test_arkit_shapes_win_over_vowels():
    assert not match([*ARKIT_NAMES, "aa", "oh"]).vowels


MAPPING = """
targets:
  Jaw Down: jaw_open
  Grin: {mouthSmileLeft: 0.5, mouthSmileRight: 0.5}
gains: {jawOpen: 1.5}
ignore: [mouthPucker]
"""


def test_a_mapping_names_what_nobody_knows():
    found = match(["Jaw Down", "Grin", "mouthPucker", "browInnerUp"], parse_mapping(MAPPING))
    assert found.targets["Jaw Down"] == {"jawOpen": 1.5}
    assert found.targets["Grin"] == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert "mouthPucker" not in found.targets and not found.unmatched
    assert found.matrix().shape == (3, 52)


@pytest.mark.parametrize(
    "text, words",
    [
        ("targets: {A: jawWide}", "'jawWide' is no ARKit coefficient"),
        ("targets: {A: 3}", "neither an ARKit name nor a table"),
        ("gains: {jawOpen: -1}", "must not be negative"),
        ("gains: {jawOpen: 1000}", "no number from 0 to 4"),
        ("target: {}", "unknown key target"),
        ("- a", "targets, gains and ignore"),
        ("{", "not YAML"),
    ],
)
def test_mistakes_in_a_mapping_are_named(text, words):
    with pytest.raises(MappingError, match=words):
        parse_mapping(text)


def test_a_mapping_for_another_avatar_is_refused():
    with pytest.raises(MappingError, match="Jaw Down, Grin, which the avatar lacks"):
        match(["jawOpen"], parse_mapping(MAPPING))
