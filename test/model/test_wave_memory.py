"""The paper's network hop by hop: what windows pass on changes nothing as long as the constants are frozen."""

import numpy as np
import pytest
import torch
from small_models import ENCODER, small_model, speechlike

from emotalk_ros.model.wave_memory import PIECE, RunningNormalisation
from emotalk_ros.streaming import Engine, StreamSettings, VoiceHub
from emotalk_ros.streaming.schedule import WindowSchedule
from emotalk_ros.units import SAMPLE_RATE

SETTINGS = StreamSettings(hop=0.2, context=0.6, lookahead=0.1)
VARIANTS = [
    ("paper", {}),
    ("paper_group_norm", {}),
    ("one_encoder", {}),
    ("paper", {"decoder_layers": 2}),
    ("paper", {"normalization": "none"}),
    ("paper_group_norm", {"normalization": "none"}),
    ("paper", {"fps": 25}),
]


def windows(model, audio, settings=SETTINGS, hops=None):
    schedule = WindowSchedule.build(settings, model.config)
    count = len(audio) * schedule.model_fps // SAMPLE_RATE // schedule.hop_frames - 1
    for k in range(count) if hops is None else hops:
        window = schedule.window(k)
        place = {"start": window.base, "frames": window.stop - window.base}
        yield window, audio[window.start : window.end], place


def hop_by_hop(model, audio, memory, settings=SETTINGS, hops=None):
    """The new rows of each hop (n, 52 + L): coefficients and emotion logits."""
    rows = []
    for window, piece, place in windows(model, audio, settings, hops):
        made = model.analyse(piece, memory=memory, **place)
        both = np.column_stack([made.coefficients, made.frame_emotion_logits])
        assert len(both) == window.stop - window.base
        rows.append(both[window.first - window.base :])
    return np.concatenate(rows)


@pytest.mark.parametrize(("variant", "options"), VARIANTS)
def test_it_equals_a_pass_over_each_window_with_the_same_constants(variant, options):
    settings = StreamSettings(0.2, 0.6, 0.2) if "fps" in options else SETTINGS
    model, audio = small_model(variant, **options), speechlike(48_000)
    memory, plain = model.stream_memory(30), model.stream_memory(30)
    plain.reuse = False
    made, expected = (hop_by_hop(model, audio, m, settings) for m in (memory, plain))
    assert np.ptp(made[:, :52], axis=0).max() > 0.05
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_its_windows_are_those_of_a_network_that_does_not_normalise():
    """Nothing but the network's plain `analyse`, on samples that were normalised outside of it."""
    model, audio = small_model("paper"), speechlike(48_000)
    bare = small_model("paper", normalization="none")
    memory = model.stream_memory(30)
    for window, piece, place in windows(model, audio):
        made = model.analyse(piece, memory=memory, **place).coefficients[window.first - window.base :]
        constants = memory.normalisation
        whole = bare.analyse(((piece - constants.mean) / constants.deviation).astype(np.float32)).coefficients
        np.testing.assert_allclose(made, whole[window.first - window.base : window.stop - window.base], atol=1e-5)
    assert memory.refrozen < 4


def test_the_first_window_is_the_clip():
    model, audio = small_model("paper"), speechlike(16_000)
    audio[4000:9000] *= 0.001  # a clip is normalised with its silence
    memory = model.stream_memory(30)
    made = model.analyse(audio, memory=memory, start=0, frames=30).coefficients
    np.testing.assert_allclose(made, model.predict(audio), atol=1e-5)


@pytest.mark.parametrize("emotion_every", [0.0, 0.5])
def test_every_cutting_gives_the_same_frames(emotion_every):
    model, audio = small_model("paper"), np.concatenate([np.zeros(9000, np.float32), speechlike(31_007)])
    settings = StreamSettings(0.2, 0.6, 0.1, emotion_every=emotion_every)

    def frames(size):
        engine = Engine(model, settings)
        made = [f for at in range(0, len(audio), size) for f in engine.feed(audio[at : at + size])] + engine.flush()
        return np.stack([np.concatenate([f.coefficients, f.emotion]) for f in made])

    whole = frames(len(audio))
    assert len(whole) == model.frame_count(len(audio))
    for size in (1, 320, 5001) if not emotion_every else (7,):
        np.testing.assert_allclose(frames(size), whole, atol=1e-5)


def test_voices_of_one_network_do_not_hear_each_other():
    model, sounds = small_model("paper"), [speechlike(24_000, seed) for seed in (0, 1)]
    settings = StreamSettings(0.2, 0.6, 0.1, emotion_every=0.5)

    def alone(audio):
        engine = Engine(model, settings)
        return np.stack([frame.coefficients for frame in engine.feed(audio) + engine.flush()])

    hub = VoiceHub(model, settings)
    voices = [hub.join(motion=None, ear="") for _ in sounds]
    made = {voice: [] for voice in voices}
    for at in range(0, 24_000, 4000):
        pushed = hub.push({voice: sound[at : at + 4000] for voice, sound in zip(voices, sounds, strict=True)})
        for voice, frames in pushed.items():
            made[voice] += frames
    for voice, frames in hub.end(*voices).items():
        made[voice] += frames
    for voice, sound in zip(voices, sounds, strict=True):
        together = np.stack([frame.coefficients for frame in made[voice]])
        np.testing.assert_allclose(together, alone(sound), atol=1e-5)


def test_it_computes_the_new_features_only_and_does_not_grow(monkeypatch):
    model, audio = small_model("paper"), speechlike(64_000)
    counts, features = [], model.content_encoder.features
    monkeypatch.setattr(model.content_encoder, "features", lambda v, **k: counts.append(v.shape[1]) or features(v, **k))
    memory = model.stream_memory(30)
    hop_by_hop(model, audio, memory)
    assert memory.refrozen == 1
    # A hop is 3200 samples; of those before it the last 240 were too few for a feature, whose first 80 were heard.
    assert counts[0] == 4800 and set(counts[1:]) == {3200 + 240 + 80}
    assert memory.content.kept.shape[1] == memory.emotion.kept.shape[1] == (0.9 * SAMPLE_RATE - 400) // 320 + 1
    assert memory.rows.shape[1] == 24 and len(memory.normalisation._pieces) <= 300


def test_hops_left_out_change_nothing_in_the_others():
    model, audio = small_model("paper"), speechlike(64_000)
    every = hop_by_hop(model, audio, model.stream_memory(30))
    hops = [0, 1, 2, 5, 6, 12, 13]  # between 6 and 12 more is missing than a window holds
    memory = model.stream_memory(30)
    some = hop_by_hop(model, audio, memory, hops=hops)
    chosen = [6 * hop + k for hop in hops for k in range(6)]
    assert memory.refrozen == 1  # or the constants would differ
    np.testing.assert_allclose(some, every[chosen], atol=1e-5)


def test_a_change_of_controls_reaches_the_frame_before_the_new_ones():
    model, audio = small_model("paper"), speechlike(48_000)
    memory, plain = model.stream_memory(30), model.stream_memory(30)
    plain.reuse = False
    for k, (window, piece, place) in enumerate(windows(model, audio)):
        controls = {"person": 0 if k < 5 else 3, "level": 0.0 if k < 5 else 1.0}
        made, expected = (model.analyse(piece, memory=m, **controls, **place).coefficients for m in (memory, plain))
        new = max(0, window.first - window.base - 1)
        np.testing.assert_allclose(made[new:], expected[new:], atol=1e-5)


def test_emotion_on_a_slower_clock(monkeypatch):
    model, audio = small_model("paper"), speechlike(80_000)
    runs, forward = [], model.emotion_encoder.forward
    heard, features = [], model.emotion_encoder.features
    monkeypatch.setattr(model.emotion_encoder, "forward", lambda *a: runs.append(1) or forward(*a))
    monkeypatch.setattr(model.emotion_encoder, "features", lambda v, **k: heard.append(v.shape[1]) or features(v, **k))
    exact = hop_by_hop(model, audio, model.stream_memory(30))
    hops, number = len(runs), len(exact) // 6
    assert hops == number
    runs.clear()
    heard.clear()
    slow = hop_by_hop(model, audio, model.stream_memory(30, emotion_every=1.0))
    # The first windows are shorter than a second: they wait no longer than they are long.
    assert number / 5 <= len(runs) <= number / 5 + 3
    assert len(heard) == number and set(heard[1:]) == {3520}  # each hop makes its own features
    np.testing.assert_allclose(slow[:6], exact[:6], atol=1e-5)
    apart = np.abs(slow - exact)
    assert 1e-4 < apart.max() < 2 * np.ptp(exact, axis=0).max()
    # Frames that the encoder heard when it ran last have what it heard in them, not a mean.
    states = model.stream_memory(30, emotion_every=1.0)
    found = torch.randn(1, 12, 4)
    states._start = 0
    assert torch.equal(states.emotion_states(0, 12, 6400, lambda: found), found)
    states._start = 3200
    held = states.emotion_states(6, 12, 6400, lambda: pytest.fail("too early"))
    assert torch.equal(held[:, :6], found[:, 6:])
    torch.testing.assert_close(held[:, 6:], found.mean(1, keepdim=True).expand(-1, 6, -1))


def pieces(*levels, seconds=0.1, seed=0):
    noise = np.random.default_rng(seed)
    return [(level * noise.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32) for level in levels]


def test_constants_stay_while_somebody_speaks_and_follow_in_a_pause():
    running = RunningNormalisation()
    assert running.follow(pieces(0.1)[0])
    assert running.deviation == pytest.approx(0.1, rel=0.05)
    assert not any(running.follow(piece) for piece in pieces(*[0.16] * 10))
    assert not running.follow(pieces(0.005)[0])  # the closure of a p
    assert not running.follow(pieces(0.16)[0])
    quiet = [running.follow(piece) for piece in pieces(*[0.005] * 20)]
    assert quiet == [False, True] + [False] * 18  # once, 0.2 s into the pause
    assert running.deviation == pytest.approx(0.139, rel=0.05)  # with the pauses between, as that of a clip
    assert not running.follow(pieces(0.16)[0])  # long silence does not count


def test_a_stream_that_begins_with_silence_is_frozen_anew_when_somebody_speaks():
    running = RunningNormalisation()
    for piece in pieces(*[0.0] * 10):
        running.follow(piece)
    assert running.deviation < 1e-3
    frozen = [running.follow(piece) for piece in pieces(*[0.1] * 60)]
    assert frozen[0] and sum(frozen) == 2  # with half a second of the silence at first
    assert 0.075 < running.deviation < 0.1


def test_a_floor_of_the_deviation_and_an_offset():
    assert RunningNormalisation(0.01).follow(np.zeros(PIECE, np.float32))
    running = RunningNormalisation(0.01)
    running.follow(np.zeros(PIECE, np.float32))
    assert running.deviation == pytest.approx(0.01, rel=1e-3)
    shifted = RunningNormalisation()
    shifted.follow(pieces(0.1)[0] + np.float32(0.3))
    assert shifted.mean == pytest.approx(0.3, abs=0.01) and shifted.deviation == pytest.approx(0.1, rel=0.05)


def test_constants_anew_mean_features_anew():
    model = small_model("paper")
    audio = np.concatenate([speechlike(24_000), 5 * speechlike(24_000)])
    memory, plain = model.stream_memory(30), model.stream_memory(30)
    plain.reuse = False
    made, expected = (hop_by_hop(model, audio, m) for m in (memory, plain))
    assert memory.refrozen == plain.refrozen > 1
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_what_a_window_of_a_stream_cannot_be():
    model = small_model("paper", content_config={**ENCODER})
    values = torch.from_numpy(speechlike(32_000)).view(2, 16_000)
    with pytest.raises(ValueError, match="one clip"):
        model(values, memory=model.stream_memory(30))
    with pytest.raises(ValueError, match="emotion_every"):
        WindowSchedule.build(StreamSettings(0.2, emotion_every=-1.0), model.config)
