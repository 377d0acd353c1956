"""How far a face moves: percentiles of several clips together, what is near a captured face, false closures."""

import numpy as np

from emotalk_ros.evaluation.metrics.spread import (
    CAPTURED,
    false_closures,
    histogram,
    near_captured,
    percentiles,
)
from emotalk_ros.face.names import COUNT, INDEX


def test_percentiles_of_several_clips_are_those_of_all_their_frames():
    rng = np.random.default_rng(0)
    clips = [rng.beta(1.0, 5.0, (n, COUNT)).astype(np.float32) for n in (40, 900, 2000)]
    found = percentiles(histogram(clip) for clip in clips)
    assert set(found) == set(CAPTURED)
    for name, values in found.items():
        wanted = np.percentile(np.concatenate(clips)[:, INDEX[name]], (50, 90, 99))
        np.testing.assert_allclose(values, wanted, atol=0.006)  # half a bin, and a frame more or less


def test_a_face_at_rest_has_no_width_and_no_clip_has_no_percentiles():
    assert percentiles([histogram(np.zeros((30, COUNT), np.float32))])["jawOpen"] == (0.0, 0.0, 0.0)
    assert percentiles([]) == {}


def test_values_beyond_the_range_are_counted_at_its_ends():
    wild = np.full((10, COUNT), 3.0, np.float32)
    wild[:5] = -1.0
    assert sum(histogram(wild)["jawOpen"]) == 10 and len(histogram(wild)["jawOpen"]) == 201


def test_near_is_within_a_quarter_of_captured():
    assert near_captured("jawOpen", (0.05, 0.16, 0.42)) == (True, True, True)
    assert near_captured("jawOpen", (0.06, 0.20, 0.315)) == (True, True, True)
    assert near_captured("jawOpen", (0.07, 0.21, 0.30)) == (False, False, False)
    assert near_captured("mouthClose", (0.01, 0.04, 0.11))[0]  # captured 0: to its rounding


def test_false_closures_are_counted_where_the_reference_is_open():
    reference = np.array([0.0, 2.0, 3.0, 8.0, 8.0])
    assert false_closures(np.array([0.0, 0.0, 0.1, 0.6, 0.2]), reference) == (2, 3)
    assert false_closures(np.zeros(5), np.zeros(5)) == (0, 0)
