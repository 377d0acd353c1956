"""Mouth labels from phones: closures, lip-to-teeth, rounding, loudness, silence, errors."""

from itertools import pairwise

import numpy as np
import pytest

from emotalk_ros.corpus.arpabet import BILABIALS
from emotalk_ros.corpus.visemes import (
    SHAPES,
    VISEMES,
    MouthStyle,
    loudness_curve,
    mouth_from_phones,
)
from emotalk_ros.face.names import INDEX, MOUTH

FPS = 30.0


def word(*names, start=0.5, length=0.09):
    """Phones of equal length after a pause."""
    return [("SIL", 0.0, start)] + [
        (name, start + k * length, start + (k + 1) * length) for k, name in enumerate(names)
    ]


def column(coefficients, name):
    return coefficients[:, INDEX[name]]


def at(seconds):
    return int(seconds * FPS)


def opening(coefficients):
    """A rig-free measure of how far the lips are apart."""
    return (
        column(coefficients, "jawOpen")
        - column(coefficients, "mouthClose")
        + 0.2 * (column(coefficients, "mouthLowerDownLeft") + column(coefficients, "mouthUpperUpLeft"))
        + 0.4 * column(coefficients, "mouthFunnel")
    )


@pytest.mark.parametrize("phone", sorted(BILABIALS))
@pytest.mark.parametrize("length", [0.03, 0.09, 0.2])
def test_bilabials_close_tighter_than_rest(phone, length):
    phones = word("AA", phone, "AE", length=length)
    mouth = mouth_from_phones(phones, 60, FPS)
    middle = at(0.5 + 1.5 * length)
    assert opening(mouth)[middle] < opening(mouth)[-1]
    assert opening(mouth)[middle] < 0.1 * opening(mouth).max()
    assert column(mouth, "mouthPressLeft")[middle] > 0.02


@pytest.mark.parametrize("phone", ["F", "V"])
def test_labiodentals_roll_the_lower_lip_without_sealing(phone):
    mouth = mouth_from_phones(word("AA", phone, "AE"), 60, FPS)
    middle = at(0.5 + 1.5 * 0.09)
    assert column(mouth, "mouthRollLower")[middle] > 0.08
    assert column(mouth, "mouthLowerDownLeft")[middle] < 0.3 * column(mouth, "mouthLowerDownLeft").max()
    assert column(mouth, "mouthPressLeft")[middle] <= MouthStyle().rest_press + 1e-6


def test_only_contacts_close_the_lips():
    mouth = mouth_from_phones(word("S", "AA", "T", "IY", "K", "OW"), 60, FPS)
    assert column(mouth, "mouthClose").max() == 0


def test_open_vowels_open_more_than_close_ones_and_rounded_ones_protrude():
    def peak(phone, name):
        return column(mouth_from_phones(word("T", phone, "T", length=0.15), 60, FPS), name).max()

    assert peak("AA", "jawOpen") > 1.3 * peak("IY", "jawOpen")
    assert peak("UW", "mouthPucker") > 0.2
    assert peak("IY", "mouthPucker") < 0.08 < 0.25 < peak("W", "mouthPucker")
    assert peak("SH", "mouthFunnel") > 2 * peak("T", "mouthFunnel")
    assert peak("IY", "mouthStretchLeft") > 0.05


def test_rounding_begins_before_the_rounded_vowel():
    mouth = mouth_from_phones(word("S", "T", "UW"), 60, FPS)
    assert column(mouth, "mouthPucker")[at(0.5 + 1.5 * 0.09)] > 0.05


def test_diphthong_moves():
    pucker = column(mouth_from_phones(word("T", "AW", "T", length=0.25), 60, FPS), "mouthPucker")
    assert pucker[at(0.97)] > pucker[at(0.80)] + 0.05


def test_loud_speech_opens_wider():
    phones = word("AA", "T", "AA")
    quiet = mouth_from_phones(phones, 60, FPS, loudness=np.full(60, 0.3, np.float32))
    loud = mouth_from_phones(phones, 60, FPS, loudness=np.ones(60, np.float32))
    assert column(loud, "jawOpen").max() > 1.2 * column(quiet, "jawOpen").max()


def test_silence_is_a_constant_nearly_shut_mouth():
    for phones in ([], [("SIL", 0.0, 2.0)]):
        mouth = mouth_from_phones(phones, 60, FPS)
        assert np.ptp(mouth, axis=0).max() == 0
        assert 0 < column(mouth, "jawOpen")[0] < 0.03
    after = mouth_from_phones(word("AA"), 60, FPS)[at(0.59 + 0.2) :]
    assert column(after, "jawOpen").max() < 0.03


def test_mouth_opens_to_breathe_before_speech_but_not_earlier():
    mouth = mouth_from_phones([("SIL", 0, 1.5), ("AA", 1.5, 1.7)], 60, FPS)
    assert column(mouth, "jawOpen")[at(1.4)] > 0.03
    assert column(mouth, "jawOpen")[at(1.0)] < 0.01


def test_values_stay_in_range_and_on_the_mouth():
    rng = np.random.default_rng(3)
    names = list(VISEMES)
    edges = np.cumsum(rng.uniform(0.03, 0.2, 80))
    phones = [(names[rng.integers(len(names))], a, b) for a, b in pairwise(edges)]
    mouth = mouth_from_phones(phones, 300, FPS, loudness=rng.uniform(0, 1, 300).astype(np.float32))
    assert mouth.shape == (300, 52) and mouth.dtype == np.float32
    assert mouth.min() >= 0 and mouth.max() < 0.7
    others = np.setdiff1d(np.arange(52), MOUTH)
    assert np.abs(mouth[:, others]).max() == 0


def test_stress_digits_and_variants_are_understood():
    plain = mouth_from_phones([("AA", 0.2, 0.4)], 30, FPS)
    np.testing.assert_array_equal(mouth_from_phones([("AA1", 0.2, 0.4)], 30, FPS), plain)
    np.testing.assert_array_equal(mouth_from_phones([("aa(2)", 0.2, 0.4)], 30, FPS), plain)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="XX"):
        mouth_from_phones([("XX", 0, 0.1)], 10, FPS)
    with pytest.raises(ValueError, match="before it starts"):
        mouth_from_phones([("AA", 0.2, 0.1)], 10, FPS)
    with pytest.raises(ValueError, match="loudness"):
        mouth_from_phones([("AA", 0, 0.1)], 10, FPS, loudness=np.ones(9, np.float32))


def test_coefficients_reach_their_amplitude_at_the_targets_of_one_frame_in_a_hundred():
    for name, (targets, shares) in SHAPES.items():
        assert shares[-1] == 1.0 and list(targets) == sorted(targets) and list(shares) == sorted(shares), name
    # A mouth that is told to open evenly moves unevenly: half the target gives less than half of the opening.
    phones = [("AH", 0.0, 2.0)]
    opened = [
        column(mouth_from_phones(phones, 60, FPS, np.full(60, level, np.float32)), "jawOpen")[30]
        for level in (0.25, 0.5, 0.75, 1.0)
    ]
    steps = np.diff(opened)
    assert (steps > 0).all() and steps[-1] > steps[0]


def test_speech_is_mostly_nearly_shut_and_wide_open_now_and_then():
    rng = np.random.default_rng(5)
    phones, time = [], 0.3
    while time < 58:  # syllables of a consonant and a vowel, of all kinds, some louder than others
        for name in (rng.choice(["T", "M", "S", "K", "L", "W"]), rng.choice(["AA", "IY", "UW", "EH", "AH"])):
            length = float(rng.uniform(0.06, 0.14))
            phones.append((str(name), time, time + length))
            time += length
        time += 0.5 * (rng.random() < 0.1)
    loudness = np.clip(rng.normal(0.75, 0.12, 1800), 0, 1).astype(np.float32)
    jaw = column(mouth_from_phones(phones, 1800, FPS, loudness), "jawOpen")
    middle, wide, widest = np.percentile(jaw, (50, 90, 99))
    assert 0.02 < middle < 0.12 and wide > 1.5 * middle and 0.15 < widest < 0.42


def test_loudness_is_blind_to_gain():
    rng = np.random.default_rng(0)
    audio = (rng.standard_normal(32000) * np.linspace(0.01, 0.3, 32000)).astype(np.float32)
    curve = loudness_curve(audio, 60, FPS)
    assert curve.shape == (60,) and curve[-1] > curve[5] + 0.3
    np.testing.assert_allclose(loudness_curve(0.2 * audio, 60, FPS), curve, atol=0.02)


def test_loudness_is_that_of_the_band_an_open_mouth_lets_out():
    time = np.arange(16000) / 16000
    hum, vowel, hiss = (np.sin(2 * np.pi * hertz * time) for hertz in (150, 900, 6000))  # equally strong
    curve = loudness_curve(np.concatenate([hum, vowel, hiss]), 90, FPS)
    assert curve[35:55].min() > 0.99
    assert curve[5:25].max() < 0.5 and curve[65:85].max() < 0.7


def test_a_part_of_jaw_and_lips_follows_the_loudness_whatever_the_phone():
    loud = np.where(np.arange(60) < 30, 0.9, 0.4).astype(np.float32)
    shut = mouth_from_phones([("S", 0.0, 2.0)], 60, FPS, loud, MouthStyle(loudness=0.0))
    for name in ("jawOpen", "mouthLowerDownLeft"):
        assert shut[10:25, INDEX[name]].mean() > 1.2 * shut[40:55, INDEX[name]].mean()
    unmoved = mouth_from_phones([("S", 0.0, 2.0)], 60, FPS, loud, MouthStyle(loudness=0, sonority=0, lips_sonority=0))
    assert np.ptp(unmoved[10:50, INDEX["jawOpen"]]) < 1e-3
