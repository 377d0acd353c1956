import numpy as np
import pytest

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.expressions import ACTION_UNITS, EMOTION_UNITS, action_units, expression
from emotalk_ros.face.names import ARKIT_NAMES, INDEX, mirrored

# The EMFACS prototypes, restated here so that a change of the table cannot pass unseen.
EMFACS = {
    "happy": {"6", "12"},
    "sad": {"1", "4", "15"},
    "surprised": {"1", "2", "5", "26"},
    "fearful": {"1", "2", "4", "5", "7", "20", "26"},
    "angry": {"4", "5", "7", "23"},
    "disgust": {"9", "15", "16"},
}


@pytest.mark.parametrize("label", EMFACS)
def test_every_prototype_holds_its_emfacs_units(label):
    assert set(EMOTION_UNITS[label]) >= EMFACS[label]


def test_neutral_is_a_rest_face():
    assert not expression("neutral", 2.0).any()


@pytest.mark.parametrize("label", EMOTIONS)
def test_expressions_are_symmetric_scaled_and_bounded(label):
    full = expression(label, 1.0)
    assert full.shape == (52,) and full.dtype == np.float32
    for name in ARKIT_NAMES:
        assert full[INDEX[name]] == full[INDEX[mirrored(name)]]
    assert np.allclose(expression(label, 0.5), 0.5 * full)
    assert expression(label, 2.0).max() <= 1.0


def test_emotions_are_told_apart():
    faces = np.stack([expression(label) for label in EMOTIONS if label != "neutral"])
    distance = np.abs(faces[:, None] - faces[None, :]).sum(axis=2) + np.eye(len(faces))
    assert distance.min() > 0.3


def test_a_mouth_can_still_speak_in_every_emotion():
    for label in EMOTIONS:
        face = expression(label)
        assert face[INDEX["jawOpen"]] <= 0.1
        assert face[INDEX["mouthPucker"]] == face[INDEX["mouthClose"]] == 0.0


def test_happiness_raises_the_corners_and_anger_lowers_the_brows():
    happy, angry = expression("happiness"), expression("ANGRY")
    assert happy[INDEX["mouthSmileLeft"]] > 0.3 and happy[INDEX["cheekSquintRight"]] > 0.3
    assert angry[INDEX["browDownLeft"]] > 0.5 and angry[INDEX["browInnerUp"]] == 0.0


@pytest.mark.parametrize("wrong", [-0.1, 2.1, float("nan")])
def test_a_wrong_intensity_is_named(wrong):
    with pytest.raises(ValueError, match="intensity"):
        expression("happy", wrong)


def test_a_wrong_name_is_named():
    with pytest.raises(ValueError, match="bored"):
        expression("bored")
    with pytest.raises(ValueError, match="99"):
        action_units({"99": 1.0})


def test_units_name_known_coefficients():
    for unit in ACTION_UNITS.values():
        assert set(unit) <= set(ARKIT_NAMES)
