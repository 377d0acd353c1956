"""Head and eyes: still unless asked for, a nod with an accent, eyes on the viewer, the same at every run."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import INDEX
from emotalk_ros.motion import FaceFrame, FrameContext
from emotalk_ros.motion.stages.gaze import Gaze, GazeSettings
from emotalk_ros.motion.stages.head import Head, HeadSettings

FPS = 30.0


@dataclass
class Control:
    labels: dict = field(default_factory=dict)
    blend: float = 1.0
    intensity: float = 1.0


def frame(index, activity=1.0, loudness=0.5, emotion=None):
    heard = np.zeros(8, np.float32)
    if emotion:
        heard[EMOTIONS.index(emotion)] = 1.0
    zero = np.zeros(52, np.float32)
    return FaceFrame(index, round(index * 1e9 / FPS), zero, activity, heard, loudness=loudness)


def heads(frames, pitch=lambda index: 0.0, control=None, **settings):
    """Degrees (T, 3)."""
    stage = Head(HeadSettings(on=True, **settings))
    context = FrameContext(FPS, labels=EMOTIONS, emotion=control, pitch=pitch)
    return np.degrees([stage.step(one, context).head for one in frames])


def test_off_unless_asked_for():
    one = frame(0)
    assert Head(HeadSettings()).step(one, FrameContext(FPS)) is one
    assert Gaze(GazeSettings()).step(one, FrameContext(FPS)) is one


def test_an_accent_nods():
    frames = [frame(k, loudness=0.9 if 60 <= k < 66 else 0.5) for k in range(120)]
    flat = heads(frames[:])
    accent = heads(frames, pitch=lambda k: 5.0 * np.exp(-(((k - 62) / 2) ** 2)))
    nod = accent[:, 1] - heads([frame(k) for k in range(120)])[:, 1]
    assert -6.0 < nod[62:80].min() < -1.5  # chin down by some degrees, after the peak of the pitch
    assert np.abs(nod[:60]).max() < 0.2 and abs(nod[-1]) < 0.3  # not before, and it comes back
    assert np.abs(flat).max() < 8.0


def test_monotony_gives_no_nods():
    moves = heads([frame(k) for k in range(300)])
    assert np.ptp(moves[:, 1]) < 4.5 and np.abs(np.diff(moves, axis=0)).max() < 0.35


def test_a_head_shows_the_emotion():
    rest = heads([frame(k) for k in range(150)])[-1]
    heard = heads([frame(k, emotion="sad") for k in range(150)])[-1]
    assert heard[1] - rest[1] == pytest.approx(-5.0, abs=0.3)  # chin down
    asked = heads([frame(k, emotion="sad") for k in range(150)], control=Control({"surprised": 1.0}))[-1]
    assert asked[1] - rest[1] == pytest.approx(3.5, abs=0.3)


def test_amount_scales_and_the_seed_decides():
    frames = [frame(k) for k in range(60)]
    np.testing.assert_allclose(heads(frames, amount=2.0), 2 * heads(frames), atol=1e-4)
    np.testing.assert_array_equal(heads(frames), heads(frames))
    assert np.abs(heads(frames) - heads(frames, seed=1)).max() > 0.3


def eyes(count, head=None, **settings):
    stage = Gaze(GazeSettings(on=True, **settings))
    out = []
    for k in range(count):
        one = frame(k)
        if head is not None:
            one = FaceFrame(**{**one.__dict__, "head": np.radians(head).astype(np.float32)})
        out.append(stage.step(one, FrameContext(FPS)))
    return np.degrees([one.eyes for one in out]), np.array([one.coefficients for one in out])


def test_eyes_hold_the_viewer_most_of_the_time():
    turns, _ = eyes(3600)
    away = np.hypot(*turns.T) > 0.5
    assert 0.1 < away.mean() < 0.5
    assert np.abs(turns).max() <= 11.0
    saccades = np.diff(away.astype(int)) == 1
    assert 20 < saccades.sum() < 80  # in two minutes


def test_eyes_turn_against_the_head():
    turns, _ = eyes(20, head=[6.0, -4.0, 0.0])
    np.testing.assert_allclose(turns[0], [-6.0, 4.0], atol=1e-4)


def test_shapes_follow_the_eyes():
    turns, shapes = eyes(20, head=[-15.0, -6.0, 0.0])  # head to its right and down: eyes to the left and up
    assert shapes[0, INDEX["eyeLookOutLeft"]] == pytest.approx(0.5) == shapes[0, INDEX["eyeLookInRight"]]
    assert shapes[0, INDEX["eyeLookUpLeft"]] == pytest.approx(0.2) == shapes[0, INDEX["eyeLookUpRight"]]
    assert shapes[0, INDEX["eyeLookInLeft"]] == 0 == shapes[0, INDEX["eyeLookDownRight"]]
    assert turns[0, 0] == pytest.approx(15.0)


def test_streams_differ_by_seed_only():
    np.testing.assert_array_equal(eyes(300)[0], eyes(300)[0])
    assert not np.array_equal(eyes(300)[0], eyes(300, seed=1)[0])


@pytest.mark.parametrize("make", [lambda: HeadSettings(amount=9), lambda: GazeSettings(amount=-1)])
def test_out_of_range(make):
    with pytest.raises(ValueError, match=r"amount .* must be 0 to"):
        make()


def test_a_voice_moves_the_head_however_its_audio_is_cut():
    """Pitch comes from the stream itself: the same angles for every cutting, and nods where the voice has accents."""
    from small_models import small_model

    from emotalk_ros.audio import VoiceSettings
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.streaming import FaceStream

    time = np.arange(3 * 16000) / 16000
    pitch = 120 * 2 ** (0.5 * np.exp(-(((time - 1.5) / 0.08) ** 2)))  # one accent of six semitones
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    audio = sum(np.sin(k * phase) / k for k in range(1, 9)) * (0.05 + 0.1 * np.exp(-(((time - 1.5) / 0.1) ** 2)))
    motion = MotionSettings(head=HeadSettings(on=True), gaze=GazeSettings(on=True))
    angles = []
    for size in (16000 * 3, 800):
        stream = FaceStream(small_model("streaming_mel"), motion=motion, voice=VoiceSettings("energy"))
        frames = [f for at in range(0, len(audio), size) for f in stream.push(audio[at : at + size].astype(np.float32))]
        angles.append([f.angles for f in frames + stream.end()])
    np.testing.assert_allclose(angles[0], angles[1], atol=1e-6)
    turn = np.degrees(np.array(angles[0])[:, 1])
    assert turn[45:60].min() < turn[44] - 1.5
