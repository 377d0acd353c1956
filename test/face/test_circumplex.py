"""Words and places of emotions: every label has one, mixtures are continuous, and what is shown comes back."""

import math

import numpy as np
import pytest

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.circumplex import ANGLES, EXPRESSIONS, WORDS, emotion_at, place_of


def test_every_label_has_a_place_and_a_word():
    assert {*ANGLES, "neutral"} == set(EMOTIONS) == set(WORDS)
    assert set(WORDS.values()) <= set(EXPRESSIONS)
    for weights, intensity in EXPRESSIONS.values():
        assert set(weights) <= set(EMOTIONS) and sum(weights.values()) == pytest.approx(1.0)
        assert 0.0 < intensity <= 2.0


# Direct circular scaling, as two public summaries of Russell (1980) give it, and the corners of his abstract.
RUSSELL = {
    **{"pleasure": 0.0, "happy": 7.8, "delighted": 24.9, "excited": 48.6, "astonished": 69.8, "aroused": 73.8},
    **{"tense": 92.8, "alarmed": 96.5, "distress": 135.0, "displeasure": 180.0, "miserable": 188.7, "sad": 207.5},
    **{"depression": 225.0, "droopy": 256.6, "tired": 267.7, "sleepy": 271.9, "calm": 316.2, "serene": 328.6},
}


def test_the_places_are_those_of_russells_words():
    words = {"happy": "happy", "surprised": "astonished", "sad": "sad", "calm": "calm"}
    assert {label: ANGLES[label] for label in words} == {label: RUSSELL[word] for label, word in words.items()}
    assert RUSSELL["alarmed"] < ANGLES["angry"] < ANGLES["fearful"] < RUSSELL["distress"]  # angry 99, afraid 116
    assert RUSSELL["distress"] < ANGLES["disgust"] < RUSSELL["displeasure"]  # unpleasant, half aroused: a choice


def test_a_place_gives_its_emotion_and_the_emotion_its_place():
    for label, angle in ANGLES.items():
        valence, arousal = 0.8 * math.cos(math.radians(angle)), 0.8 * math.sin(math.radians(angle))
        weights, intensity = emotion_at(valence, arousal)
        assert weights[label] == pytest.approx(1.0) and intensity == pytest.approx(0.8)
        assert place_of(weights, intensity) == pytest.approx((valence, arousal))
    assert emotion_at(0.0, 0.0) == ({"neutral": 1.0}, 1.0) and place_of({"neutral": 1.0}) == (0.0, 0.0)


def test_all_around_the_circle_nothing_jumps():
    def face(angle):
        weights, intensity = emotion_at(math.cos(angle), math.sin(angle))
        assert sum(weights.values()) == pytest.approx(1.0) and min(weights.values()) >= 0.0
        return intensity * np.array([weights.get(label, 0.0) for label in EMOTIONS])

    faces = np.array([face(angle) for angle in np.linspace(0, 2 * math.pi, 2000)])
    assert np.abs(np.diff(faces, axis=0)).max() < 0.02


def test_what_is_no_number_is_refused_and_what_is_too_far_is_cut_off():
    with pytest.raises(ValueError, match="finite"):
        emotion_at(math.nan, 0.0)
    assert emotion_at(9.0, 0.0)[1] == 1.0
    assert math.hypot(*place_of({"happy": 1.0}, 5.0)) == pytest.approx(1.0)
