"""The expression stage: what is shown, how strongly, when it comes and goes, and what it leaves alone."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from faces import CLOSE, JAW, face

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face import INDEX, default_face, expression
from emotalk_ros.face.composition import lip_opening
from emotalk_ros.face.names import EXPRESSIVE
from emotalk_ros.motion import FaceFrame, FrameContext
from emotalk_ros.motion.stages.expression import Expression, ExpressionSettings, wished

FPS = 30.0
SHOWN = [e for e in EMOTIONS if e != "neutral"]
SMILE, BROW, INNER = INDEX["mouthSmileLeft"], INDEX["browDownLeft"], INDEX["browInnerUp"]


@dataclass
class Control:
    """What `model.EmotionControl` tells a stage."""

    labels: dict = field(default_factory=dict)
    intensity: float = 1.0
    blend: float = 1.0
    clip: object = None


def asked(label, intensity=1.0):
    return Control({label: 1.0}, intensity)


def speech(frames, seed=0):
    """A mouth that opens and shuts: (frames, 52) with closures, vowels and rounding, upper face at rest."""
    motion = np.zeros((frames, 52), dtype=np.float32)
    time = np.arange(frames) / FPS
    beat = np.clip(np.sin(2 * np.pi * (1.9 + 0.2 * seed) * time + seed), 0, None)
    motion[:, JAW] = 0.05 + 0.28 * beat
    closed = np.clip(1 - beat / 0.15, 0, 1)
    motion[:, CLOSE] = closed * motion[:, JAW]
    for side in ("Left", "Right"):
        motion[:, INDEX[f"mouthLowerDown{side}"]] = 0.25 * beat * (1 - closed)
        motion[:, INDEX[f"mouthUpperUp{side}"]] = 0.12 * beat * (1 - closed)
    motion[:, INDEX["mouthPucker"]] = 0.35 * np.clip(np.sin(2 * np.pi * 0.7 * time), 0, None)
    return motion


def play(faces, control, activity=None, loudness=None, heard=None, own=None, settings=None, person=0):
    """(frames, 52) that the stage makes of `faces`; `control` is one, or one for each frame."""
    stage = Expression(settings or ExpressionSettings())
    made = []
    for k, coefficients in enumerate(faces):
        frame = FaceFrame(
            k,
            round(k * 1e9 / FPS),
            coefficients,
            1.0 if activity is None else float(activity[k]),
            np.zeros(0, np.float32) if heard is None else np.asarray(heard, np.float32),
            0.6 if loudness is None else float(loudness[k]),
            expression=None if own is None else own[k],
        )
        current = control[k] if isinstance(control, list) else control
        context = FrameContext(FPS, labels=EMOTIONS if heard is not None else (), emotion=current, person=person)
        kept = coefficients.copy()
        made.append(stage.step(frame, context).coefficients)
        np.testing.assert_array_equal(coefficients, kept)
    return np.stack(made)


@pytest.mark.parametrize("emotion", SHOWN)
def test_displacement_is_linear_in_the_intensity_on_five_clips(emotion):
    """Upper face and mouth corners in mm, means over a clip, against the same clip in neutral."""
    basis = default_face()
    for seed in range(5):
        said = speech(90, seed)
        rest = play(said, asked("neutral"))[45:]
        reach = {}
        for intensity in (0.5, 1.0, 2.0):
            shown = play(said, asked(emotion, intensity))[45:]
            for name, ids in (("upper", basis.upper_ids), ("corners", basis.mouth_corner_ids)):
                moved = np.linalg.norm(basis.displacement(shown - rest, ids), axis=2).max(axis=1).mean()
                reach[name, intensity] = moved
        assert reach["upper", 1.0] > 1.5
        for name in ("upper", "corners"):
            if reach[name, 1.0] > 1.0:
                assert 0.4 < reach[name, 0.5] / reach[name, 1.0] < 0.6
                assert reach[name, 2.0] / reach[name, 1.0] > 1.7


@pytest.mark.parametrize("emotion", SHOWN)
@pytest.mark.parametrize("intensity", [0.5, 1.0, 2.0])
def test_the_lips_say_the_same_in_every_emotion(emotion, intensity):
    said = speech(120)
    before = np.maximum(lip_opening(said), 0)[30:]
    after = np.maximum(lip_opening(play(said, asked(emotion, intensity))), 0)[30:]
    np.testing.assert_allclose(after, before, rtol=0.1, atol=0.25)
    assert (after[before < 0.1] < 0.3).all()


def test_an_emotion_changes_within_three_tenths_of_a_second_and_without_a_step():
    controls = [asked("happy")] * 60 + [asked("angry")] * 60
    shown = play(speech(120), controls)[:, EXPRESSIVE]
    angry = shown[-1]
    moved = np.abs(np.diff(shown[50:], axis=0)).max()
    assert moved < 0.12
    happy = shown[58]
    way = ((shown - happy) @ (angry - happy)) / ((angry - happy) @ (angry - happy))
    assert way[60] < 0.2 and way[60 + 9] > 0.85


def test_it_comes_with_the_voice_stays_through_pauses_and_ends_in_silence():
    activity = np.concatenate([np.zeros(30), np.ones(60), np.zeros(15), np.ones(30), np.zeros(150)])
    said = speech(len(activity)) * activity[:, None].astype(np.float32)
    brow = play(said, asked("angry"), activity, loudness=0.6 * activity)[:, BROW]
    full = expression("angry")[BROW]
    assert brow[:30].max() == 0
    assert brow[42] > 0.8 * full
    assert brow[90:105].min() > 0.75 * full
    assert brow[134 + 90] < 0.2 * full
    assert brow[-1] == 0
    assert np.abs(np.diff(brow)).max() < 0.2


def test_on_a_live_face_what_was_asked_for_stays_without_a_voice():
    silent = FaceFrame(0, 0, np.zeros(52, np.float32), 0.0, np.zeros(0, np.float32))
    stage, full = Expression(ExpressionSettings()), expression("angry")[BROW]
    live = FrameContext(FPS, emotion=asked("angry"), stays=True)
    brow = [stage.step(silent, live).coefficients[BROW] for _ in range(300)]
    assert brow[29] > 0.8 * full and brow[-1] > 0.8 * full
    brow = [stage.step(silent, FrameContext(FPS, stays=True)).coefficients[BROW] for _ in range(300)]
    assert brow[15] < 0.3 * full and brow[-1] == 0


def test_pauses_show_what_the_mouth_does_not_in_speech():
    activity = np.concatenate([np.ones(60), np.zeros(40)])
    said = speech(100) * activity[:, None].astype(np.float32)
    angry = play(said, asked("angry"), activity)
    assert angry[80, INDEX["mouthPressLeft"]] > 0.3
    surprised = lip_opening(play(said, asked("surprised"), activity))
    assert surprised[80] > 5
    assert np.abs(surprised[20:60] - lip_opening(said)[20:60]).max() < 0.5


def test_the_jaw_drops_in_surprise_before_the_voice_has_the_mouth():
    activity = np.concatenate([np.zeros(10), np.ones(30)])
    quiet = np.zeros((40, 52), dtype=np.float32)
    opening = lip_opening(play(quiet, asked("surprised"), activity))
    assert opening[:10].max() == 0 and opening[10:13].max() > 1.0 and opening[20:].max() < 0.3


def test_a_doubtful_voice_gives_a_mild_face():
    said = speech(90)
    sure, doubtful = np.full(8, 0.01), np.full(8, 0.075)
    sure[EMOTIONS.index("happy")], doubtful[EMOTIONS.index("happy")] = 0.93, 0.475
    smiles = [play(said, None, heard=p)[60:, SMILE].mean() for p in (sure, doubtful, np.full(8, 1 / 8))]
    assert smiles[0] > 0.35
    assert 0.4 < smiles[1] / smiles[0] < 0.65
    assert smiles[2] < 0.25 * smiles[0]


def test_an_aroused_voice_is_livelier():
    said = speech(150)
    loudness = 0.6 + 0.3 * np.sin(2 * np.pi * 0.7 * np.arange(150) / FPS)
    calm, alive = (
        play(said, Control({label: 1.0}), loudness=loudness)[60:, INDEX["cheekSquintLeft"]]
        for label in ("disgust", "happy")
    )
    assert alive.std() / alive.mean() > 1.5 * calm.std() / calm.mean() > 0


def test_the_networks_own_expression_is_filled_up_and_not_doubled():
    said = speech(60)
    target = expression("angry")
    for share in (0.0, 0.4, 1.0):
        own = np.tile(np.float32(share) * target, (60, 1))
        shown = play(said, asked("angry"), own=own)[50]
        assert shown[BROW] == pytest.approx(target[BROW], rel=0.1)
    own = np.tile(2 * target[None] / 3, (60, 1))
    twice = play(said, asked("angry", 2.0), own=own, settings=ExpressionSettings(share=0.0))[50]
    assert twice[BROW] == pytest.approx(4 * target[BROW] / 3, rel=0.1)


def test_a_network_that_does_not_tell_them_apart_is_filled_up_as_well():
    said = speech(90)
    said[:, EXPRESSIVE] = 0.4 * expression("angry")[EXPRESSIVE]
    shown = play(said, asked("angry"))[80]
    np.testing.assert_allclose(shown[EXPRESSIVE], expression("angry")[EXPRESSIVE], rtol=0.1, atol=0.02)
    said[:, [SMILE, SMILE + 1]] = 0.3
    held = play(said, asked("happy"))[80, SMILE]
    assert held < 1.1 * expression("happy")[SMILE]
    np.testing.assert_array_equal(play(said, None, settings=ExpressionSettings(share=0.0)), said)


def test_a_blend_lies_between_the_voice_and_what_was_asked_for():
    probabilities = np.zeros(8, np.float32)
    probabilities[EMOTIONS.index("sad")] = 0.8
    probabilities[0] = 0.2
    frame = FaceFrame(0, 0, face(), 1.0, probabilities)
    context = FrameContext(FPS, labels=EMOTIONS, emotion=Control({"happiness": 3.0, "surprise": 1.0}, 1.5, 0.5))
    wish = wished(frame, context)
    assert wish.weights == pytest.approx([0.1, 0, 0.375, 0.4, 0, 0, 0, 0.125])
    assert wish.intensity == 1.5 and wish.confidence == pytest.approx(0.9)
    assert wished(frame, replace(context, emotion=None)).weights == pytest.approx(probabilities)
    assert not wished(frame, replace(context, emotion=Control(clip=np.zeros(9)))).weights.any()


def test_persons_show_it_in_their_own_way_and_a_new_stream_begins_at_rest():
    said = speech(60)
    average, other = (play(said, asked("sad"), person=person)[50] for person in (0, 3))
    assert np.abs(average - other).max() > 0.05
    weights = np.zeros(24)
    weights[3] = 1.0
    np.testing.assert_allclose(play(said, asked("sad"), person=weights)[50], other, atol=1e-6)
    stage, context = Expression(ExpressionSettings()), FrameContext(FPS, emotion=asked("angry"))
    frames = [FaceFrame(k, k, said[k], 1.0, np.zeros(0, np.float32), 0.6) for k in range(20)]
    first = [stage.step(f, context).coefficients for f in frames]
    stage.reset()
    np.testing.assert_array_equal(first, [stage.step(f, context).coefficients for f in frames])


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"transition": -1.0}, {"hold": float("nan")}, {"sway": 2.0}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.* must be"):
        ExpressionSettings(**wrong)
