"""Person, level and emotion as inputs; the emotion control and its arithmetic."""

import numpy as np
import pytest
import torch
from small_models import small_model, speechlike

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model import EmotionControl, frame_count

AUDIO = speechlike(16_000)


@pytest.fixture(scope="module")
def model():
    """A streaming model with prototypes for every home label."""
    network = small_model("streaming_mel", emotion_labels=EMOTIONS)
    generator = torch.Generator().manual_seed(5)
    network.set_prototypes(torch.randn(network.emotion_prototypes.shape, generator=generator))
    return network


def embedding(model, control):
    """(T, E) that drove the decoder."""
    with torch.no_grad():
        return model(torch.from_numpy(AUDIO)[None], **control.model_inputs(model)).emotion[0]


def test_person_index_equals_its_one_hot_and_mixtures_differ(model):
    single = model.predict(AUDIO, person=3)
    weights = np.zeros(24)
    weights[3] = 1
    assert np.abs(model.predict(AUDIO, person=weights) - single).max() < 1e-6
    weights[3], weights[4] = 0.5, 0.5
    mixed = model.predict(AUDIO, person=weights)
    assert np.abs(mixed - single).max() > 1e-4
    assert np.abs(mixed - model.predict(AUDIO, person=4)).max() > 1e-4


def test_level_interpolates_the_two_embeddings(model):
    rows = model.level_embedding.weight.t() + model.level_embedding.bias
    for level in (0.0, 0.3, 1.0):
        found = model._level(torch.tensor([level]), 1)[0]
        assert (found - torch.lerp(rows[0], rows[1], level)).abs().max() < 1e-6
    assert np.abs(model.predict(AUDIO, level=0.0) - model.predict(AUDIO, level=1.0)).max() > 1e-4


def test_heard_is_the_default(model):
    for control in (EmotionControl(), EmotionControl.heard(), EmotionControl.of("sad", blend=0.0)):
        assert np.array_equal(model.predict(AUDIO, emotion=control), model.predict(AUDIO))


@pytest.mark.parametrize("intensity", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("blend", [0.25, 1.0])
def test_label_control(model, intensity, blend):
    heard = embedding(model, EmotionControl())
    neutral, happy = model.emotion_prototypes[0], model.emotion_prototypes[EMOTIONS.index("happy")]
    expected = heard + blend * (neutral + intensity * (happy - neutral) - heard)
    found = embedding(model, EmotionControl.of("happy", intensity, blend))
    assert (found - expected).abs().max() < 1e-5


def test_label_mixture_with_synonyms(model):
    control = EmotionControl(labels={"fear": 1, "Angry": 3})
    expected = 0.25 * model.emotion_prototypes[5] + 0.75 * model.emotion_prototypes[4]
    assert (embedding(model, control) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("intensity", [0.0, 0.5, 2.0])
def test_intensity_of_the_heard_emotion(model, intensity):
    heard, neutral = embedding(model, EmotionControl()), model.emotion_prototypes[0]
    found = embedding(model, EmotionControl.heard(intensity))
    assert (found - (neutral + intensity * (heard - neutral))).abs().max() < 1e-5


def test_clip_control(model):
    clip = speechlike(24_000, seed=9)
    mean = model.embed_emotion(torch.from_numpy(clip)[None]).mean(1)[0].detach()
    heard = embedding(model, EmotionControl())
    assert (embedding(model, EmotionControl.from_clip(clip)) - mean).abs().max() < 1e-5
    blended = embedding(model, EmotionControl.from_clip(clip, blend=0.5))
    assert (blended - (heard + mean) / 2).abs().max() < 1e-5


def test_a_clips_own_emotion_stretched_onto_itself_is_the_heard_one(model):
    control = EmotionControl.from_clip(AUDIO, stretch=True)
    assert (embedding(model, control) - embedding(model, EmotionControl())).abs().max() < 1e-5
    other = EmotionControl.from_clip(speechlike(30_000, seed=2), stretch=True)
    found = embedding(model, other)
    assert found.shape == (30, model.config.decoder_dim)
    assert found.std(0).max() > 1e-3  # frame by frame, not a mean


def test_without_prototypes_the_error_says_so():
    bare = small_model("streaming_mel")
    with pytest.raises(ValueError, match="no emotion prototypes"):
        bare.predict(AUDIO, emotion=EmotionControl.of("happy"))
    with pytest.raises(ValueError, match="no emotion prototypes"):
        bare.predict(AUDIO, emotion=EmotionControl.heard(0.5))
    assert bare.predict(AUDIO, emotion=EmotionControl.from_clip(AUDIO)).shape == (30, 52)


def test_a_label_the_model_does_not_know_is_named():
    published = small_model("paper")  # the published seven know no calm
    published.set_prototypes(torch.randn_like(published.emotion_prototypes))
    assert published.predict(AUDIO, emotion=EmotionControl.of("surprised")).shape == (30, 52)
    with pytest.raises(ValueError, match=r"calm.*angry, disgust, fear"):
        published.predict(AUDIO, emotion=EmotionControl.of("calm"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"intensity": 2.1}, "intensity"),
        ({"intensity": float("nan")}, "intensity"),
        ({"blend": -0.1}, "blend"),
        ({"labels": {"bored": 1.0}}, "bored"),
        ({"labels": {"sad": -1.0}}, "sad"),
        ({"labels": {"sad": 0.0}}, "sum to 0"),
        ({"labels": {"sad": 1.0}, "clip": AUDIO}, "not from both"),
        ({"stretch": True}, "clip"),
        ({"clip": AUDIO, "stretch": True, "blend": 0.5}, "blend 1"),
    ],
)
def test_wrong_controls_say_why(fields, reason):
    with pytest.raises(ValueError, match=reason):
        EmotionControl(**fields)


def test_prototypes_are_checked_and_saved(model, tmp_path):
    from emotalk_ros.model import load_model

    with pytest.raises(ValueError, match="shape"):
        model.set_prototypes(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="NaN"):
        model.set_prototypes(torch.full_like(model.emotion_prototypes, float("nan")))
    model.save_pretrained(tmp_path)
    control = EmotionControl.of("disgust", 1.5, 0.7)
    assert np.array_equal(load_model(tmp_path).predict(AUDIO, emotion=control), model.predict(AUDIO, emotion=control))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"audio": AUDIO, "sample_rate": 44_100}, "16000 Hz, got 44100"),
        ({"audio": np.zeros(0, np.float32)}, "at least 1 samples"),
        ({"audio": np.zeros((2, 800), np.float32)}, "mono"),
        ({"audio": np.zeros(800, np.int16)}, "int16"),
        ({"audio": np.full(800, np.nan, np.float32)}, "NaN"),
        ({"audio": AUDIO, "person": 24}, r"0\.\.23, got 24"),
        ({"audio": AUDIO, "person": -1}, r"0\.\.23, got -1"),
        ({"audio": AUDIO, "person": [0.5, 0.5]}, "24 weights"),
        ({"audio": AUDIO, "person": np.full(24, 1.0)}, "sum to 1"),
        ({"audio": AUDIO, "level": 1.5}, r"0\.\.1, got 1.5"),
    ],
)
def test_wrong_inputs_say_what_was_expected(model, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        model.predict(**arguments)


def test_too_short_for_the_paper():
    published = small_model("paper")
    assert published.config.min_samples == 720
    assert published.predict(speechlike(720)).shape == (2, 52)
    with pytest.raises(ValueError, match="at least 720 samples at 16000 Hz, got 719"):
        published.predict(speechlike(719))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"input_values": torch.zeros(8000)}, "batch, samples"),
        ({"input_values": torch.zeros(1, 8000, dtype=torch.long)}, "float tensor"),
        ({"input_values": torch.zeros(2, 8000), "lengths": torch.tensor([8000])}, "lengths of shape"),
        ({"input_values": torch.zeros(2, 8000), "lengths": torch.tensor([8000, 9000])}, "lengths"),
        ({"input_values": torch.zeros(2, 8000), "person": torch.zeros(2, 3)}, "person"),
        ({"input_values": torch.zeros(2, 8000), "person": torch.tensor([0, 24])}, "person"),
        ({"input_values": torch.zeros(2, 8000), "level": torch.zeros(1)}, "level of shape"),
        ({"input_values": torch.zeros(2, 8000), "emotion_values": torch.zeros(1, 8000)}, "2 clips"),
        ({"input_values": torch.zeros(2, 8000), "emotion_embedding": torch.zeros(2, 7, 40)}, "emotion_embedding"),
        ({"input_values": torch.zeros(2, 8000), "emotion_blend": torch.ones(2)}, "emotion_embedding"),
    ],
)
def test_wrong_tensors_say_what_was_expected(model, inputs, reason):
    with pytest.raises(ValueError, match=reason):
        model(**inputs)


def test_frame_count_is_exact():
    assert [frame_count(n) for n in (1, 533, 534, 1600, 16_000, 132_800)] == [1, 1, 2, 3, 30, 249]
