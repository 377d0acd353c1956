"""The coarser mesh: smaller, still the face, and its lips and lids open."""

import numpy as np
import pytest

from emotalk_ros.face import default_face
from emotalk_ros.face.names import INDEX
from emotalk_ros.face.simplify import simplified


def test_it_is_smaller_and_near_the_face():
    face = default_face()
    counts = []
    for cell in (3.0, 6.0, 12.0):
        ids, triangles = simplified(face, cell)
        assert len(np.unique(ids)) == len(ids) and triangles.max() < len(ids)
        assert not (triangles[:, [0, 1, 2]] == triangles[:, [1, 2, 0]]).any()
        counts.append(len(triangles))
        box = [face.template[ids].min(0), face.template[ids].max(0)]
        np.testing.assert_allclose(box, [face.template.min(0), face.template.max(0)], atol=2 * cell)
    assert counts == sorted(counts, reverse=True) and counts[1] < 0.4 * len(face.triangles)


def stretch(ids, triangles):
    """The most that an edge of the mesh grows when the jaw opens, in mm."""
    face, jaw = default_face(), np.zeros(52, np.float32)
    jaw[INDEX["jawOpen"]] = 1.0
    places = [face.template[ids], face.vertices(jaw[None], ids)[0]]
    rest, wide = (np.linalg.norm(p[triangles] - p[triangles[:, [1, 2, 0]]], axis=2) for p in places)
    return (wide - rest).max()


@pytest.mark.parametrize("cell", [3.0, 6.0, 10.0])
def test_lips_that_touch_at_rest_are_not_sewn_together(cell):
    whole = stretch(*simplified(default_face(), 0.0))
    assert stretch(*simplified(default_face(), cell)) < whole + 2.0


def test_cell_zero_is_the_mesh_itself():
    face = default_face()
    ids, triangles = simplified(face, 0.0)
    np.testing.assert_array_equal(ids[triangles], face.triangles)
    with pytest.raises(ValueError, match="cell -1"):
        simplified(face, -1.0)
