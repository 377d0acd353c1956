import numpy as np
import pytest

from emotalk_ros.corpus.labels import blink_track, labels_from_phones
from emotalk_ros.corpus.styles import PERSONS, PersonalStyle, personal_style
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.composition import lip_opening
from emotalk_ros.face.expressions import expression
from emotalk_ros.face.names import BLINK, INDEX, MOUTH, UPPER_FACE

PHONES = [
    ("SIL", 0.0, 0.4),
    ("M", 0.4, 0.5),
    ("AA", 0.5, 0.7),
    ("B", 0.7, 0.8),
    ("IY", 0.8, 1.0),
    ("F", 1.0, 1.12),
    ("UW", 1.12, 1.4),
    ("P", 1.4, 1.5),
    ("AE", 1.5, 1.8),
    ("SIL", 1.8, 3.0),
]
FRAMES = 90


def of(**changes):
    return labels_from_phones(PHONES, FRAMES, **{"fps": 30.0, "blinks": False, **changes})


def at(labels, name, time):
    return labels[int(time * 30.0), INDEX[name]]


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("person", [0, 7, 23])
def test_values_stay_within_0_and_1_and_move_without_jitter(emotion, person):
    labels = of(emotion=emotion, person=person, blinks=True)
    assert labels.shape == (FRAMES, 52) and labels.dtype == np.float32
    assert labels.min() >= 0.0 and labels.max() <= 1.0
    others = np.setdiff1d(np.arange(52), BLINK)
    assert np.abs(np.diff(labels[:, others], axis=0)).max() < 0.25
    still = labels[72:88][:, others]
    assert np.abs(np.diff(still, axis=0)).max() < 0.01


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_lips_close_on_b_and_p_in_every_emotion(emotion):
    for person in (0, 5, 11):
        labels = of(emotion=emotion, person=person)
        for time in (0.75, 1.45):
            assert lip_opening(labels[int(time * 30.0)]) < 1.0
            assert at(labels, "mouthUpperUpLeft", time) < 0.05
            assert at(labels, "mouthLowerDownRight", time) < 0.05
        assert lip_opening(labels[int(0.6 * 30.0)]) > 2.5


@pytest.mark.parametrize("emotion", [e for e in EMOTIONS if e not in ("neutral",)])
def test_the_upper_face_shows_the_emotion_and_the_level_scales_it(emotion):
    plain = of()
    weak, strong = (of(emotion=emotion, level=level)[30:54, UPPER_FACE] - plain[30:54, UPPER_FACE] for level in (0, 1))
    direction = expression(emotion)[UPPER_FACE]
    assert (strong @ direction).mean() > 1.4 * (weak @ direction).mean() > 0.0


def test_a_happy_mouth_still_speaks_the_same_words():
    lips = np.setdiff1d(MOUTH, [INDEX[n] for n in ("mouthSmileLeft", "mouthSmileRight")])
    plain, happy = of(), of(emotion="happy")
    assert np.corrcoef(lip_opening(plain), lip_opening(happy))[0, 1] > 0.98
    plain, happy = plain[:, lips], happy[:, lips]
    for k in np.flatnonzero(plain.std(axis=0) > 0.03):
        assert np.corrcoef(plain[:, k], happy[:, k])[0, 1] > 0.85


def test_expression_comes_with_the_voice_and_stays_through_pauses():
    labels = of(emotion="angry")
    before, during, soon, late = (at(labels, "browDownLeft", t) for t in (0.05, 1.2, 2.0, 2.9))
    assert before < 0.2 * during
    assert soon > late > 0.15 * during


def test_silence_is_a_closed_and_quiet_mouth():
    labels = labels_from_phones([("SIL", 0.0, 2.0)], 60, 30.0, emotion="surprised", blinks=False)
    assert labels[:, INDEX["jawOpen"]].max() < 0.03
    assert np.abs(np.diff(labels, axis=0)).max() < 0.01


def test_labels_depend_on_the_seed_only_through_blinks_and_sway():
    first, again, other = (labels_from_phones(PHONES, FRAMES, 30.0, "sad", seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    plain = [labels_from_phones(PHONES, FRAMES, 30.0, seed=s, blinks=False) for s in (1, 2)]
    assert np.array_equal(*plain)


def test_louder_speech_opens_wider():
    quiet, loud = (of(loudness=np.full(FRAMES, v, dtype=np.float32)) for v in (0.3, 1.0))
    assert at(loud, "jawOpen", 0.6) > 1.15 * at(quiet, "jawOpen", 0.6)


def test_blinks_close_the_lids_at_the_asked_rate():
    track = blink_track(30 * 300, 30.0, per_minute=18.0, seed=4)
    peaks = np.sum((track[1:-1] > 0.6) & (track[1:-1] >= track[:-2]) & (track[1:-1] > track[2:]))
    assert 60 <= peaks <= 120
    assert track.max() > 0.8 and np.mean(track > 0.05) < 0.2


def test_persons_differ_and_person_0_is_the_average():
    assert personal_style(0) == PersonalStyle()
    assert len({personal_style(k) for k in range(PERSONS)}) == PERSONS
    gains = np.array([[s.articulation, s.brows, s.corners] for s in map(personal_style, range(PERSONS))])
    assert np.abs(np.log(gains).mean(axis=0)).max() < 0.12
    first, second = (of(emotion="happy", person=k) for k in (3, 4))
    assert np.abs(first - second).max() > 0.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"person": 24}, "24"), ({"level": 1.5}, "1.5"), ({"emotion": "bored"}, "bored")],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        of(**changes)


def test_no_frames_give_no_labels():
    assert labels_from_phones([], 0).shape == (0, 52)
    assert labels_from_phones([], 3).shape == (3, 52)
