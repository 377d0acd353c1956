"""The orders of the 52 coefficients."""

import numpy as np
import pytest

from emotalk_ros.face.aliases import VRM0_PRESETS, VRM1_PRESETS, arkit_name
from emotalk_ros.face.names import (
    ARKIT_NAMES,
    INDEX,
    LIVE_LINK_CSV_NAMES,
    LIVE_LINK_NAMES,
    MOUTH,
    UPPER_FACE,
    mirrored,
    reorder,
)
from emotalk_ros.motion.files import read_motion


def test_home_order_is_alphabetical_and_complete():
    assert len(ARKIT_NAMES) == 52
    assert list(ARKIT_NAMES) == sorted(ARKIT_NAMES)
    assert set(ARKIT_NAMES) == set(LIVE_LINK_NAMES)
    assert (INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"], INDEX["jawOpen"], INDEX["tongueOut"]) == (8, 9, 24, 51)


def test_live_link_order_begins_with_the_left_eye_and_ends_with_the_tongue():
    assert LIVE_LINK_NAMES[:2] == ("eyeBlinkLeft", "eyeLookDownLeft")
    assert LIVE_LINK_NAMES[17:19] == ("jawOpen", "mouthClose")
    assert LIVE_LINK_NAMES[-1] == "tongueOut"


def test_reorder_maps_by_name_and_back():
    values = np.arange(104, dtype=np.float32).reshape(2, 52)
    live = reorder(values, ARKIT_NAMES, LIVE_LINK_NAMES)
    assert live[0, 0] == INDEX["eyeBlinkLeft"]
    np.testing.assert_array_equal(reorder(live, LIVE_LINK_NAMES, ARKIT_NAMES), values)
    capitals = [name[0].upper() + name[1:] for name in LIVE_LINK_NAMES]
    np.testing.assert_array_equal(reorder(live, capitals, ARKIT_NAMES), values)


def test_reorder_names_what_is_missing():
    with pytest.raises(ValueError, match="jawOpen"):
        reorder(np.zeros((1, 51)), [n for n in ARKIT_NAMES if n != "jawOpen"], ARKIT_NAMES)


def test_mirror_is_an_involution_within_the_names():
    assert {mirrored(name) for name in ARKIT_NAMES} == set(ARKIT_NAMES)
    assert all(mirrored(mirrored(name)) == name for name in ARKIT_NAMES)


def test_regions_do_not_overlap():
    assert not set(MOUTH) & set(UPPER_FACE)
    assert len(MOUTH) == 27


# As real files and definitions have them. The first line of a take saved by the app Live Link Face, without the time
# code and count before and the angles behind:
LIVE_LINK_FACE_CSV = (
    "EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,EyeWideLeft,EyeBlinkRight,"
    "EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,JawForward,JawRight,"
    "JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,MouthSmileLeft,MouthSmileRight,"
    "MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,MouthStretchRight,MouthRollLower,"
    "MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,"
    "MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,BrowOuterUpLeft,"
    "BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut"
)
# Unreal Engine's enumeration EARFaceBlendShape, whose numbers are the places in the app's UDP packets.
UNREAL = (
    "EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,EyeWideLeft,EyeBlinkRight,"
    "EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,JawForward,JawLeft,"
    "JawRight,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthLeft,MouthRight,MouthSmileLeft,MouthSmileRight,"
    "MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,MouthStretchRight,MouthRollLower,"
    "MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,"
    "MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,BrowOuterUpLeft,"
    "BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut"
)
# The categories of MediaPipe's face landmarker, in its order; it sees no tongue.
MEDIAPIPE = (
    "_neutral,browDownLeft,browDownRight,browInnerUp,browOuterUpLeft,browOuterUpRight,cheekPuff,cheekSquintLeft,"
    "cheekSquintRight,eyeBlinkLeft,eyeBlinkRight,eyeLookDownLeft,eyeLookDownRight,eyeLookInLeft,eyeLookInRight,"
    "eyeLookOutLeft,eyeLookOutRight,eyeLookUpLeft,eyeLookUpRight,eyeSquintLeft,eyeSquintRight,eyeWideLeft,eyeWideRight,"
    "jawForward,jawLeft,jawOpen,jawRight,mouthClose,mouthDimpleLeft,mouthDimpleRight,mouthFrownLeft,mouthFrownRight,"
    "mouthFunnel,mouthLeft,mouthLowerDownLeft,mouthLowerDownRight,mouthPressLeft,mouthPressRight,mouthPucker,"
    "mouthRight,mouthRollLower,mouthRollUpper,mouthShrugLower,mouthShrugUpper,mouthSmileLeft,mouthSmileRight,"
    "mouthStretchLeft,mouthStretchRight,mouthUpperUpLeft,mouthUpperUpRight,noseSneerLeft,noseSneerRight"
)


def _capital(name):
    return name[0].upper() + name[1:]


def capitals(names):
    return ",".join(map(_capital, names))


def test_each_order_is_that_of_real_files_and_definitions():
    assert capitals(LIVE_LINK_CSV_NAMES) == LIVE_LINK_FACE_CSV
    assert capitals(LIVE_LINK_NAMES) == UNREAL
    assert ("_neutral", *ARKIT_NAMES[:-1]) == tuple(MEDIAPIPE.split(","))


# The clips that VMagicMirror drives on a VRM avatar made for "Perfect Sync", as its source groups them.
PERFECT_SYNC = (
    "EyeBlinkLeft,EyeLookUpLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeWideLeft,EyeSquintLeft,EyeBlinkRight,"
    "EyeLookUpRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeWideRight,EyeSquintRight,MouthLeft,"
    "MouthSmileLeft,MouthFrownLeft,MouthPressLeft,MouthUpperUpLeft,MouthLowerDownLeft,MouthStretchLeft,"
    "MouthDimpleLeft,MouthRight,MouthSmileRight,MouthFrownRight,MouthPressRight,MouthUpperUpRight,MouthLowerDownRight,"
    "MouthStretchRight,MouthDimpleRight,MouthClose,MouthFunnel,MouthPucker,MouthShrugUpper,MouthShrugLower,"
    "MouthRollUpper,MouthRollLower,JawOpen,JawForward,JawLeft,JawRight,NoseSneerLeft,NoseSneerRight,CheekPuff,"
    "CheekSquintLeft,CheekSquintRight,TongueOut,BrowDownLeft,BrowOuterUpLeft,BrowDownRight,BrowOuterUpRight,BrowInnerUp"
)
# The presets of the specification: presetName of vrm.blendshape.group.schema.json (0.0), and
# VRMC_vrm.expressions.schema.json (1.0).
VRM0 = "unknown,neutral,a,i,u,e,o,blink,joy,angry,sorrow,fun,lookup,lookdown,lookleft,lookright,blink_l,blink_r"
VRM1 = (
    "happy,angry,sad,relaxed,surprised,aa,ih,ou,ee,oh,blink,blinkLeft,blinkRight,lookUp,lookDown,lookLeft,lookRight,"
    "neutral"
)


def test_the_names_of_vrm_avatars_are_those_of_their_programs_and_specifications():
    clips = PERFECT_SYNC.split(",")
    assert sorted(_capital(name) for name in ARKIT_NAMES) == sorted(clips)
    assert [arkit_name(clip) for clip in clips] == [clip[0].lower() + clip[1:] for clip in clips]
    # Eyes and rest come from the coefficients of the eyes and from nothing being moved: no preset of them is wanted.
    others = {"unknown", "neutral", "lookup", "lookdown", "lookleft", "lookright"}
    assert {name.lower() for name in VRM0_PRESETS} == set(VRM0.split(",")) - others
    assert set(VRM1_PRESETS) == {name for name in VRM1.split(",") if name.lower() not in others}


def test_a_file_of_a_vrm_avatars_names_in_its_own_order_is_read_by_name(tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, (3, 52)).astype(np.float32)
    clips, columns = PERFECT_SYNC.split(","), [_capital(name) for name in ARKIT_NAMES]
    rows = [f"time,{PERFECT_SYNC}"]
    for k, row in enumerate(values):
        rows.append(",".join([f"{k / 30:.6f}", *(repr(float(row[columns.index(name)])) for name in clips)]))
    (tmp_path / "vrm.csv").write_text("\n".join(rows) + "\n")
    found, fps = read_motion(tmp_path / "vrm.csv")
    assert fps == pytest.approx(30, rel=1e-3)
    np.testing.assert_allclose(found, values, atol=1e-6)
