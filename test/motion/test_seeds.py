"""Seeds where none is given: by content for recordings, by machine and topic for nodes."""

import os

from emotalk_ros.motion import seeds
from emotalk_ros.motion.seeds import clip_seed, face_seed, seed_of


def test_a_recording_has_the_seed_of_its_content(tmp_path):
    for name, content in (("a.wav", b"one"), ("b.wav", b"one"), ("c.wav", b"two")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (clip_seed(tmp_path / f"{name}.wav") for name in "abc")
    assert a == b != c and 0 <= a < 2**31
    strange = tmp_path / os.fsdecode(b"\xff[red].wav")
    strange.write_bytes(b"one")
    assert clip_seed(strange) == a
    assert seed_of(os.fsdecode(b"\xff")) >= 0


def test_faces_differ_by_topic_and_by_machine_and_replay_knows_the_same(monkeypatch):
    here = face_seed("/anna/blendshapes")
    assert here == face_seed("/anna/blendshapes") != face_seed("/ben/blendshapes")
    monkeypatch.setattr(seeds.socket, "gethostname", lambda: "another robot")
    assert face_seed("/anna/blendshapes") != here
