"""The orders of the 52 coefficients."""

import numpy as np
import pytest

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


def capitals(names):
    return ",".join(name[0].upper() + name[1:] for name in names)


def test_each_order_is_that_of_real_files_and_definitions():
    assert capitals(LIVE_LINK_CSV_NAMES) == LIVE_LINK_FACE_CSV
    assert capitals(LIVE_LINK_NAMES) == UNREAL
    assert ("_neutral", *ARKIT_NAMES[:-1]) == tuple(MEDIAPIPE.split(","))
