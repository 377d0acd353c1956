"""Factors of all, of a region, of single coefficients."""

import pytest
from faces import BROW, JAW, face, play

from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.stages.gains import Gains, GainSettings


def test_gains_multiply_by_region_and_name_and_end_at_one():
    settings = GainSettings(all=2.0, mouth=0.5, upper=1.5, single={"jawOpen": 0.25})
    (out,) = play(Gains(settings), [face(jawOpen=0.4, mouthPucker=0.3, browInnerUp=0.2, eyeWideLeft=0.8)])
    assert out[JAW] == pytest.approx(0.1)
    assert out[INDEX["mouthPucker"]] == pytest.approx(0.3)
    assert out[BROW] == pytest.approx(0.6)
    assert out[INDEX["eyeWideLeft"]] == 1.0


def test_what_a_network_gives_below_zero_is_zero():
    assert play(Gains(GainSettings()), [face(jawOpen=-0.2)]).min() == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"all": -1.0}, "gain of all -1.0: must be 0 to 4"),
        ({"mouth": float("nan")}, "gain of mouth nan"),
        ({"single": {"jawopen": 1.0}}, "'jawopen'"),
        ({"single": {"jawOpen": 9.0}}, "gain of jawOpen 9.0: must be 0 to 4"),
    ],
)
def test_gains_out_of_range_are_refused_with_the_range(fields, words):
    with pytest.raises(ValueError, match=words):
        GainSettings(**fields)
