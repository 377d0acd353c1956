"""The streaming contract of one voice, on a model whose every frame is known."""

import dataclasses
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from fake_model import CausalFake, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio import PcmChunk, VoiceSettings, encode_pcm
from emotalk_ros.face import INDEX
from emotalk_ros.face.names import LOWER_FACE
from emotalk_ros.model.ear_config import EarError
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.streaming import Controls, FaceStream, StreamSettings, animate, session

ORIGIN = 1_700_000_000_123_456_789


def raw(model, settings=None, controls=None):
    """A voice without motion stages: frames as the network gives them."""
    return FaceStream(model, settings, controls, motion=None)


def run(stream, audio, sizes, origin=ORIGIN):
    """Push in chunks of the given sizes (the last one repeats) and end."""
    frames, at, sizes = [], 0, list(sizes)
    while at < len(audio):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        frames += stream.push(audio[at : at + size], origin + at * 10**9 // 16000)
        at += size
    return frames + stream.end()


def values(frames):
    return np.stack([np.concatenate([f.coefficients, [f.activity], f.emotion]) for f in frames])


@pytest.mark.parametrize("fps", [None, 60, 59.94])
def test_every_cutting_of_the_audio_gives_the_same_frames(fake, speech, fps):
    def stream():
        return FaceStream(fake, StreamSettings(fps=fps))

    speech = speech[3000:12001]
    reference = run(stream(), speech, [len(speech)])
    for size in (1, 7, 320):
        frames = run(stream(), speech, [size])
        assert [f.stamp_ns for f in frames] == [f.stamp_ns for f in reference]
        np.testing.assert_allclose(values(frames), values(reference), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=30),
    hop=st.sampled_from([1, 3, 4, 10]),
    fps=st.sampled_from([None, 10, 24, 30, 50, 60, 120]),
    count=st.integers(1, 26000),
)
def test_frames_are_on_the_grid_each_once_for_any_cutting(sizes, hop, fps, count):
    random = np.random.default_rng(count)
    audio = (0.1 * random.standard_normal(count)).astype(np.float32)
    rate = fps or 30
    frames = run(raw(CausalFake(), StreamSettings(hop / 30, 1.0, fps=fps)), audio, sizes)
    assert [f.index for f in frames] == list(range(-(-count * rate // 16000)))
    assert [f.stamp_ns - ORIGIN for f in frames] == [round(n * 1e9 / rate) for n in range(len(frames))]


def test_sixty_seconds_are_exactly_1800_frames(make_fake):
    frames = run(raw(make_fake(), StreamSettings(hop=1.0)), np.zeros(960_000, np.float32), [320])
    assert len(frames) == 1800
    assert [f.index for f in frames] == list(range(1800))


@pytest.mark.parametrize("count", [1, 533, 534, 1600, 1601, 48272])
def test_streamed_equals_offline_when_the_context_covers_the_clip(fake, speech, count):
    clip = speech[:count]
    frames = run(raw(fake, StreamSettings(context=4.0)), clip, [160])
    np.testing.assert_allclose(np.stack([f.coefficients for f in frames]), fake.predict(clip), atol=1e-5)


@pytest.mark.parametrize("hop", [1 / 30, 0.1, 0.5])
def test_frames_hear_exactly_their_lookahead(fake, speech, hop):
    """Coefficient 50 of the fake is the last sample that a frame may hear: none may be missing, at any hop."""
    frames = run(raw(fake, StreamSettings(hop=hop, context=1.5)), speech, [480])
    for f in frames:
        last = f.index * 16000 // 30 + 1801 - 1
        assert f.coefficients[50] == pytest.approx(speech[last] if last < len(speech) else 0.0, abs=1e-7)


def test_frames_come_as_soon_as_their_hop_and_lookahead_are_there(fake, speech):
    stream = raw(fake, StreamSettings())
    late = []
    for at in range(0, 32000, 160):
        for f in stream.push(speech[at : at + 160]):
            late.append((at + 160) / 16000 - f.index / 30)
    assert max(late) <= stream.schedule.latency + 0.010 + 1e-9
    assert stream.schedule.latency == pytest.approx(0.0667 + 0.1126, abs=1e-3)


def test_a_window_is_one_call_of_bounded_length(fake, speech):
    stream = raw(fake, StreamSettings())
    run(stream, np.tile(speech, 4), [len(speech) * 4])
    assert max(fake.calls) <= 16000 * 2 + 1600 + 1600 + 1801
    assert len(fake.calls) == stream.statistics.hops == -(-len(speech) * 4 // 1600)


def test_minutes_at_once_stay_within_the_ring(make_fake):
    """Ten minutes, silent; what grows is only the frames handed out."""

    class Still:
        config = make_fake().config

        def analyse(self, audio, **controls):
            count = -(-len(audio) * 30 // 16000)
            return Result(np.zeros((count, 52), np.float32), np.zeros((count, 3), np.float32))

    stream = raw(Still(), StreamSettings(hop=1.0))
    frames = stream.push(np.zeros(9_600_000, np.float32))
    assert len(frames) == 17970
    assert stream._engine._ring.capacity < 60_000 and len(stream._engine._rows) < 40
    second = np.zeros(16000, np.float32)
    del frames
    tracemalloc.start()
    for _ in range(10):  # until everything kept has been replaced under the tracer's eyes
        stream.push(second)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        stream.push(second)
    assert tracemalloc.get_traced_memory()[0] - before < 20_000
    tracemalloc.stop()


def test_invalid_samples_never_reach_the_model(fake, speech):
    dirty = speech.copy()
    dirty[[100, 20000, 20001]] = [np.nan, np.inf, -np.inf]
    clean = dirty.copy()
    clean[[100, 20000, 20001]] = 0
    stream = raw(fake)
    np.testing.assert_array_equal(values(run(stream, dirty, [333])), values(run(raw(fake), clean, [333])))
    assert stream.intake.invalid_samples == 3


def test_skipped_hops_leave_the_grid_and_the_other_frames_as_they_are(fake, speech):
    reference = {f.index: f for f in run(raw(fake), speech, [320])}
    stream = raw(fake)
    frames = stream.push(speech[:16000], ORIGIN)
    stream.skip(3)
    frames += stream.push(speech[16000:])
    frames += stream.end()
    gone = sorted(set(reference) - {f.index for f in frames})
    assert len(gone) == 9
    assert gone == list(range(gone[0], gone[0] + 9))
    assert stream.statistics.skipped_hops == 3
    for f in frames:
        assert f.stamp_ns == reference[f.index].stamp_ns
        np.testing.assert_array_equal(f.coefficients, reference[f.index].coefficients)


def test_skipping_at_an_interpolated_rate_never_invents_a_frame(fake, speech):
    reference = {f.index: f for f in run(raw(fake, StreamSettings(fps=50)), speech, [320])}
    stream = raw(fake, StreamSettings(fps=50))
    frames = stream.push(speech[:16000], ORIGIN)
    stream.skip(2)
    frames += stream.push(speech[16000:]) + stream.end()
    assert [f.index for f in frames] == sorted({f.index for f in frames})
    for f in frames:
        np.testing.assert_allclose(f.coefficients, reference[f.index].coefficients, atol=1e-6)


def test_interpolated_frames_lie_between_the_models(fake, speech):
    whole = fake.predict(speech)
    frames = run(raw(fake, StreamSettings(context=4.0, fps=60)), speech, [320])
    assert len(frames) == -(-len(speech) * 60 // 16000)
    doubled = np.stack([f.coefficients for f in frames])
    np.testing.assert_allclose(doubled[0::2], whole[: len(doubled[0::2])], atol=1e-5)
    middle = (whole[:-1] + whole[1:]) / 2
    np.testing.assert_allclose(doubled[1 : 2 * len(middle) : 2], middle, atol=1e-5)


def test_controls_take_hold_at_the_next_hop_without_a_jump(fake, speech):
    audio = np.full(48000, 0.3, np.float32)
    stream = raw(fake, StreamSettings(context=4.0), Controls(level=0.0))
    frames = stream.push(audio[:24000])
    stream.controls = dataclasses.replace(stream.controls, level=1.0)
    frames += stream.push(audio[24000:])
    curve = np.array([f.coefficients[20] for f in frames])
    before = len(engine_frames := [f for f in frames if f.coefficients[20] == 0])
    assert engine_frames[-1].index < 45
    assert curve[before + 8] == pytest.approx(0.3, abs=1e-6)
    assert np.abs(np.diff(curve)).max() < 0.3 / 4


def test_controls_that_cannot_be_followed_are_refused(fake):
    stream = raw(fake)
    for bad, word in (
        (Controls(level=1.5), "0..1"),
        (Controls(person=24), "0..23"),
        (Controls(person=np.full(24, 0.5)), "sum to 1"),
    ):
        with pytest.raises(ValueError, match=word):
            stream.controls = bad
    assert stream.controls == Controls()


def test_an_emotion_control_is_worked_out_once_not_at_every_hop(fake, speech):
    class Emotion:
        stretch = False
        asked = 0

        def model_inputs(self, model):
            self.asked += 1
            return {"emotion_embedding": self.asked}

    emotion, seen = Emotion(), []
    analyse = fake.analyse
    fake.analyse = lambda audio, **controls: (seen.append(controls["emotion"].model_inputs(fake)), analyse(audio))[1]
    run(raw(fake, controls=Controls(emotion=emotion)), speech, [320])
    assert emotion.asked == 1 and len(seen) > 20 and seen[0] == seen[-1] == {"emotion_embedding": 1}
    emotion.stretch = True
    with pytest.raises(ValueError, match="whole clips"):
        raw(fake, controls=Controls(emotion=emotion))


def test_audio_that_does_not_follow_is_refused_and_a_reset_begins_anew(fake, speech):
    stream = raw(fake)
    stream.push(speech[:8000], ORIGIN)
    with pytest.raises(ValueError, match=r"\+1\.000 s"):
        stream.push(speech[8000:9000], ORIGIN + 1_500_000_000)
    stream.reset()
    frames = stream.push(speech, ORIGIN + 10**12)
    assert frames[0].index == 0 and frames[0].stamp_ns == ORIGIN + 10**12
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        stream.push(np.zeros((5, 2)))


def test_empty_audio_and_an_empty_stream_give_nothing(fake):
    stream = raw(fake)
    assert stream.push(np.zeros(0)) == [] and stream.end() == []


def test_a_stream_that_sees_everything_runs_too(make_fake, speech):
    model = make_fake(lookahead_samples=None, resampling="align_corners", min_samples=720)
    stream = raw(model, StreamSettings(context=1.0))
    frames = run(stream, speech, [320])
    assert len(frames) == -(-len(speech) * 30 // 16000)
    steady = model.calls[15:-4]
    assert {n % 1600 for n in steady} == {0}
    np.testing.assert_allclose(values(frames), values(run(raw(model, StreamSettings(context=1.0)), speech, [7001])))
    assert len(run(raw(model), speech[:100], [100])) == 1  # shorter than the model can take


def test_activity_follows_the_sound_and_opens_ahead_of_it(fake, speech):
    frames = run(FaceStream(fake, motion=None, voice=VoiceSettings("energy")), speech, [320])
    activity = np.array([f.activity for f in frames])
    assert activity[[0, 5]].max() == 0
    assert activity[12:60].mean() > 0.9  # sound from 0.4 s to 2.2 s
    assert activity[72:].max() == 0


def test_offline_gives_the_same_frames_as_live(fake, speech):
    live = run(FaceStream(fake, StreamSettings(context=4.0)), speech, [320], origin=0)
    offline = list(animate(fake, [speech[:9], speech[9:]]))
    np.testing.assert_allclose(values(offline), values(live), atol=1e-5)


@dataclasses.dataclass
class Parts(Result):
    speech: np.ndarray
    expression: np.ndarray


class SplitFake(CausalFake):
    """Half of each coefficient is speech; the expression is a lowered brow."""

    def analyse(self, audio, person=0, level=1.0, emotion=None):
        whole = super().analyse(audio, person, level, emotion)
        expression = np.zeros_like(whole.coefficients)
        expression[:, INDEX["browDownLeft"]] = 0.25
        speech = whole.coefficients * np.float32(0.5)
        return Parts(speech + expression, whole.frame_emotion_logits, speech, expression)


@dataclasses.dataclass(frozen=True)
class Intensity:
    """What a stream asks of a control that leaves the emotion to the voice."""

    intensity: float
    labels: dict = dataclasses.field(default_factory=dict)
    clip: None = None
    blend: float = 1.0

    def model_inputs(self, model):
        return {}


def test_speech_and_expression_stay_apart_until_the_intensity_is_applied(speech):
    model, brow = SplitFake(), INDEX["browDownLeft"]
    plain = [run(raw(model, controls=Controls(emotion=Intensity(k))), speech, [320]) for k in (0.0, 1.0, 2.0)]
    none, once, twice = (values(frames)[:, brow] for frames in plain)
    np.testing.assert_allclose(once, np.minimum(none + 0.25, 1), atol=1e-6)
    np.testing.assert_allclose(twice, np.minimum(none + 0.5, 1), atol=1e-6)
    assert plain[0][5].expression[brow] == 0.25
    # With stages the expression comes with the voice.
    stream = FaceStream(model, controls=Controls(emotion=Intensity(2.0)), voice=VoiceSettings("energy"))
    moved = run(stream, speech, [320])
    assert moved[2].coefficients[brow] < 0.01
    assert moved[45].expression[brow] == 0.25 and moved[45].coefficients[brow] > none[45] + 0.1


EYES = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
OFTEN = MotionSettings(blinks=BlinkSettings(interval=(0.3, 0.4)))


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0])
def test_the_tail_ends_with_a_closed_mouth_and_open_eyes(fake, speech, seconds):
    """Wherever the sound is cut off: blinks come so often that many are cut as well."""
    half_done = 0
    for cut in range(9000, 30000, 1111):
        stream = FaceStream(fake, motion=OFTEN)
        spoken = stream.push(speech[:cut], ORIGIN) + stream.end()
        tail = stream.tail(seconds)
        half_done += spoken[-1].coefficients[EYES].max() > 0.2
        assert len(tail) == round(seconds * 30) and tail[0].index == spoken[-1].index + 1
        assert {frame.kind for frame in tail} == {FrameKind.CLOSING}
        assert tail[-1].coefficients[LOWER_FACE].max() == tail[-1].coefficients[EYES].max() == 0.0
        lids = np.array([frame.coefficients[EYES[0]] for frame in tail])
        assert not (np.diff(lids) > 0.3).any() or spoken[-1].coefficients[EYES[0]] > 0  # none begins
    assert half_done > 1
    assert FaceStream(fake).tail(0.3) == []


def test_without_idle_frames_the_closing_goes_on_until_no_blink_is_half_done(fake, speech):
    longer = 0
    for cut in range(9000, 30000, 1111):
        stream = FaceStream(fake, motion=OFTEN)
        stream.push(speech[:cut], ORIGIN)
        stream.end()
        shown = []
        while not stream.closed:  # as the worker does where output.idle is off
            shown.append(stream.idle())
        assert shown[-1].coefficients[EYES].max() < 0.2 and len(shown) < 30
        longer += len(shown) > 9
    assert longer > 1


def test_one_absurd_sample_changes_no_other_frame(fake, speech):
    clean = run(raw(fake, StreamSettings(hop=0.1)), speech, [1600])
    broken = speech.copy()
    broken[20000] = 1e20
    stream = raw(fake, StreamSettings(hop=0.1))
    frames = run(stream, broken, [1600])
    assert np.isfinite(values(frames)).all() and stream.intake.invalid_samples == 1
    assert (np.abs(values(frames) - values(clean)).max(axis=1) > 1e-3).sum() < 12


def test_a_quiet_microphone_is_amplified_and_told(fake, speech):
    def heard(levelling):
        stream = FaceStream(fake, levelling=levelling, voice=VoiceSettings("energy"))
        quiet = np.tile(speech, 3) * 10 ** (-48 / 20)
        frames = []
        for at in range(0, len(quiet), 320):
            data = encode_pcm(quiet[at : at + 320], "f32le")
            frames += stream.push(PcmChunk(data, "f32le", 1, 16000, ORIGIN + at * 10**9 // 16000))
        return np.array([frame.activity for frame in frames]), stream

    on, stream = heard(True)
    off, other = heard(False)
    assert on[90:].mean() > 0.3 > off[90:].mean() and stream.level.gain > 20 and other.level.gain == 0
    assert all(any("the sound is quiet" in text for text in s.take_warnings()) for s in (stream, other))


def test_a_default_ear_that_cannot_be_read_is_told(monkeypatch, caplog):
    def refuse(name):
        raise EarError(f"ear {name} is damaged")

    monkeypatch.setattr(session, "_loaded_ear", refuse)
    model = SimpleNamespace(trunk=object())
    assert session.ear_of(model, "free") is None
    assert "ear free is damaged" in caplog.text
    with pytest.raises(EarError, match="ear research is damaged"):
        session.ear_of(model, "research")
