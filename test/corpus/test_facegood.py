"""FACEGOOD's studio takes: the rig's weights as ARKit coefficients, both layouts, errors."""

import numpy as np
import pytest
import soundfile

from emotalk_ros.corpus.readers.facegood import SOLVED, TAKES, read_facegood, rig_to_arkit
from emotalk_ros.corpus.store import CorpusError
from emotalk_ros.face import default_face
from emotalk_ros.face.names import ARKIT_NAMES, INDEX

SIDES = ("l", "r")
NAMES = [
    "brow_lower_l",
    "mouth_stretch_c",
    "mouth_oh_c",
    "mouth_oo_c",
    *(f"mouth_funnel_{end}" for end in ("dl", "dr", "ul", "ur")),
    *(f"mouth_suck_{end}" for end in ("dl", "dr", "ul", "ur")),
    *(f"mouth_{name}_{s}" for name in ("pucker", "lowerLipDepress", "upperLipRaise", "press") for s in SIDES),
]


def mapped(**weights):
    """One frame of ARKit coefficients, by name, of weights by the beginnings of their names."""
    row = np.array([[next((v for k, v in weights.items() if name.startswith(k)), 0.0) for name in NAMES]])
    face = rig_to_arkit(NAMES, row)
    return {name: float(face[0, INDEX[name]]) for name in ARKIT_NAMES}, float(default_face().lip_gap(face)[0])


def test_a_rig_at_rest_is_a_face_at_rest():
    face, gap = mapped()
    assert not any(face.values()) and gap < 0.1


def test_the_jaw_opens_the_lips_as_well_and_more_the_wider_it_is():
    small, big = mapped(mouth_stretch_c=0.25)[0], mapped(mouth_stretch_c=0.5)[0]
    assert 0.1 < small["jawOpen"] < 0.2 and big["jawOpen"] > 2.2 * small["jawOpen"]
    assert big["mouthLowerDownLeft"] == big["mouthLowerDownRight"] > big["mouthUpperUpLeft"] > 0.2
    assert big["mouthClose"] == 0


def test_pressed_lips_are_shut_whatever_the_jaw_does():
    face, gap = mapped(mouth_stretch_c=0.4, mouth_press=0.3, mouth_funnel=0.2)
    assert face["mouthClose"] >= face["jawOpen"] > 0.1 and gap < 0.2
    assert 0 < face["mouthPressLeft"] < 0.15


def test_round_vowels_round_the_lips_and_take_from_their_opening():
    o, u = mapped(mouth_stretch_c=0.3, mouth_oh=0.6)[0], mapped(mouth_stretch_c=0.3, mouth_oo=0.6)[0]
    assert o["mouthFunnel"] > o["mouthPucker"] > 0.1 and u["mouthPucker"] > u["mouthFunnel"] > 0.1
    assert o["mouthLowerDownLeft"] < mapped(mouth_stretch_c=0.3)[0]["mouthLowerDownLeft"]


def test_nothing_but_the_mouth_is_solved():
    everything = rig_to_arkit(NAMES, np.ones((3, len(NAMES))))
    blind = [n for n in ARKIT_NAMES if n not in SOLVED]
    assert everything[:, [INDEX[n] for n in blind]].max() == 0 and everything.max() <= 1


def take(seconds=20, fps=30.0):
    """A jaw that opens with bursts of noise, with pauses between."""
    rng = np.random.default_rng(0)
    on = (np.arange(int(seconds * fps)) // 45) % 2
    weights = np.zeros((len(on), len(NAMES)), np.float16)
    weights[:, 1] = 0.4 * on
    sound = rng.normal(0, 0.1, int(seconds * 16000)) * np.repeat(on, 16000 // int(fps) + 1)[: int(seconds * 16000)]
    return weights, sound.astype(np.float32)


def test_takes_with_sound_become_clips_cut_at_pauses(tmp_path):
    weights, sound = take()
    np.savez(tmp_path / "one.npz", fps=30.0, names=np.array(NAMES), coefficients=weights)
    soundfile.write(tmp_path / "one.flac", sound, 16000)
    clips = [item.load() for item in read_facegood(tmp_path)]
    assert len(clips) >= 2 and all(2.0 < clip.duration <= 12.0 for clip in clips)
    assert sum(len(clip.coefficients) for clip in clips) == len(weights)
    for clip in clips:
        clip.validate()
        assert abs(clip.duration - len(clip.coefficients) / 30) < 0.05
        assert set(clip.blind) == set(ARKIT_NAMES) - set(SOLVED)
        assert clip.coefficients[0, INDEX["jawOpen"]] < 0.3


def test_the_repository_itself_is_read_and_other_takes_are_left_out(tmp_path):
    weights, sound = take(12)
    (tmp_path / "bs_value").mkdir()
    (tmp_path / "wav").mkdir()
    for stem in (TAKES[0], "1114_3_15"):
        np.save(tmp_path / "bs_value" / f"bs_value_{stem}.npy", weights.astype(np.float64))
        soundfile.write(tmp_path / "wav" / f"{stem}.wav", sound, 16000)
    np.save(tmp_path / "shirley_1119_bs_name316.npy", np.array(NAMES))
    clips = [item.load() for item in read_facegood(tmp_path)]
    assert {clip.id.split(".")[0] for clip in clips} == {TAKES[0]}
    assert max(clip.coefficients[:, INDEX["jawOpen"]].max() for clip in clips) == pytest.approx(0.26, abs=0.01)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(CorpusError, match="no take below"):
        list(read_facegood(tmp_path))
    np.savez(tmp_path / "mute.npz", fps=30.0, names=np.array(NAMES), coefficients=take(3)[0])
    assert "no sound" in next(iter(read_facegood(tmp_path))).reason
    soundfile.write(tmp_path / "mute.wav", take(3)[1], 16000)
    np.savez(tmp_path / "mute.npz", fps=30.0, names=np.array(NAMES[:3]), coefficients=take(3)[0])
    assert "3 names" in next(iter(read_facegood(tmp_path))).reason
