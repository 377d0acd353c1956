"""Many voices on one network: each gets what it gets alone, whenever voices come and go, however audio is cut."""

import threading

import numpy as np
import pytest
import torch
from fake_model import CausalFake
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_model

from emotalk_ros.audio import AudioFormatError, PcmChunk
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model import EmotionControl
from emotalk_ros.model.causal_stream import CausalStream
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.motion import MotionSettings
from emotalk_ros.streaming import Controls, FaceStream, StreamSettings, VoiceHub
from emotalk_ros.streaming.hub import Collect, Passes, PassThread, stepped

SIZES = {
    "trunk_width": 32, "trunk_heads": 4, "trunk_ff": 48, "trunk_segment": 20, "content_dim": 32, "level_dim": 8,
    "person_dim": 8, "emotion_dim": 16, "emotion_channels": 12, "decoder_ff": 40, "decoder_reach": 20,
}  # fmt: skip
CONTROLS = [
    Controls(),
    Controls(person=5, level=0.3),
    Controls(emotion=EmotionControl.of("happy", 1.5)),
    Controls(person=tuple(np.full(24, 1 / 24)), emotion=EmotionControl.of("sad", blend=0.4)),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = StreamingEmoTalk(StreamingEmoTalkConfig(**SIZES)).eval()
    for name, parameter in network.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(0, 0.2 if parameter.dim() > 1 else 0.05)
    network.set_prototypes(torch.randn(len(EMOTIONS), SIZES["emotion_dim"]))
    return network


@pytest.fixture(scope="module", params=["streaming", "mel", "prosody"])
def either(request, model):
    """Both kinds of networks that stream; small ones of the second have prototypes too."""
    if request.param == "streaming":
        return model
    network = small_model(f"streaming_{request.param}")
    network.set_prototypes(torch.randn(len(network.config.emotion_labels), network.config.decoder_dim))
    return network


def prosodic(model):
    return getattr(model.config, "emotion_frontend", "") == "prosody"


def sound(seed, seconds):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)


def voice(model, number, hop):
    settings = StreamSettings(hop=hop, context=0.5)
    return FaceStream(model, settings, CONTROLS[number % len(CONTROLS)], MotionSettings(), ear="")


def same(frames, wanted, within=1e-5):
    assert [f.index for f in frames] == [f.index for f in wanted]
    for name in ("coefficients", "emotion", "activity"):
        assert np.abs(np.array([getattr(f, name) for f in frames]) - [getattr(f, name) for f in wanted]).max() < within


visit = st.tuples(
    st.integers(0, 6),  # the tick at which the voice joins
    st.floats(0.05, 1.6),  # seconds until it leaves
    st.sampled_from([0.1, 1 / 30, 0.2]),  # its hop
    st.lists(st.integers(1, 9000), min_size=1, max_size=6),  # samples of its chunks, in turn; one a tick
)


@settings(max_examples=25, deadline=None)
@given(visits=st.lists(visit, min_size=1, max_size=5), most=st.sampled_from([1, 3, 64]))
def test_each_voice_is_as_alone(either, visits, most):
    model = either
    hub = VoiceHub(model, most=most)
    voices, left, frames = {}, {}, {}
    for number, (_, seconds, hop, _) in enumerate(visits):
        voices[number] = voice(model, number, hop)
        left[number], frames[number] = sound(number, seconds), []
    tick = 0
    while left:
        pushed, ended = {}, []
        for number in list(left):
            joins, _, _, cuts = visits[number]
            if tick < joins:
                continue
            count = cuts[(tick - joins) % len(cuts)] if tick - joins < 12 else 20000
            if len(left[number]):
                pushed[voices[number]], left[number] = left[number][:count], left[number][count:]
            else:
                ended.append(number)
        for stream, made in hub.push(pushed).items():
            next(frames[n] for n, v in voices.items() if v is stream).extend(made)
        for stream, made in hub.end(*(voices[n] for n in ended)).items():
            next(frames[n] for n, v in voices.items() if v is stream).extend(made)
        for number in ended:
            del left[number]
        tick += 1
    for number, (_, seconds, hop, _) in enumerate(visits):
        alone = voice(model, number, hop)
        # Prosody takes logarithms of nearly nothing, and small random networks enlarge what a batch rounds otherwise.
        within = 3e-5 if prosodic(model) else 1e-5
        same(frames[number], alone.push(sound(number, seconds)) + alone.end(), within)


def test_controls_change_for_one_voice_only(model):
    hub = VoiceHub(model)
    one, other, alone = voice(model, 0, 0.1), voice(model, 0, 0.1), voice(model, 0, 0.1)
    first, second = sound(1, 1.0), sound(2, 1.0)
    made = hub.push({one: first, other: first})
    one.controls = alone.controls
    other.controls = Controls(person=7, emotion=EmotionControl.of("angry"))
    again = hub.push({one: second, other: second})
    same(made[one] + again[one], alone.push(first) + alone.push(second))
    changed = np.abs(np.array([f.coefficients for f in again[other]]) - [f.coefficients for f in again[one]])
    assert changed[-1].max() > 0.01


def test_one_pass_serves_all_voices(model):
    passes = []
    hear = model.hear
    model.hear = lambda samples, states, controls: passes.append(len(samples)) or hear(samples, states, controls)
    try:
        hub = VoiceHub(model)
        hub.push({voice(model, n, 0.1): sound(n, 0.5) for n in range(6)})
    finally:
        del model.hear
    assert passes and set(passes) == {6}


def test_windows_of_the_same_form_share_a_pass(monkeypatch):
    """The network with windows, too: two voices in step are one batch."""
    network, batches = small_model("streaming_mel"), []
    compute = CausalStream._compute

    def noting(self, asked):
        batches.append(len(asked.styles))
        return compute(self, asked)

    monkeypatch.setattr(CausalStream, "_compute", noting)
    hub = VoiceHub(network)
    voices = [hub.join(ear="") for _ in range(3)]
    made = hub.push({v: sound(n, 1.5) for n, v in enumerate(voices)})
    assert batches and set(batches) == {3}
    same(made[voices[2]], FaceStream(network, ear="").push(sound(2, 1.5)))


def test_a_thread_answers_all_who_wait_in_one_pass(model):
    """The web server's way: whatever was asked while the thread was busy shares the next pass."""
    passes, frames, go = [], [[] for _ in range(3)], threading.Event()
    hear = model.hear
    model.hear = lambda samples, states, controls: passes.append(len(samples)) or hear(samples, states, controls)
    thread = PassThread()
    try:
        thread.call(go.wait)
        works = [stepped(voice(model, n, 0.1).work(sound(n, 0.5)), Collect(frames[n])) for n in range(3)]
        done = [thread.work(model, work) for work in works]
        failing = thread.call(lambda: 1 / 0)
        go.set()
        assert [future.result(60.0) for future in done] == [False] * 3
        with pytest.raises(ZeroDivisionError):
            failing.result(60.0)
    finally:
        del model.hear
        thread.stop()
    assert set(passes) == {3} and thread.mean == 3.0
    for number, made in enumerate(frames):
        same(made, voice(model, number, 0.1).push(sound(number, 0.5)))


def test_a_voice_with_bad_audio_harms_no_other(model):
    hub = VoiceHub(model)
    good, bad = voice(model, 0, 0.1), voice(model, 1, 0.1)
    alone = voice(model, 0, 0.1)
    with pytest.raises(AudioFormatError):
        hub.push({bad: PcmChunk(b"123", "vorbis?", 1, 16000, 1), good: sound(0, 0.5)})
    alone.push(sound(0, 0.5))
    same(hub.push({good: sound(1, 0.5)})[good], alone.push(sound(1, 0.5)))


def test_networks_that_cannot_are_asked_one_by_one():
    hub = VoiceHub(CausalFake())
    one, other = hub.join(motion=None), hub.join(motion=None, settings=StreamSettings(hop=0.2))
    alone = FaceStream(CausalFake(), motion=None)
    made = hub.push({one: sound(0, 1.0), other: sound(0, 1.0)})
    same(made[one], alone.push(sound(0, 1.0)))
    assert made[other]


def test_out_of_memory_halves_the_pass_and_the_voices_go_on(model):
    class Small:
        """A network on a device that holds three voices at a time."""

        config, prototypes_set, splits_expression = model.config, True, True

        def __getattr__(self, name):
            return getattr(model, name)

        def analyse_together(self, windows):
            if len(windows) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return model.analyse_together(windows)

    passes = Passes(Small())
    voices, made = [voice(Small(), n, 0.1) for n in range(6)], [[] for _ in range(6)]
    alone = [voice(model, n, 0.1) for n in range(6)]
    wanted = [[] for _ in range(6)]
    for part in range(2):
        for number, stream in enumerate(voices):
            passes.start(stepped(stream.work(sound(6 * part + number, 0.5)), Collect(made[number])))
            wanted[number] += alone[number].push(sound(6 * part + number, 0.5))
        while passes.busy:
            passes.turn()
    assert passes.most == 3 and passes.failures == 0
    for one, other in zip(made, wanted, strict=True):
        same(one, other)  # nobody lost a frame


@pytest.mark.parametrize("kind", ["mel", "prosody"])
def test_out_of_memory_in_the_middle_of_a_pass_costs_no_frame(kind, monkeypatch):
    """Memory that runs out when the states of some voices went on: their windows are heard anew."""
    network, left = small_model(f"streaming_{kind}"), [1]
    compute = CausalStream._compute

    def failing(self, asked):
        result = compute(self, asked)
        if len(asked.styles) > 2 and left and asked.seen.shape[2] == 3:
            left.clear()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return result

    hub = VoiceHub(network)
    voices = [hub.join(StreamSettings(context=2.0), ear="") for _ in range(4)]
    alone = [FaceStream(network, StreamSettings(context=2.0), ear="") for _ in range(4)]
    wanted = [v.push(sound(n, 1.0)) + v.push(sound(9 + n, 0.5)) for n, v in enumerate(alone)]
    monkeypatch.setattr(CausalStream, "_compute", failing)
    first = hub.push({v: sound(n, 1.0) for n, v in enumerate(voices)})
    again = hub.push({v: sound(9 + n, 0.5) for n, v in enumerate(voices)})
    assert not left
    for stream, frames in zip(voices, wanted, strict=True):
        same(first[stream] + again[stream], frames, 3e-5 if kind == "prosody" else 1e-5)
