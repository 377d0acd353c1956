"""The face made by the project: proportions, closing lips and lids, symmetry."""

import numpy as np
import pytest

from emotalk_ros.face import ARKIT_NAMES, COUNT, INDEX, default_face
from emotalk_ros.face.default.mesh import EYE, EYE_CENTRE, EYE_RADIUS, GLINT
from emotalk_ros.face.default.parts import build
from emotalk_ros.face.names import mirrored


@pytest.fixture(scope="module")
def face():
    return default_face()


@pytest.fixture(scope="module")
def parts():
    mesh, grid = build()
    return np.concatenate(mesh.numbers), grid


def pose(**values):
    coefficients = np.zeros(COUNT, dtype=np.float32)
    for name, value in values.items():
        coefficients[INDEX[name]] = value
    return coefficients


def test_proportions_are_human(face, parts):
    _, grid = parts
    corners = face.template[face.mouth_corner_ids]
    assert corners[0, 0] < 0 < corners[1, 0]
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(50, abs=1)
    ends = [np.argmin(np.abs(grid.a - side * 44.7)) for side in (-1, 1)]
    eyes = face.template[grid.above[grid.eye_row, ends]]
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(90, abs=2)
    top, chin = face.template[face.face_height_ids]
    assert 160 < np.linalg.norm(top - chin) < 190
    jaw = np.linalg.norm(face.basis[INDEX["jawOpen"]], axis=1)
    assert jaw.max() == pytest.approx(42, abs=0.3)


def test_every_shape_moves_something_by_a_human_amount(face):
    reach = np.linalg.norm(face.basis, axis=2).max(axis=1)
    assert dict(zip(ARKIT_NAMES, reach > 2, strict=True)) == dict.fromkeys(ARKIT_NAMES, True)
    assert reach.max() < 43 and face.missing == ()


def test_lips_touch_at_rest_and_whenever_mouth_close_equals_jaw_open(face):
    assert face.lip_gap(pose()) == pytest.approx(0, abs=0.05)
    assert face.lip_gap(pose(jawOpen=0.3)) == pytest.approx(9.3, abs=1.0)
    for amount in (0.1, 0.5, 1.0):
        coefficients = pose(jawOpen=amount, mouthClose=amount)
        assert face.lip_opening(coefficients) == pytest.approx(0, abs=0.05)
        assert np.abs(rims(face, coefficients)).max() < 0.1


def rims(face, coefficients):
    """Upper minus lower lip, all along the mouth: doubled vertices have the same place at rest."""
    ids = face.lip_ids
    points = face.template[ids]
    order = np.lexsort(points.round(3).T)
    same = np.flatnonzero((np.abs(np.diff(points[order], axis=0)) < 1e-3).all(axis=1))
    upper, lower = ids[order[same]], ids[order[same + 1]]
    assert len(upper) > 30
    moved = face.vertices(coefficients)
    return moved[upper] - moved[lower]


@pytest.mark.parametrize("name", ["mouthFunnel", "mouthLowerDownLeft", "mouthUpperUpRight", "jawOpen"])
def test_shapes_that_part_the_lips(face, name):
    assert np.linalg.norm(rims(face, pose(**{name: 1.0})), axis=1).max() > 3


@pytest.mark.parametrize(
    "name", ["mouthPucker", "mouthSmileLeft", "mouthLeft", "cheekPuff", "jawForward", "browInnerUp"]
)
def test_shapes_that_leave_them_closed(face, name):
    assert face.lip_gap(pose(**{name: 1.0})) < 1.0


def test_left_is_the_subjects_left_and_mirrors_the_right(face):
    where = {tuple(point) for point in face.template.round(2).tolist()}
    assert sum((-x, y, z) in where for x, y, z in where) > 0.9 * len(where)
    for name in ("eyeBlinkLeft", "mouthSmileLeft", "browOuterUpLeft", "jawLeft", "mouthLeft", "eyeLookOutLeft"):
        left, right = face.basis[INDEX[name]], face.basis[INDEX[mirrored(name)]]
        assert left[:, 0].sum() == pytest.approx(-right[:, 0].sum(), abs=3 + 0.02 * np.abs(left[:, 0]).sum())
        if not name.startswith(("jaw", "mouthLeft")):
            moving = np.linalg.norm(left, axis=1) > 1
            assert face.template[moving, 0].min() > -12


def test_closed_lids_meet_and_the_eyeball_stays_behind_them(face, parts):
    _, grid = parts
    columns = grid.eye_columns[1]
    upper, lower = grid.above[grid.eye_row, columns], grid.below[grid.eye_row, columns]
    rest = face.template[upper, 1] - face.template[lower, 1]
    assert 8 < rest.max() < 11
    for share in (0.25, 0.5, 0.75, 1.0):
        moved = face.vertices(pose(eyeBlinkLeft=share))
        gap = moved[upper, 1] - moved[lower, 1]
        np.testing.assert_allclose(gap, rest * (1 - share), atol=0.35)
        inside = np.linalg.norm(moved[upper] - EYE_CENTRE, axis=1)
        assert inside.min() > EYE_RADIUS
    assert np.abs(face.vertices(pose(eyeBlinkLeft=1))[:, 0] - face.template[:, 0])[face.template[:, 0] < 0].max() < 1e-3


def test_eyes_turn_about_their_centre_and_the_reflection_stays(face, parts):
    numbers, _ = parts
    ball = (numbers[:, 0] == EYE) & (numbers[:, 1] == 1)
    moved = face.vertices(pose(eyeLookOutLeft=1))
    distance = np.linalg.norm(moved[ball] - EYE_CENTRE, axis=1)
    np.testing.assert_allclose(distance, EYE_RADIUS, atol=0.01)
    pupil = np.flatnonzero(ball)[0]
    assert moved[pupil, 0] - face.template[pupil, 0] == pytest.approx(EYE_RADIUS * np.sin(np.radians(24)), abs=0.01)
    assert not face.basis[:, numbers[:, 0] == GLINT].any()


def test_vertex_sets_lie_where_they_say(face):
    lips, upper = face.template[face.lip_ids], face.template[face.upper_ids]
    assert len(lips) > 200 and np.abs(lips[:, 0]).max() < 26 and lips[:, 1].min() > -50 and lips[:, 1].max() < -20
    assert len(upper) > 500 and upper[:, 1].min() > 18
    still = face.displacement(pose(jawOpen=1), face.upper_ids)
    assert np.abs(still).max() < 1e-4


def test_triangles_are_whole_and_face_outwards(face):
    assert face.triangles.max() < len(face)
    a, b, c = (face.template[face.triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    tip = int(np.argmax(face.template[:, 2]))
    around = normal[(face.triangles == tip).any(axis=1)]
    assert (around[:, 2] > 0).any() and around.sum(axis=0)[2] > 0


def test_it_is_built_once_and_cannot_be_spoilt(face):
    assert default_face() is face
    with pytest.raises(ValueError, match="read-only"):
        face.basis[0] = 0
