"""Faces in the formats of others: written here as their programs write them, and read back."""

import json
import struct

import numpy as np
import pytest

from emotalk_ros.face import ARKIT_NAMES, COUNT, INDEX, BasisError, FaceBasis, default_face
from emotalk_ros.face.default.mesh import SKIN
from emotalk_ros.face.default.parts import build
from emotalk_ros.face.landmarks import find_ids, home_name, millimetres
from emotalk_ros.face.readers import read_basis, read_obj


@pytest.fixture(scope="module")
def face():
    """The project's face thinned out: the skin of the lips whole, of the rest every fourth vertex."""
    whole = default_face()
    skin = np.concatenate(build()[0].numbers)[:, 0] == SKIN
    keep = skin & (
        (np.arange(len(whole)) % 4 == 0) | (np.hypot(whole.template[:, 0] / 30, whole.template[:, 1] / 16 + 2.1) < 1)
    )
    keep[whole.face_height_ids] = True
    new = np.cumsum(keep) - 1
    triangles = whole.triangles[keep[whole.triangles].all(axis=1)]

    def ids(old):
        return new[old[keep[old]]]

    return FaceBasis(
        template=whole.template[keep],
        basis=whole.basis[:, keep],
        triangles=new[triangles],
        lip_ids=ids(whole.lip_ids),
        upper_ids=ids(whole.upper_ids),
        inner_lip_ids=new[whole.inner_lip_ids[1:2]],
        mouth_corner_ids=new[whole.mouth_corner_ids],
        face_height_ids=new[whole.face_height_ids],
        name="thin",
    )


def check_same(found, face, tolerance=2e-3):
    np.testing.assert_allclose(found.template, face.template, atol=tolerance)
    np.testing.assert_allclose(found.basis, face.basis, atol=tolerance)
    np.testing.assert_array_equal(found.triangles, face.triangles)
    check_marks(found, face)


def check_marks(found, face):
    jaw = np.zeros((3, COUNT), dtype=np.float32)
    jaw[1:, INDEX["jawOpen"]] = 0.5
    jaw[2, INDEX["mouthClose"]] = 0.5
    np.testing.assert_allclose(found.lip_gap(jaw), face.lip_gap(jaw), atol=0.6)
    places = found.template[found.inner_lip_ids[0]] - face.template[face.inner_lip_ids[0]]
    assert np.abs(places).max() < 1.5
    height = [np.linalg.norm(np.diff(f.template[f.face_height_ids], axis=0)) for f in (found, face)]
    assert height[0] == pytest.approx(height[1], rel=0.1)
    corners = found.template[found.mouth_corner_ids]
    assert corners[0, 0] < -17 and corners[1, 0] > 17 and np.abs(corners[:, 1] + 34).max() < 4
    assert np.isin(face.inner_lip_ids, found.lip_ids).all() or len(found.lip_ids) > 50
    assert found.template[found.upper_ids, 1].min() > 10


# -- names ----------------------------------------------------------------------------------------------------


def test_names_of_other_rigs():
    assert home_name("eyeBlink_L") == "eyeBlinkLeft"
    assert home_name("blendShape1.mouthSmile_R") == "mouthSmileRight"
    assert home_name("EyeLookDownLeft") == "eyeLookDownLeft"
    assert home_name("jawLeft") == "jawLeft" and home_name("mouthRollLower") == "mouthRollLower"
    assert home_name("browInnerUp_L") == home_name("browInnerUp_R") == "browInnerUp"
    assert home_name("cheekPuff_R") == "cheekPuff"
    for other in ("viseme_aa", "cheekRaiser_L", "PupilDilate_L", "Basis", "identity001", "eyesClosed"):
        assert home_name(other) is None
    assert [home_name(name) for name in ARKIT_NAMES] == list(ARKIT_NAMES)


def test_units_are_told_by_size(face):
    for factor in (1.0, 10.0, 1000.0):
        assert millimetres(face.template / factor, face.basis / factor) == factor
    with pytest.raises(BasisError, match="neither mm, cm nor m"):
        millimetres(face.template * 50, face.basis)


def test_lips_are_found_on_the_whole_face_too():
    whole = default_face()
    ids = find_ids(whole.template, whole.basis)
    middle = whole.inner_lip_ids[1]
    np.testing.assert_allclose(whole.template[ids["inner_lip_ids"][0]], whole.template[middle], atol=1.0)
    chin = whole.template[ids["face_height_ids"][1]]
    assert np.linalg.norm(chin - whole.template[whole.face_height_ids[1]]) < 10


def test_a_face_whose_lips_cannot_be_told_is_refused(face):
    basis = face.basis.copy()
    basis[INDEX["jawOpen"]] = 0
    with pytest.raises(BasisError, match="jawOpen is missing"):
        find_ids(face.template, basis)
    for name in ARKIT_NAMES:
        if name.startswith("mouth"):
            basis[INDEX[name]] = 0
    with pytest.raises(BasisError, match="mouthRollUpper"):
        find_ids(face.template, basis)


# -- OBJ ------------------------------------------------------------------------------------------------------

HALVED = {"browInnerUp": 0.5, "cheekPuff": 0.5}


def write_obj(path, points, triangles):
    lines = ["# a comment", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points)]
    lines += [f"f {a + 1}/{a + 1}/1 {b + 1}//2 {c + 1}" for a, b, c in triangles]
    path.write_text("\n".join(lines))


@pytest.fixture
def obj_folder(tmp_path, face):
    """Some shapes in ICT-FaceKit's naming, in cm, with central shapes in halves and shapes of no use to us."""
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    write_obj(folder / "generic_neutral_mesh.obj", face.template / 10, face.triangles)
    for name in (
        "jawOpen",
        "mouthClose",
        "mouthRollUpper",
        "mouthRollLower",
        "browInnerUp",
        "eyeBlinkLeft",
        "eyeBlinkRight",
    ):
        moved = (face.template + face.basis[INDEX[name]] * HALVED.get(name, 1.0)) / 10
        stem = name.replace("Left", "_L").replace("Right", "_R")
        for own in (f"{stem}_L", f"{stem}_R") if name in HALVED else (stem,):
            write_obj(folder / f"{own}.obj", moved, face.triangles)
    write_obj(folder / "identity000.obj", face.template / 10 + 1, face.triangles)
    return folder


def test_ict_folder_is_read(obj_folder, face, caplog):
    found = read_basis(obj_folder)
    np.testing.assert_allclose(found.template, face.template, atol=1e-3)
    for name in ("jawOpen", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight"):
        np.testing.assert_allclose(found.basis[INDEX[name]], face.basis[INDEX[name]], atol=2e-3)
    check_marks(found, face)
    assert len(found.missing) == 45 and "tongueOut" in found.missing and "jawOpen" not in found.missing
    assert "lacks 45 of 52 shapes" in caplog.text and "mouthSmileLeft" in caplog.text


def test_faults_of_an_obj_folder(obj_folder, face):
    write_obj(obj_folder / "jawLeft.obj", face.template[:-1], face.triangles[:1])
    with pytest.raises(BasisError, match=r"jawLeft\.obj: .* vertices, the neutral mesh has"):
        read_basis(obj_folder)
    (obj_folder / "jawLeft.obj").write_text("v 1 2 three\n")
    with pytest.raises(BasisError, match="not three numbers"):
        read_basis(obj_folder)
    (obj_folder / "generic_neutral_mesh.obj").unlink()
    with pytest.raises(BasisError, match="0 OBJ files with 'neutral'"):
        read_basis(obj_folder)


def test_polygons_and_negative_indices(tmp_path):
    path = tmp_path / "quad.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\nf -4/1 -3/2 -1/3\n")
    points, triangles = read_obj(path)
    assert points.shape == (4, 3)
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 3]]


# -- glTF -----------------------------------------------------------------------------------------------------


class Glb:
    """Writes a binary glTF piece by piece."""

    def __init__(self):
        self.json = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], "scene": 0}
        self.binary = b""

    def view(self, array):
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes})
        self.binary += array.tobytes()
        return len(self.json["bufferViews"]) - 1

    def accessor(self, array, kind, sparse=False):
        code = {"f4": 5126, "u2": 5123, "u4": 5125, "u1": 5121}[array.dtype.str[1:]]
        entry = {"componentType": code, "count": len(array), "type": kind}
        if sparse:
            ids = np.flatnonzero(np.abs(array).max(axis=1) > 1e-7).astype("<u4")
            if len(ids):
                entry["sparse"] = {
                    "count": len(ids),
                    "indices": {"bufferView": self.view(ids), "componentType": 5125},
                    "values": {"bufferView": self.view(array[ids])},
                }
        else:
            entry["bufferView"] = self.view(array)
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def write(self, path):
        self.json["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        length = 12 + 8 + len(text) + 8 + len(binary)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        path.write_bytes(b"glTF" + struct.pack("<II", 2, length) + chunks)
        return path


def avatar(face, sparse=True, skin=False, mirror=False):
    """A head in metres under a parent that is turned by 90 degrees about y, scaled and moved, as avatars are."""
    glb = Glb()
    # The world is p = 2 * R p' + t with R a quarter turn about y: x = z', z = -x'; so p' is:
    where = (face.template / 1000 - [0, 1.5, 0.1]) / 2
    to_local = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    if mirror:
        to_local = to_local * np.array([[-1], [1], [1]])
    points = (where @ to_local.T).astype("<f4")
    names = [*ARKIT_NAMES[:-1], "viseme_aa"]
    targets = []
    for name in names[:-1]:
        moved = (face.basis[INDEX[name]] / 2000 @ to_local.T).astype("<f4")
        targets.append({"POSITION": glb.accessor(moved, "VEC3", sparse)})
    targets.append({"POSITION": glb.accessor(np.ones_like(points), "VEC3")})
    attributes = {"POSITION": glb.accessor(points, "VEC3")}
    triangles = face.triangles[:, ::-1] if mirror else face.triangles
    primitive = {
        "attributes": attributes,
        "indices": glb.accessor(triangles.reshape(-1, 1).astype("<u4"), "SCALAR"),
        "targets": targets,
        "material": 0,
    }
    node = {"mesh": 0, "name": "Head"}
    if mirror:
        node["scale"] = [-1, 1, 1]
    half = float(np.sqrt(0.5))
    parent = {"children": [1], "translation": [0, 1.5, 0.1], "rotation": [0, half, 0, half], "scale": [2, 2, 2]}
    glb.json["nodes"] = [parent, node]
    glb.json["scenes"] = [{"nodes": [0]}]
    glb.json["meshes"] = [{"primitives": [primitive], "extras": {"targetNames": names}}]
    glb.json["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 0, 1]}}]
    if skin:
        attributes["JOINTS_0"] = glb.accessor(np.zeros((len(points), 4), "<u2"), "VEC4")
        weights = np.tile(np.array([1, 0, 0, 0], "<f4"), (len(points), 1))
        attributes["WEIGHTS_0"] = glb.accessor(weights, "VEC4")
        # A skinned mesh ignores its node's place: bound at -1 in x, its joint stands at +1 beside the parent's place.
        bind = np.eye(4, dtype="<f4")
        bind[0, 3] = -1
        node.update(skin=0, translation=[7, 7, 7])
        parent["children"] = [1, 2]
        glb.json["nodes"].append({"translation": [1, 0, 0]})
        inverse = glb.accessor(bind.T.reshape(1, 16).copy(), "MAT4")
        glb.json["skins"] = [{"joints": [2], "inverseBindMatrices": inverse}]
    return glb


@pytest.mark.parametrize("options", [{}, {"sparse": False}, {"skin": True}, {"mirror": True}])
def test_avatar_is_read_at_its_place(tmp_path, face, options):
    found = read_basis(avatar(face, **options).write(tmp_path / "avatar.glb"))
    expected = FaceBasis(**{**vars(face), "basis": np.where(np.arange(COUNT)[:, None, None] == 51, 0, face.basis)})
    check_same(found, expected)
    assert found.missing == ("tongueOut",) and found.name == "avatar"
    assert found.colours[0].tolist() == [255, round(255 * 0.5 ** (1 / 2.2)), 0]


def test_gltf_with_its_buffer_beside_it(tmp_path, face):
    glb = avatar(face)
    (tmp_path / "face data.bin").write_bytes(glb.binary)
    glb.json["buffers"] = [{"byteLength": len(glb.binary), "uri": "face%20data.bin"}]
    path = tmp_path / "avatar.gltf"
    path.write_text(json.dumps(glb.json))
    np.testing.assert_allclose(read_basis(path).template, face.template, atol=2e-3)


def test_faults_of_an_avatar(tmp_path, face):
    glb = avatar(face)
    glb.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    with pytest.raises(BasisError, match="export it without compression"):
        read_basis(glb.write(tmp_path / "draco.glb"))
    glb = avatar(face)
    glb.json["meshes"][0]["extras"]["targetNames"] = [f"shape{k}" for k in range(COUNT)]
    with pytest.raises(BasisError, match="no mesh with ARKit-named morph targets; its morph targets are shape0"):
        read_basis(glb.write(tmp_path / "names.glb"))
    data = avatar(face).write(tmp_path / "cut.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(data[: len(data) // 2])
    with pytest.raises(BasisError, match=r"cut\.glb: not a glTF 2.0 file"):
        read_basis(tmp_path / "cut.glb")
    glb = avatar(face)
    glb.json["bufferViews"][3]["byteOffset"] = len(glb.binary)
    with pytest.raises(BasisError, match="cut short"):
        read_basis(glb.write(tmp_path / "short.glb"))


def test_an_avatar_cannot_fill_the_memory_nor_read_for_ever(tmp_path, face):
    def refusal(change):
        glb = avatar(face)
        (tmp_path / "face.bin").write_bytes(glb.binary)
        tree = {**glb.json, "buffers": [{"byteLength": len(glb.binary), "uri": "face.bin"}]}
        change(tree)
        (tmp_path / "hostile.gltf").write_text(json.dumps(tree))
        with pytest.raises(BasisError) as caught:
            read_basis(tmp_path / "hostile.gltf")
        return str(caught.value)

    def many(tree):
        tree["accessors"][0] = {"componentType": 5126, "type": "VEC3", "count": 2_000_000_000}

    def device(tree):
        tree["buffers"][0]["uri"] = "/dev/zero"

    def nothing(tree):
        tree["meshes"] = [None]

    def loop(tree):
        tree["nodes"][0]["children"] = [0]

    assert "accessor 0 has 2000000000 elements" in refusal(many)
    assert "'/dev/zero': no such file" in refusal(device)
    assert "malformed glTF" in refusal(nothing)
    assert "two parents" in refusal(loop)


def test_textures_colour_the_vertices(tmp_path, face):
    import io

    from PIL import Image

    glb = avatar(face)
    picture = io.BytesIO()
    Image.fromarray(np.array([[[10, 20, 30], [200, 100, 50]]], dtype=np.uint8)).save(picture, "PNG")
    content = np.frombuffer(picture.getvalue(), dtype="u1")
    glb.json["images"] = [{"bufferView": glb.view(content), "mimeType": "image/png"}]
    glb.json["textures"] = [{"source": 0}]
    glb.json["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    uv = np.stack([np.where(face.template[:, 0] > 0, 0.75, 0.25), np.full(len(face), 0.5)], 1).astype("<f4")
    glb.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = glb.accessor(uv, "VEC2")
    found = read_basis(glb.write(tmp_path / "painted.glb"))
    left = face.template[:, 0] > 0
    assert (found.colours[left] == [200, 100, 50]).all() and (found.colours[~left] == [10, 20, 30]).all()


# -- FLAME and the rest -----------------------------------------------------------------------------------------


def test_flame_with_an_arkit_basis_and_with_a_mapping(tmp_path, face):
    metres = {"v_template": face.template / 1000, "f": face.triangles}
    np.savez(tmp_path / "direct.npz", **metres, arkit_basis=face.basis / 1000)
    check_same(read_basis(tmp_path / "direct.npz"), face)
    # An expression space of the 52 shapes mixed by a known matrix, and the mapping that undoes it.
    mix = np.linalg.qr(np.random.default_rng(0).normal(size=(COUNT, COUNT)))[0]
    expressions = np.einsum("ek,kvc->vce", mix, face.basis / 1000)
    np.savez(tmp_path / "mapped.npz", **metres, expression_basis=expressions, arkit_to_expression=mix.T, lip_ids=[1, 2])
    found = read_basis(tmp_path / "mapped.npz")
    np.testing.assert_allclose(found.basis, face.basis, atol=1e-2)
    assert found.lip_ids.tolist() == [1, 2]


def test_flame_jaw_turns_about_its_joint(tmp_path, face):
    jaw = np.zeros((COUNT, 3))
    jaw[INDEX["jawOpen"], 0] = 0.3
    # Weights as a skinned jaw has them: the share of a full turn that each vertex makes.
    y, z = face.template[:, 1] - 6, face.template[:, 2] - 14
    turned = np.hypot(y * np.cos(0.3) - z * np.sin(0.3) - y, z * np.cos(0.3) + y * np.sin(0.3) - z)
    weights = np.clip(np.linalg.norm(face.basis[INDEX["jawOpen"]], axis=1) / turned * 0.86, 0, 1)
    arrays = {
        "v_template": face.template / 1000,
        "f": face.triangles,
        "expression_basis": np.einsum(
            "kvc->vck", np.where(np.arange(COUNT)[:, None, None] == 24, 0, face.basis) / 1000
        ),
        "arkit_to_expression": np.eye(COUNT),
        "arkit_to_jaw": jaw,
        "jaw_weights": weights,
    }
    np.savez(tmp_path / "flame.npz", **arrays)
    with pytest.raises(BasisError, match="arkit_to_jaw needs jaw_joint"):
        read_basis(tmp_path / "flame.npz")
    np.savez(tmp_path / "flame.npz", **arrays, jaw_joint=np.array([0, 0.006, 0.014]))
    found = read_basis(tmp_path / "flame.npz")
    chin = face.face_height_ids[1]
    y, z = y[chin], z[chin]
    expected = [0, y * np.cos(0.3) - z * np.sin(0.3) - y, z * np.cos(0.3) + y * np.sin(0.3) - z]
    assert np.linalg.norm(expected) * weights[chin] > 25
    np.testing.assert_allclose(found.basis[INDEX["jawOpen"], chin], np.array(expected) * weights[chin], atol=0.05)


def test_npz_default_and_what_is_not_read(tmp_path, face):
    face.save(tmp_path / "thin.npz")
    assert read_basis(tmp_path / "thin.npz").name == "thin"
    assert read_basis("default") is default_face()
    with pytest.raises(BasisError, match="no such file"):
        read_basis(tmp_path / "nowhere.glb")
    (tmp_path / "generic_model.pkl").write_bytes(b"")
    with pytest.raises(BasisError, match="pickles can run code"):
        read_basis(tmp_path / "generic_model.pkl")
    (tmp_path / "face.fbx").write_bytes(b"")
    with pytest.raises(BasisError, match=r"\.fbx is not read"):
        read_basis(tmp_path / "face.fbx")
    np.savez(tmp_path / "flame.npz", v_template=np.zeros((3, 3)), f=[[0, 1, 2]])
    with pytest.raises(BasisError, match="needs arkit_basis"):
        read_basis(tmp_path / "flame.npz")


def test_a_mapping_names_what_nobody_knows(tmp_path):
    from emotalk_ros.face.aliases import parse_mapping
    from emotalk_ros.face.gltf_writer import glb_bytes

    path = tmp_path / "avatar.glb"
    path.write_bytes(glb_bytes(default_face()).replace(b'"cheekPuff"', b'"zzzzzzzzz"'))
    assert read_basis(path).missing == ("cheekPuff",)
    face = read_basis(path, parse_mapping("targets: {zzzzzzzzz: {cheekPuff: 0.5}}"))
    assert face.missing == ()
    puff = INDEX["cheekPuff"]
    moved = np.linalg.norm(face.basis[puff], axis=1).max()
    assert moved == pytest.approx(0.5 * np.linalg.norm(default_face().basis[puff], axis=1).max(), rel=1e-3)
