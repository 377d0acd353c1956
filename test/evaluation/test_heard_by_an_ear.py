"""What evaluation says was heard is what the ear hears, as in the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved_model import save_model, toy_corpus

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.evaluation.evaluate import KNOWN, Settings, evaluate, recognised, speakers_known
from emotalk_ros.evaluation.measure import offline
from emotalk_ros.evaluation.metrics.emotion import calibration_error
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import default_face
from emotalk_ros.model.ear import Ear, EarConfig, EarError, state_levels
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk

WIDTH = 32
SETTINGS = Settings(resamples=20)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes = {
        "trunk_width": WIDTH, "trunk_heads": 4, "trunk_ff": 48, "trunk_segment": 20, "content_dim": 32, "level_dim": 8,
        "person_dim": 8, "emotion_dim": 16, "emotion_channels": 12, "decoder_ff": 40, "decoder_reach": 20,
    }  # fmt: skip
    model = StreamingEmoTalk(StreamingEmoTalkConfig(**sizes))
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save_pretrained(folder)
    return folder


def random_ear(seed: int = 0) -> Ear:
    ear = Ear(EarConfig("mine", "CC0 1.0", (1, 2), WIDTH))
    generator = torch.Generator().manual_seed(seed)
    for name, value in ear.state_dict().items():
        if name in ("known", "unknown"):
            value.copy_(torch.randn(value.shape, generator=generator))
    return ear


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ears") / "mine"
    folder.mkdir()
    random_ear().save(folder)
    return folder


def test_the_report_says_what_the_ear_hears(network: Path, ear: Path, tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus", actors=2)
    subject = Subject(network, ear=str(ear))
    found = evaluate([subject], corpus, default_face(), tmp_path / "cache", SETTINGS)
    entries = {entry["mode"]: entry for entry in found.findings["recognition"]}
    assert set(entries) == {"offline", "streamed", KNOWN}
    assert {entry["heard_by"] for entry in entries.values()} == {"mine"}
    assert found.findings["models"]["small"]["ear"] == {
        "name": "mine",
        "licence": "CC0 1.0",
        "digest": random_ear().digest,
    }
    plain = evaluate([Subject(network, ear="")], corpus, default_face(), tmp_path / "cache", SETTINGS)
    assert {entry["mode"] for entry in plain.findings["recognition"]} == {"offline", "streamed"}
    assert {entry["heard_by"] for entry in plain.findings["recognition"]} == {"the network"}
    assert plain.findings["models"]["small"]["ear"] is None
    assert plain.clips[0]["modes"]["small"]["offline"] != found.clips[0]["modes"]["small"]["offline"]


def test_a_clip_is_heard_as_the_ear_reads_it(network: Path, ear: Path) -> None:
    subject = Subject(network, ear=str(ear))
    model = subject.load()
    audio = (0.1 * np.random.default_rng(1).standard_normal(24000)).astype(np.float32)
    states = model.analyse(audio).features
    read = random_ear().read_clip(torch.from_numpy(states), state_levels(torch.from_numpy(audio), len(states)))
    told = offline(subject, model, audio).probabilities
    assert told is not None
    np.testing.assert_allclose(told, read.probabilities[0].numpy(), atol=1e-6)


def test_a_missing_ear_is_an_error(network: Path, tmp_path: Path) -> None:
    subject = Subject(network, ear=str(tmp_path / "nothing"))
    with pytest.raises(EarError, match="nothing"):
        subject.voice(subject.load())


def test_a_network_without_a_trunk_hears_by_itself(tmp_path: Path) -> None:
    subject = Subject(save_model(tmp_path / "one"))
    model = subject.load()
    assert subject.ear_for(model) is None and subject.describe(model)["ear"] is None
    assert subject.emotion_labels(model) == tuple(model.config.emotion_labels)


def record(actor: str, emotion: str, mean: Any, seconds: float) -> dict[str, Any]:
    heard = {"mean": list(mean), "seconds": seconds}
    return {
        "id": f"{actor} {emotion}",
        "actor": actor,
        "emotion": emotion,
        "labels": {"m": list(EMOTIONS)},
        "modes": {"m": {"offline": {"heard": heard, "probabilities": [1.0] + 7 * [0.0]}}},
    }


def test_a_speaker_is_known_from_all_his_other_clips() -> None:
    """Two very different voices with the same emotions: by a picture of the speaker all are heard, without none."""
    ear = Ear(EarConfig("mine", "CC0 1.0", (0,), len(EMOTIONS)))
    ear.known.copy_(torch.eye(len(EMOTIONS)) * 8)
    rng = np.random.default_rng(0)
    records = []
    for actor in ("1", "2"):
        voice = 20 * rng.standard_normal(len(EMOTIONS))
        for k, emotion in enumerate(EMOTIONS):
            records.append(record(actor, emotion, voice + 3 * np.eye(len(EMOTIONS))[k], 3.0))
    lonely = record("3", "happy", 20 * rng.standard_normal(len(EMOTIONS)), 3.0)
    known = speakers_known([*records, lonely], "m", ear)
    assert [r["id"] for r in known] == [r["id"] for r in records]  # nobody else tells how the third one speaks
    entry = recognised(known, "m", KNOWN, SETTINGS)
    assert entry is not None and entry["uar"] == 1.0 and entry["arousal_balanced"] == 1.0
    alone = recognised(records, "m", "offline", SETTINGS)
    assert alone is not None and alone["uar"] == pytest.approx(1 / 8)


def test_calibration_error() -> None:
    assert calibration_error([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0.0)
    assert calibration_error([0.9] * 4 + [0.3] * 4, [True] * 4 + [False] * 4) == pytest.approx(0.2)
    assert np.isnan(calibration_error([], []))


def test_an_ear_is_told_by_its_weights_and_how_it_listens() -> None:
    one, again, other = random_ear(), random_ear(), random_ear(1)
    assert one.digest == again.digest != other.digest
    assert Ear(EarConfig("a", "x", (1, 2), WIDTH)).digest == Ear(EarConfig("b", "y", (1, 2), WIDTH)).digest
    assert Ear(EarConfig("a", "x", (1, 2), WIDTH, window=2.0)).digest != Ear(EarConfig("a", "x", (1, 2), WIDTH)).digest
