"""The streaming network: one pass for clips and streams, an exact look-ahead, speech that hears no emotion."""

import numpy as np
import pytest
import torch

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import ARKIT_NAMES, INDEX
from emotalk_ros.model import EmotionControl, load_model
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import EXPRESSIVE, NetworkState, StreamingEmoTalk

SMALL = {
    "trunk_width": 32,
    "trunk_heads": 4,
    "trunk_ff": 48,
    "trunk_segment": 20,
    "content_dim": 32,
    "level_dim": 8,
    "person_dim": 8,
    "emotion_dim": 16,
    "emotion_channels": 12,
    "decoder_ff": 40,
    "decoder_reach": 20,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = StreamingEmoTalk(StreamingEmoTalkConfig(**SMALL)).eval()
    for name, parameter in network.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(0, 0.2 if parameter.dim() > 1 else 0.05)
    network.set_prototypes(torch.randn(len(EMOTIONS), SMALL["emotion_dim"]))
    return network


@pytest.fixture(scope="module")
def sound():
    return (0.1 * np.random.default_rng(3).standard_normal(40000)).astype(np.float32)


@pytest.mark.parametrize("piece", [1600, 333, 40000, 3201])
def test_a_stream_equals_the_whole_clip(model, sound, piece):
    whole = model.predict(sound)
    assert whole.shape == (75, 52) and whole.std() > 0.05
    state, parts = NetworkState(), []
    silence = np.zeros(model.config.lookahead_samples, np.float32)
    with torch.inference_mode():
        for start in range(0, len(sound), piece):
            values = torch.as_tensor(sound[start : start + piece])[None]
            parts.append(model(values, state=state).coefficients[0])
        parts.append(model(torch.as_tensor(silence)[None], state=state).coefficients[0])
    streamed = torch.cat(parts)[: len(whole)].numpy()
    assert np.abs(streamed - whole).max() < 1e-5


def test_a_state_can_be_reset(model, sound):
    state = NetworkState()
    with torch.inference_mode():
        model(torch.randn(1, 8000), state=state)
        state.reset()
        again = model(torch.as_tensor(sound)[None], state=state).coefficients[0].numpy()
    assert np.abs(again - model.predict(sound)[: len(again)]).max() < 1e-5


@pytest.mark.parametrize("frame", [0, 1, 2, 31, 50])
def test_hears_up_to_its_lookahead_and_nothing_after(model, sound, frame):
    bound = frame * 16000 // 30 + model.config.lookahead_samples
    assert model.config.lookahead_samples <= 3200
    before = model.predict(sound)[: frame + 1]
    later, within = sound.copy(), sound.copy()
    later[bound:] = 0.5
    assert np.array_equal(model.predict(later)[: frame + 1], before)
    within[bound - 900 : bound] = 0.5
    assert not np.array_equal(model.predict(within)[frame], before[frame])


@pytest.mark.parametrize(("seconds", "rights"), [(0.06, [0, 0, 0]), (0.1, [1, 1, 0]), (0.19, [3, 2, 2])])
def test_the_lookahead_can_be_limited(model, sound, seconds, rights):
    limited = StreamingEmoTalk(StreamingEmoTalkConfig(**SMALL)).eval()
    limited.load_state_dict(model.state_dict())
    limited.limit_lookahead(seconds)
    assert limited.config.trunk_rights == rights and limited.config.lookahead_samples <= seconds * 16000
    bound = 31 * 16000 // 30 + limited.config.lookahead_samples
    later = sound.copy()
    later[bound:] = 0.5
    before = limited.predict(sound)
    assert np.array_equal(limited.predict(later)[:32], before[:32])
    same = np.abs(before - model.predict(sound)).max() < 1e-6
    assert same == (rights == [3, 2, 2])


def test_the_convolutions_lookahead_cannot_be_masked(model):
    with pytest.raises(ValueError, match=r"needs at least 0\.0\d+ s"):
        StreamingEmoTalk(StreamingEmoTalkConfig(**SMALL)).limit_lookahead(0.03)


def test_a_batch_is_each_clip_alone(model, sound):
    batch = torch.zeros(2, 40000)
    batch[0], batch[1, :17000] = torch.as_tensor(sound), torch.as_tensor(sound[:17000])
    batch[1, 17000:] = 0.3  # behind the clip's end: must not be heard
    with torch.inference_mode():
        made = model(batch, lengths=torch.tensor([40000, 17000]))
        alone = model(torch.as_tensor(sound[:17000])[None])
    assert made.frame_lengths.tolist() == [75, 32]
    assert torch.allclose(made.coefficients[1, :32], alone.coefficients[0], atol=1e-5)
    assert torch.allclose(made.emotion_logits[1], alone.emotion_logits[0], atol=1e-5)
    assert not made.coefficients[1, 32:].any()


def test_training_and_evaluation_are_the_same(model, sound):
    plain = StreamingEmoTalk(StreamingEmoTalkConfig(**SMALL, decoder_dropout=0.0))
    plain.load_state_dict(model.state_dict())
    values = torch.as_tensor(sound)[None]
    assert torch.allclose(plain.train()(values).coefficients, model(values).coefficients, atol=1e-5)


def test_speech_hears_no_emotion_and_intensity_is_linear(model, sound):
    still = [k for k in range(52) if k not in EXPRESSIVE]
    assert {ARKIT_NAMES[k] for k in still} >= {"jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "eyeBlinkLeft"}
    none, one, two = (model.predict(sound, emotion=EmotionControl.of("happy", intensity=i)) for i in (0.0, 1.0, 2.0))
    angry = model.predict(sound, emotion=EmotionControl.of("angry"))
    assert np.allclose(two - none, 2 * (one - none), atol=1e-5)
    assert np.array_equal(one[:, still], angry[:, still])
    assert np.abs(one - angry).max() > 0.01
    heard = model.analyse(sound)
    assert np.allclose(heard.coefficients, heard.speech + heard.expression, atol=1e-6)


def test_decided_closures_shut_the_lips(model):
    made = torch.rand(1, 4, 52)
    closed = model._close(made, torch.tensor([[9.0, -9.0, 9.0, -9.0]]))[0]
    assert torch.equal(closed[1], made[0, 1])
    jaw, close = INDEX["jawOpen"], INDEX["mouthClose"]
    assert torch.allclose(closed[0, close], made[0, 0, jaw] + model.config.seal)
    assert closed[0, INDEX["mouthUpperUpLeft"]] == 0 and closed[0, INDEX["mouthFunnel"]] == 0


def test_windows_of_a_stream_go_on_where_the_last_one_ended(model, sound):
    from emotalk_ros.streaming import Controls, Engine, StreamSettings

    def frames(cuts, controls=None):
        engine = Engine(model, StreamSettings(hop=0.1, context=1.0))
        made = []
        for k, piece in enumerate(np.split(sound, cuts)):
            if controls and k == 1:
                engine.controls = controls
            made += engine.feed(piece)
        return np.stack([frame.coefficients + frame.expression for frame in made + engine.flush()])

    whole = model.predict(sound)
    assert np.abs(frames([7777]) - whole).max() < 1e-5
    assert np.abs(frames(range(320, 40000, 320)) - whole).max() < 1e-5
    # Another emotion is faded in: no step larger than the change shared out over the fade, and its own at the end.
    chosen = Controls(emotion=EmotionControl.of("happy"))
    changed, happy = frames([20000], chosen), model.predict(sound, emotion=chosen.emotion)
    assert np.abs(changed[:30] - whole[:30]).max() < 1e-5
    assert np.abs(changed[-5:, EXPRESSIVE] - happy[-5:, EXPRESSIVE]).max() < 0.05


def test_saved_and_loaded(model, sound, tmp_path):
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, StreamingEmoTalk) and bool(again.prototypes_set)
    assert np.array_equal(again.predict(sound), model.predict(sound))


@pytest.mark.parametrize(
    "wrong", [{"trunk_rights": []}, {"trunk_width": 33}, {"emotion_labels": ["sad", "sad"]}, {"decoder_reach": 0}]
)
def test_refuses_what_cannot_work(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        StreamingEmoTalkConfig(**{**SMALL, **wrong})


def test_cross_drive_stretches_another_clips_emotion(model, sound):
    crossed = model.predict(sound, emotion=EmotionControl.from_clip(sound[:20000] * 2, stretch=True))
    own = model.predict(sound)
    still = [k for k in range(52) if k not in EXPRESSIVE]
    assert np.array_equal(crossed[:, still], own[:, still])
    assert np.abs(crossed - own).max() > 1e-4
