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


def test_rounding_and_closing_the_lips_are_left_to_speech():
    for label in EMOTIONS:
        assert expression(label)[INDEX["mouthPucker"]] == expression(label)[INDEX["mouthClose"]] == 0.0


STRONG = {
    "happy": {"mouthSmileLeft": 0.5, "cheekSquintRight": 0.5},
    "sad": {"browInnerUp": 0.5, "mouthFrownLeft": 0.5},
    "angry": {"browDownLeft": 0.5, "eyeSquintRight": 0.4, "mouthPressLeft": 0.4},
    "fearful": {"browInnerUp": 0.5, "eyeWideLeft": 0.5, "mouthStretchRight": 0.4},
    "disgust": {"noseSneerLeft": 0.5, "mouthUpperUpRight": 0.2},
    "surprised": {"browInnerUp": 0.5, "browOuterUpLeft": 0.5, "eyeWideRight": 0.5, "jawOpen": 0.25},
}


@pytest.mark.parametrize("label", STRONG)
def test_intensity_1_is_a_strong_portrayal_and_2_is_1_7_times_as_wide(label):
    face = expression(label)
    for name, least in STRONG[label].items():
        assert least <= face[INDEX[name]] <= 0.6, name
    assert (expression(label, 2.0) >= 1.7 * face).all()


def test_calm_is_a_slight_smile_under_soft_lids():
    calm, happy = expression("calm"), expression("happy")
    assert 0.2 < calm[INDEX["mouthSmileLeft"]] < 0.6 * happy[INDEX["mouthSmileLeft"]]
    assert 0.2 < calm[INDEX["eyeBlinkLeft"]] < 0.4 and happy[INDEX["eyeBlinkLeft"]] == 0.0


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
