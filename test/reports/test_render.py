"""The rasteriser against triangles whose picture is known, and the face it draws."""

import numpy as np
import pytest

from emotalk_ros.face import COUNT, INDEX, FaceBasis, default_face
from emotalk_ros.reports.render import Renderer, View, contact_sheet, iterate_frames, render_frames, side_by_side

BACKGROUND = np.array(View().background)


def cards(near_first=False):
    """Two square cards facing the viewer: a green one, and a smaller red one nearer to the viewer."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    far, near = square * 40, square * 20 + [0, 0, 30]
    points = np.concatenate([far, near, [[0, 88, 0], [0, -88, 0]]])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colours = np.array([[0, 200, 0]] * 4 + [[200, 0, 0]] * 4 + [[0, 0, 0]] * 2)
    ids = np.array([0])
    if near_first:
        triangles = triangles[::-1]
    return FaceBasis(
        points, np.zeros((COUNT, 10, 3)), triangles, ids, ids, [[0, 1]], [0, 1], [8, 9], colours=colours, name="cards"
    )


def hue(image):
    return np.where((np.abs(image.astype(int) - BACKGROUND) < 2).all(-1), -1, image.argmax(-1))


@pytest.mark.parametrize("near_first", [False, True])
def test_the_nearer_surface_hides_the_farther_one(near_first):
    image = render_frames(cards(near_first), np.zeros(COUNT), size=160)[0]
    seen = hue(image)
    middle, rows = seen[80 + 12], seen[:, 80]
    assert middle[80] == 0 and middle[2] == -1
    # 80 mm wide in a picture 1.5 * 176 mm high. True to scale is the plane of the pivot, 0.55 * 176 mm behind; the
    # viewer is 905 mm before it, so that the cards at 0 and 30 mm are larger by 905 / 808 and 905 / 778.
    assert np.sum(middle >= 0) == pytest.approx(80 / (1.5 * 176) * 160 * 905 / 808, abs=1)
    assert np.sum(rows == 0) == pytest.approx(40 / (1.5 * 176) * 160 * 905 / 778, abs=1)


def test_what_faces_away_is_not_drawn():
    basis = cards()
    turned = FaceBasis(
        basis.template,
        basis.basis,
        basis.triangles[:, ::-1],
        basis.lip_ids,
        basis.upper_ids,
        basis.inner_lip_ids,
        basis.mouth_corner_ids,
        basis.face_height_ids,
        colours=basis.colours,
    )
    assert (hue(render_frames(turned, np.zeros(COUNT), size=64)[0]) == -1).all()


def test_no_pixel_between_two_triangles_is_left_out():
    image = render_frames(cards(), np.zeros(COUNT), size=333, samples=1)[0]
    rows, columns = np.nonzero(hue(image) >= 0)
    box = hue(image)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (box >= 0).all()


@pytest.fixture(scope="module")
def frames():
    coefficients = np.zeros((4, COUNT), dtype=np.float32)
    coefficients[1, INDEX["jawOpen"]] = 0.7
    coefficients[2, INDEX["eyeBlinkLeft"]] = 1
    return render_frames(default_face(), coefficients, size=128)


def changed(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max(axis=-1) > 12


def test_a_face_is_drawn_and_moves_where_it_should(frames):
    assert frames.shape == (4, 128, 128, 3) and frames.dtype == np.uint8
    covered = (hue(frames[0]) >= 0).mean()
    assert 0.3 < covered < 0.8
    np.testing.assert_array_equal(frames[0], frames[3])
    rows = np.nonzero(changed(frames[0], frames[1]))[0]
    assert rows.min() > 64
    rows, columns = np.nonzero(changed(frames[0], frames[2]))
    assert rows.max() < 64 and columns.min() > 64  # the subject's left eye is on the right of the picture


def test_the_sides_of_the_face_are_drawn_alike(frames):
    shape = hue(frames[0]) >= 0
    assert (shape != shape[:, ::-1]).mean() < 0.01


def test_yaw_turns_the_nose_to_the_subjects_left():
    face = default_face()
    tip = int(np.argmax(face.template[:, 2]))
    for yaw, direction in ((30.0, 1), (-30.0, -1)):
        renderer = Renderer(face, View(yaw=yaw))
        turned = (face.template[tip] - renderer._pivot) @ renderer._rotation.T
        assert np.sign(turned[0]) == direction


def test_frames_one_by_one_equal_the_array(frames):
    first = next(iterate_frames(default_face(), np.zeros((1, COUNT)), View(size=128)))
    np.testing.assert_array_equal(first, frames[0])


def test_pictures_are_laid_side_by_side_and_on_sheets(frames):
    pair = next(side_by_side(iter(frames), iter(frames[:, :64]), gap=4))
    assert pair.shape == (128, 260, 3)
    np.testing.assert_array_equal(pair[:, :128], frames[0])
    np.testing.assert_array_equal(pair[32:96, 132:], frames[0, :64])
    sheet = contact_sheet(frames, ["a", "b", "c", "d"], columns=3)
    assert sheet.shape == (2 * (128 + 14), 3 * 128, 3)
    np.testing.assert_array_equal(sheet[142:270, :128], frames[3])


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        View(size=4)
