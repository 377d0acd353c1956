"""Coefficients and action units: the table is sound, and the way there and back is the identity where it can be."""

from collections import Counter

import numpy as np
import pytest

from emotalk_ros.face import expression
from emotalk_ros.face.action_units import NAMES, ONE_SIDED, TABLE, UNITS, action_units, coefficients
from emotalk_ros.face.names import ARKIT_NAMES


def test_every_coefficient_has_at_most_one_unit_and_only_the_sidewise_ones_have_none():
    used = Counter(name for names in TABLE.values() for name in names)
    assert set(used) <= set(ARKIT_NAMES) and max(used.values()) == 1
    sideways = {name for pair in ONE_SIDED.values() for name in pair}
    rest = set(ARKIT_NAMES) - set(used) - sideways
    assert rest == {"mouthLeft", "mouthRight", "mouthShrugUpper"}
    assert NAMES.keys() == TABLE.keys()


def test_units_come_back_as_they_were():
    rng = np.random.default_rng(2)
    units = np.zeros((5, UNITS), np.float32)
    units[:, list(TABLE)] = rng.random((5, len(TABLE)))
    back = action_units(coefficients(units))
    np.testing.assert_allclose(back[:, list(TABLE)], units[:, list(TABLE)], atol=1e-6)


@pytest.mark.parametrize(
    ("label", "shown"),  # EMFACS's main units of each emotion
    [("happy", {6, 12}), ("sad", {1, 15}), ("angry", {4, 7}), ("surprised", {1, 2, 5}), ("disgust", {9})],
)
def test_expressions_show_the_units_of_their_emotion(label, shown):
    units = action_units(expression(label, 1.0))
    assert all(units[unit] > 0.15 for unit in shown), {unit: float(units[unit]) for unit in shown}


def test_lips_part_with_the_jaw_unless_they_are_closed_over_it():
    face = np.zeros(52, np.float32)
    face[ARKIT_NAMES.index("jawOpen")] = 0.5
    assert action_units(face)[25] == 0.5 and action_units(face)[26] == 0.5
    face[ARKIT_NAMES.index("mouthClose")] = 0.5
    assert action_units(face)[25] == 0.0


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="52"):
        action_units(np.zeros(51))
    with pytest.raises(ValueError, match="99"):
        coefficients(np.zeros(52))
