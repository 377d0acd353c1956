"""The exported face: a valid GLB by an independent validator, and the same face when it is read back."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from emotalk_ros.face import ARKIT_NAMES, default_face, read_basis
from emotalk_ros.face.gltf_writer import Surface, default_surfaces, glb_bytes, vertex_normals, write_glb


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "face.glb"
    write_glb(path, default_face(), default_surfaces())
    return path


def test_read_back_it_is_the_same_face(path):
    face, original = read_basis(path), default_face()
    assert face.missing == () and len(face) == len(original)
    rng = np.random.default_rng(0)
    coefficients = rng.random((4, 52), dtype=np.float32)
    np.testing.assert_allclose(face.lip_gap(coefficients), original.lip_gap(coefficients), atol=0.5)
    ours = np.sort(original.vertices(coefficients)[3].round(2), axis=0)
    theirs = np.sort(face.vertices(coefficients)[3].round(2), axis=0)
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_an_independent_reader_finds_52_named_targets(path):
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib is not installed (the test extra has it)")
    document = pygltflib.GLTF2().load(str(path))
    (mesh,) = document.meshes
    assert mesh.extras["targetNames"] == list(ARKIT_NAMES)
    assert [primitive.targets and len(primitive.targets) for primitive in mesh.primitives] == [52] * 4
    assert [document.materials[p.material].name for p in mesh.primitives] == ["eyes", "teeth", "tongue", "skin"]
    jaw = document.accessors[mesh.primitives[3].targets[ARKIT_NAMES.index("jawOpen")]["POSITION"]]
    assert jaw.min[1] < -0.03  # metres: the chin travels 42 mm


def test_khronos_validator_finds_nothing(path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: the glTF validator of Khronos (npm gltf-validator) runs in node")
    script = (
        "const v=require('gltf-validator'),fs=require('fs');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))"
        ".then(r=>console.log(JSON.stringify(r.issues)))"
    )
    places = [os.environ.get("NODE_PATH", ""), str(Path(__file__).parents[2] / ".venv" / "node_modules")]
    done = subprocess.run(
        [node, "-e", script, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_PATH": os.pathsep.join(p for p in places if p)},
    )
    if "Cannot find module 'gltf-validator'" in done.stderr:
        pytest.skip("npm's gltf-validator is not installed: npm install --prefix .venv gltf-validator")
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"][:5]


def test_surfaces_must_take_every_triangle():
    face = default_face()
    half = np.arange(len(face)) < len(face) // 2
    with pytest.raises(ValueError, match="of 28836 triangles"):
        glb_bytes(face, {Surface(): half})


def test_normals_point_outwards():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
    np.testing.assert_allclose(vertex_normals(points, np.array([[0, 1, 2]])), [[0, 0, 1]] * 3)
