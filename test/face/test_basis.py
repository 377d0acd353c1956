"""Coefficients to vertices and to the gap between the lips."""

import numpy as np
import pytest

from emotalk_ros.face.basis import BasisError, FaceBasis, arrange_shapes, ids_from_landmarks68
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, INDEX, LIVE_LINK_NAMES


def small_face(**changes):
    """Six vertices: upper and lower inner lip, two corners, forehead and chin."""
    template = np.array([[0, 1, 0], [0, 0, 0], [-25, 0, 0], [25, 0, 0], [0, 130, 0], [0, -50, 0]], dtype=float)
    basis = np.zeros((COUNT, 6, 3))
    basis[INDEX["jawOpen"], 1] = [0, -30, -10]
    basis[INDEX["jawOpen"], 5] = [0, -40, 0]
    basis[INDEX["mouthClose"], 1] = [0, 33, 10]
    basis[INDEX["mouthLeft"], :4] = [10, 0, 0]
    fields = {
        "template": template,
        "basis": basis,
        "triangles": [[0, 1, 2], [1, 0, 3], [4, 5, 2]],
        "lip_ids": [0, 1, 2, 3],
        "upper_ids": [4],
        "inner_lip_ids": [[0, 1]],
        "mouth_corner_ids": [2, 3],
        "face_height_ids": [4, 5],
        "name": "small",
    }
    return FaceBasis(**{**fields, **changes})


def pose(**values):
    coefficients = np.zeros(COUNT, dtype=np.float32)
    for name, value in values.items():
        coefficients[INDEX[name]] = value
    return coefficients


def test_vertices_are_the_template_plus_weighted_shapes():
    face = small_face()
    np.testing.assert_array_equal(face.vertices(pose()), face.template)
    moved = face.vertices(np.stack([pose(jawOpen=0.5, mouthLeft=0.1), pose()]))
    assert moved.shape == (2, 6, 3) and moved.dtype == np.float32
    np.testing.assert_allclose(moved[0, 1], [1, -15, -5], atol=1e-6)
    np.testing.assert_allclose(moved[0, 4], [0, 130, 0])
    np.testing.assert_array_equal(face.vertices(np.stack([pose(jawOpen=1.0)]), ids=[1])[0], [[0, -30, -10]])


def test_blocks_of_frames_equal_the_whole():
    face = small_face()
    coefficients = np.random.default_rng(0).random((7, COUNT), dtype=np.float32)
    blocks = list(face.iterate(coefficients, megabytes=3 * 6 * 12 / 2**20))
    assert [len(b) for b in blocks] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(blocks), face.vertices(coefficients), rtol=1e-5, atol=1e-5)


def test_lip_gap_is_vertical_and_overlapping_lips_are_closed():
    face = small_face()
    assert face.lip_gap(pose()) == pytest.approx(1.0)
    assert face.lip_gap(pose(jawOpen=0.3)) == pytest.approx(10.0)
    assert face.lip_opening(pose(jawOpen=0.5, mouthClose=0.5)) == pytest.approx(-0.5)
    assert face.lip_gap(pose(jawOpen=0.5, mouthClose=0.5)) == 0.0
    assert face.relative_lip_gap(pose(jawOpen=0.5)) == pytest.approx(16 / 200)


def test_lip_gap_weights_reproduce_the_gap():
    face = small_face()
    form = face.lip_gap_weights()
    assert form.weights.shape == (COUNT, 3)
    coefficients = np.random.default_rng(1).random((20, COUNT), dtype=np.float32)
    gap = np.maximum(form.rest[1] + coefficients @ form.weights[:, 1], 0)
    np.testing.assert_allclose(gap, face.lip_gap(coefficients), atol=1e-5)


def test_saved_face_is_read_back(tmp_path):
    face = small_face(colours=np.full((6, 3), 90), missing=("tongueOut",))
    face.save(tmp_path / "small.npz")
    again = FaceBasis.load(tmp_path / "small.npz")
    for key in ("template", "basis", "triangles", "lip_ids", "inner_lip_ids", "face_height_ids", "colours"):
        np.testing.assert_array_equal(getattr(again, key), getattr(face, key))
    assert (again.name, again.missing) == ("small", ("tongueOut",))
    assert [p.name for p in tmp_path.iterdir()] == ["small.npz"]


def test_shapes_are_arranged_by_name():
    shapes = np.arange(51)[:, None, None] * np.ones((1, 2, 3))
    names = [n for n in LIVE_LINK_NAMES if n != "jawOpen"]
    basis, missing = arrange_shapes(names, shapes)
    assert missing == ["jawOpen"] and not basis[INDEX["jawOpen"]].any()
    assert basis[INDEX["eyeLookDownLeft"], 0, 0] == 1
    with pytest.raises(BasisError, match="none of the 52"):
        arrange_shapes(["aa", "oh"], shapes[:2])


def test_landmarks_give_the_points_of_the_mouth_and_the_face():
    template = np.zeros((70, 3))
    template[36], template[45], template[8] = [-45, 34, 80], [45, 34, 80], [0, -76, 100]
    template[68], template[69] = [0, -76 + 1.986 * 90, 95], [0, -76 + 1.986 * 90, -90]
    ids = ids_from_landmarks68(template, np.arange(68))
    assert ids["face_height_ids"].tolist() == [68, 8]
    assert ids["inner_lip_ids"].tolist() == [[62, 66]] and ids["mouth_corner_ids"].tolist() == [48, 54]


def test_faults_are_named(tmp_path):
    with pytest.raises(BasisError, match=r"basis has the shape \(52, 5, 3\)"):
        small_face(basis=np.zeros((COUNT, 5, 3)))
    with pytest.raises(BasisError, match="lip_ids names vertex 6"):
        small_face(lip_ids=[6])
    with pytest.raises(ValueError, match=r"\(3, 51\)"):
        small_face().vertices(np.zeros((3, 51)))
    np.savez(tmp_path / "poor.npz", template=np.zeros((3, 3)))
    with pytest.raises(BasisError, match="no basis, triangles, lip_ids, upper_ids"):
        FaceBasis.load(tmp_path / "poor.npz")
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(BasisError, match=r"text\.npz"):
        FaceBasis.load(tmp_path / "text.npz")


def test_home_order_is_assumed_without_names(tmp_path):
    face = small_face()
    arrays = {k: getattr(face, k) for k in ("template", "basis", "triangles", "lip_ids", "upper_ids")}
    more = {k: getattr(face, k) for k in ("inner_lip_ids", "mouth_corner_ids", "face_height_ids")}
    np.savez(tmp_path / "plain.npz", **arrays, **more)
    np.testing.assert_array_equal(FaceBasis.load(tmp_path / "plain.npz").basis, face.basis)
    np.savez(tmp_path / "no_lips.npz", **arrays)
    with pytest.raises(BasisError, match="landmarks68"):
        FaceBasis.load(tmp_path / "no_lips.npz")
    assert len(ARKIT_NAMES) == len(face.basis)
