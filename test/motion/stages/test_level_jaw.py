"""A jaw that goes with the loudness: what moves, and what it leaves alone."""

import numpy as np
import pytest
from faces import CLOSE, JAW, face, play
from hypothesis import given
from hypothesis import strategies as st

from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.stages.level_jaw import LevelJaw, LevelJawSettings

LIP = INDEX["mouthLowerDownLeft"]
OTHERS = [
    k for name, k in INDEX.items() if not name.startswith(("jawOpen", "mouthClose", "mouthLowerDown", "mouthUpperUp"))
]


def moved(faces, loudness, share=0.6):
    return play(LevelJaw(LevelJawSettings(share)), faces, loudness=np.broadcast_to(loudness, len(faces)))


def test_an_open_mouth_opens_further_where_it_is_louder_and_its_lips_with_it():
    faces = [face(jawOpen=0.2, mouthLowerDownLeft=0.3, mouthSmileLeft=0.2, browInnerUp=0.1)] * 60
    out = moved(faces, np.linspace(0.0, 1.0, 60))
    assert (np.diff(out[:, JAW]) > 0).all() and (np.diff(out[10:, LIP]) > 0).all()
    assert out[0, JAW] < 0.1 and 0.15 < out[-1, JAW] < 0.25
    np.testing.assert_array_equal(out[:, OTHERS], np.stack(faces)[:, OTHERS])


def test_closed_lips_stay_closed_whatever_the_jaw_behind_them_does():
    faces = [face(jawOpen=0.2, mouthClose=0.2 * (20 <= k < 40), mouthLowerDownLeft=0.3) for k in range(60)]
    out = moved(faces, 0.3)
    shut = out[22:38]
    assert (shut[:, CLOSE] >= shut[:, JAW]).all() and shut[:, JAW].max() < 0.15
    np.testing.assert_array_equal(shut[:, LIP], np.float32(0.3))


def test_a_mouth_that_hardly_moves_is_not_opened_by_noise():
    for jaw in (0.0, 0.01, 0.03):
        assert moved([face(jawOpen=jaw)] * 60, 1.0)[:, JAW].max() <= jaw + 1e-6


def test_no_share_changes_nothing_and_shares_out_of_range_are_refused():
    faces = np.random.default_rng(0).random((20, 52)).astype(np.float32)
    np.testing.assert_array_equal(moved(faces, 0.7, 0.0), faces)
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match="share of the level-driven jaw"):
            LevelJawSettings(share)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60), st.floats(0, 1))
def test_any_mouth_stays_within_reason(mouths, share):
    out = moved(
        [face(jawOpen=jaw, mouthClose=close) for jaw, close, _ in mouths], [level for *_, level in mouths], share
    )
    assert np.isfinite(out).all() and out.min() >= 0 and out[:, JAW].max() <= 1 + 1e-6
