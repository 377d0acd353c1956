"""Speech and expression on one face: linear where the mouth is free, and lips that keep what they say."""

import numpy as np
import pytest

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face import COUNT, INDEX, default_face, expression
from emotalk_ros.face.composition import compose, lip_opening
from emotalk_ros.face.names import UPPER_FACE
from emotalk_ros.face.styles import PERSONS, expressions_of

SHOWN = [e for e in EMOTIONS if e != "neutral"]


def pose(**values):
    vector = np.zeros(COUNT, dtype=np.float32)
    for name, value in values.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in INDEX:
                vector[INDEX[full]] = value
    return vector


SPEECH = {
    "closed": pose(jawOpen=0.06, mouthClose=0.06, mouthPress=0.03),
    "closed over an open jaw": pose(jawOpen=0.2, mouthClose=0.2),
    "narrow": pose(jawOpen=0.08, mouthUpperUp=0.05, mouthStretch=0.1),
    "teeth on the lip": pose(jawOpen=0.05, mouthRollLower=0.3, mouthUpperUp=0.15),
    "open": pose(jawOpen=0.3, mouthLowerDown=0.2, mouthUpperUp=0.15),
    "wide open": pose(jawOpen=0.6, mouthLowerDown=0.3),
    "round": pose(jawOpen=0.12, mouthPucker=0.5, mouthFunnel=0.25),
}


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("intensity", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("said", SPEECH)
def test_the_lip_gap_is_what_speech_alone_gives(said, intensity, emotion):
    before = np.maximum(lip_opening(SPEECH[said]), 0)
    for person in (0, 5, 17):
        face = expressions_of(person)[EMOTIONS.index(emotion)]
        after = np.maximum(lip_opening(compose(SPEECH[said], intensity * face)), 0)
        assert after == pytest.approx(before, rel=0.1, abs=0.3), person


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_closed_lips_touch_all_along_the_mouth(emotion):
    face = default_face()
    near = face.lip_ids[np.abs(face.template[face.lip_ids, 0]) < 15]
    points = face.template[near].round(3)
    order = np.lexsort(points.T)
    same = np.flatnonzero((np.diff(points[order], axis=0) == 0).all(axis=1))
    one, two = near[order[same]], near[order[same + 1]]
    assert len(one) > 15
    sign = np.sign(face.basis[INDEX["jawOpen"], two, 1] - face.basis[INDEX["jawOpen"], one, 1])
    sign = np.where(sign == 0, 1, sign)
    for intensity in (1.0, 2.0):
        moved = face.vertices(compose(SPEECH["closed"], intensity * expression(emotion)))
        assert (sign * (moved[two, 1] - moved[one, 1])).max() < 0.8


@pytest.mark.parametrize("emotion", SHOWN)
@pytest.mark.parametrize("said", SPEECH)
def test_displacement_grows_with_the_intensity(said, emotion):
    """Largest distance (mm) of the upper face, and of the mouth's corners, from the same speech without expression."""
    face = default_face()
    for person in (0, 3, 11):
        target = expressions_of(person)[EMOTIONS.index(emotion)]
        moved = [face.vertices(compose(SPEECH[said], k * target)) - face.vertices(SPEECH[said]) for k in (0.5, 1, 2)]
        for place, least in ((face.upper_ids, 1.0), (face.mouth_corner_ids, 0.0)):
            half, full, twice = (np.linalg.norm(m[place], axis=1).max() for m in moved)
            assert full >= least
            if full > 1.0:
                assert 0.4 < half / full < 0.6
                assert twice / full > 1.7


def test_no_expression_changes_nothing():
    for said in SPEECH.values():
        np.testing.assert_array_equal(compose(said, np.zeros(COUNT)), said)


def test_the_mouth_shows_the_expression_in_a_pause():
    quiet = np.zeros(COUNT, dtype=np.float32)
    surprised, angry = expression("surprised"), expression("angry")
    np.testing.assert_allclose(compose(quiet, surprised, busy=0.0), surprised)
    assert lip_opening(compose(quiet, surprised, busy=0.0)) > 8
    assert lip_opening(compose(quiet, surprised, busy=1.0)) < 0.3
    assert compose(quiet, angry, busy=0.0)[INDEX["mouthPressLeft"]] > 0.4


def test_smile_and_rounding_compete():
    smile = pose(mouthSmile=0.5)
    both = compose(SPEECH["round"], smile)
    assert 0.2 < both[INDEX["mouthSmileLeft"]] < 0.35
    assert 0.35 < both[INDEX["mouthPucker"]] < 0.5
    assert compose(SPEECH["open"], smile)[INDEX["mouthSmileLeft"]] == pytest.approx(0.5)


def test_frames_of_a_motion_are_independent_of_each_other():
    said = np.stack(list(SPEECH.values()))
    busy = np.linspace(0, 1, len(said))
    whole = compose(said, expression("disgust"), busy)
    one_by_one = [compose(row, expression("disgust"), share) for row, share in zip(said, busy, strict=True)]
    np.testing.assert_allclose(whole, np.stack(one_by_one), atol=1e-6)
    assert whole.dtype == np.float32 and whole.min() >= 0 and whole.max() <= 1


def test_every_person_shows_the_same_emotions_in_his_own_way():
    average = expressions_of(0)[1:]
    persons = np.stack([expressions_of(k)[1:] for k in range(PERSONS)])
    norms = np.linalg.norm(persons, axis=-1, keepdims=True)
    likeness = np.einsum("pec,fc->pef", persons / norms, average / np.linalg.norm(average, axis=-1, keepdims=True))
    assert (likeness.argmax(axis=2) == np.arange(len(average))).all()
    apart = np.abs(persons[:, None] - persons[None]).max(axis=(2, 3))[np.triu_indices(PERSONS, 1)]
    assert np.median(apart) > 0.1
    weights = np.zeros(PERSONS)
    weights[[2, 9]] = 0.5
    np.testing.assert_allclose(expressions_of(weights), (expressions_of(2) + expressions_of(9)) / 2, atol=1e-6)
    assert not np.delete(persons, UPPER_FACE, axis=2).max() > 0.6
