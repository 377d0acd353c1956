"""A toy corpus whose faces follow its sounds, and the smallest network that can learn it."""

import numpy as np
import pytest

from emotalk_ros.corpus.store import Clip, CorpusWriter, Source
from emotalk_ros.face.names import INDEX
from emotalk_ros.training.recipe import build

EMOTIONS = ("neutral", "happy", "angry")


def toy_clip(actor, sentence, emotion, seconds=None):
    """Bursts of tone: their loudness opens the jaw, the pitch tells the emotion, which shows in the smile."""
    rng = np.random.default_rng([actor, sentence])
    seconds = seconds or 1.0 + 0.1 * sentence
    frames = int(seconds * 30)
    jaw = 0.5 * (1 + np.sin(np.arange(frames) / 3 + rng.uniform(0, 6))) * (rng.random(frames) < 0.9)
    time = np.arange(int(seconds * 16000)) / 16000
    loud = np.interp(time, np.arange(frames) / 30, jaw)
    pitch = 120 * (1 + 0.5 * EMOTIONS.index(emotion)) * (1 + 0.1 * actor)
    audio = 0.3 * loud * np.sign(np.sin(2 * np.pi * pitch * time)) + 0.001 * rng.standard_normal(len(time))
    face = np.zeros((frames, 52), np.float32)
    face[:, INDEX["jawOpen"]] = 0.4 * jaw
    face[:, INDEX["mouthSmileLeft"]] = 0.5 * (emotion == "happy")
    face[:, INDEX["browDownLeft"]] = 0.5 * (emotion == "angry")
    return Clip(
        id=f"a{actor}_s{sentence}_{emotion}",
        audio=audio.astype(np.float32),
        coefficients=face,
        actor=actor,
        emotion=emotion,
        sentence=f"sentence {sentence}",
        source="toy",
    )


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    with CorpusWriter(folder, [Source("toy", "CC0-1.0", "made by the tests")]) as writer:
        for actor in range(4):
            for sentence in range(3):
                for emotion in EMOTIONS:
                    writer.add(toy_clip(actor, sentence, emotion))
    return folder


ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 16],
    "num_conv_pos_embeddings": 3,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture
def toy_recipe(toy_corpus):
    """A function: keyword `section={...}` changes to a recipe that takes a second."""

    def make(**changes):
        raw = {
            "name": "toy",
            "description": "A toy.",
            "model": {
                "options": {
                    "content_config": ENCODER,
                    "emotion_config": ENCODER,
                    "content_dim": 16,
                    "emotion_condition_dim": 8,
                    "level_dim": 4,
                    "person_dim": 4,
                    "decoder_ff": 32,
                    "mel_bands": 16,
                }
            },
            "data": {"corpora": [str(toy_corpus)], "window": 1.2, "validation_share": 0.25},
            "augment": {"gain_db": 3, "noise_probability": 0.5, "still_probability": 0.3},
            "loss": {"lip_gap": 0.1},
            "optim": {"steps": 6, "batch_size": 4, "warmup": 2, "lr": 0.003, "ema": 0.9},
            "run": {"log_every": 1, "validate_every": 3, "checkpoint_every": 3, "validation_windows": 8},
        }
        for key, value in changes.items():
            raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
        return build(raw)

    return make
