"""An ear learns emotions and not voices, and says how sure it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import emotalk_ros.model
from emotalk_ros.cli import app
from emotalk_ros.corpus.readers.emotional import Voice
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.ear import Ear, EarConfig, load_ear
from emotalk_ros.training.ear import (
    Clips,
    EarRecipe,
    EarTrainingError,
    HeardClip,
    calibration_error,
    check,
    hold_out_speakers,
    predict,
    train_ear,
    with_figures,
)
from emotalk_ros.training.ear_encoder import trunk_digest
from emotalk_ros.training.ear_voices import measure_noticing, teach_voices

WIDTH = 12
CONFIG = EarConfig("test", "Apache-2.0", layers=(0,), width=WIDTH)
RECIPE = EarRecipe(layers=(0,), ridge=0.01, passes=2, folds=2)


def made_up(
    collection: str, speakers: int, noise: float = 0.5, bursts: bool = False, offset: float = 0.0
) -> list[HeardClip]:
    """Four clips of each emotion by each speaker: the same directions for everybody, on very different voices."""
    directions = np.random.default_rng(1).normal(size=(len(EMOTIONS), WIDTH))
    rng = np.random.default_rng([len(collection), speakers])
    clips = []
    for speaker in range(speakers):
        voice = 3.0 * rng.normal(size=WIDTH) + offset
        for k, emotion in enumerate(EMOTIONS):
            for number in range(4):
                pieces = voice + directions[k] + noise * rng.normal(size=(3, WIDTH))
                name = Voice(Path(f"{speaker}-{emotion}-{number}"), str(speaker), emotion, collection, bursts)
                clips.append(HeardClip(name, pieces.astype(np.float32), np.full(3, 0.5, np.float32)))
    return clips


def test_emotion_is_heard_in_voices_never_heard() -> None:
    trained = train_ear(Clips(made_up("one", 6)), RECIPE, CONFIG)
    assert trained.known.recall > 0.95
    assert trained.known.arousal_recall > 0.8 and trained.known.valence_recall > 0.8
    assert 0.2 < trained.single.recall < trained.known.recall  # voices differ three times as much as emotions
    assert trained.known.calibration_error < 0.1 and trained.single.calibration_error < 0.15
    assert trained.known.confusion.sum() == 6 * 8 * 4
    assert float(trained.single.probabilities.max(1).mean()) < float(trained.known.probabilities.max(1).mean())


def test_without_emotion_in_the_voice_nothing_is_claimed() -> None:
    clips = made_up("one", 6, noise=1.0)
    rng = np.random.default_rng(0)
    shuffled = [replace(clip, voice=replace(clip.voice, emotion=EMOTIONS[int(rng.integers(8))])) for clip in clips]
    trained = train_ear(Clips(shuffled), RECIPE, CONFIG)
    assert trained.known.recall < 0.3
    assert float(trained.known.probabilities.max(1).mean()) < 0.35


def test_a_collection_is_judged_by_an_ear_that_never_heard_it() -> None:
    clips = Clips(made_up("one", 5) + made_up("another", 4, offset=2.0) + made_up("cries", 3, bursts=True))
    trained = train_ear(clips, RECIPE, CONFIG)
    assert sorted(trained.by_collection) == sorted(trained.strange) == ["another", "one"]  # bursts only teach
    assert trained.strange["another"][1].recall > 0.9


def test_doubt_spreads_probabilities_and_changes_no_answer() -> None:
    clips = Clips(made_up("one", 3, noise=2.0))
    sure, doubtful = (train_ear(clips, replace(RECIPE, doubt=doubt), CONFIG).known for doubt in (1.0, 3.0))
    assert float(doubtful.probabilities.max(1).mean()) < float(sure.probabilities.max(1).mean()) - 0.05
    assert np.array_equal(doubtful.probabilities.argmax(1), sure.probabilities.argmax(1))


def test_speakers_kept_out_are_measured_at_the_end() -> None:
    rest, apart = hold_out_speakers(Clips(made_up("one", 6)), ["one/2"])
    assert apart is not None and set(apart.speaker_names) == {"one/2"} and "one/2" not in rest.speaker_names
    assert predict(train_ear(rest, RECIPE, CONFIG).ear, apart, known=True).recall > 0.9
    with pytest.raises(EarTrainingError, match="no speaker one/9"):
        hold_out_speakers(rest, ["one/9"])


def test_too_little_is_told() -> None:
    clips = made_up("one", 2)
    with pytest.raises(EarTrainingError, match="two speakers"):
        check(Clips([clip for clip in clips if clip.voice.speaker == "0"]))
    with pytest.raises(EarTrainingError, match="two emotions"):
        check(Clips([clip for clip in clips if clip.voice.emotion == "sad"]))


def test_calibration_error() -> None:
    sure = np.array([[0.8, 0.2]] * 10, np.float32)
    assert calibration_error(sure, np.array([0] * 8 + [1] * 2)) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(sure, np.array([0] * 3 + [1] * 7)) == pytest.approx(0.5, abs=1e-6)


def test_figures_are_plain_json() -> None:
    config = with_figures(train_ear(Clips(made_up("one", 3)), RECIPE, CONFIG), CONFIG)
    assert json.loads(json.dumps(config.figures))["other speakers"]["one"]["speaker known"]["clips"] == 96


class BandTrunk(nn.Module):
    """Log energies of twelve bands, 50 times a second, as three layers of states."""

    width = WIDTH

    def forward(self, samples: Tensor, count: int | None = None) -> Tensor:
        """(1, N) to (1, N / 320, 3, 12)."""
        windows = samples[:, : samples.shape[1] // 320 * 320].reshape(1, -1, 320)
        power = torch.fft.rfft(windows).abs().square()[..., 1:145].unflatten(-1, (WIDTH, 12)).sum(-1)
        return torch.log10(power + 1e-6)[:, :, None].expand(-1, -1, 3, -1)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A network whose trunk hears bands, in place of the one that ships."""
    made = SimpleNamespace(trunk=BandTrunk())
    monkeypatch.setattr(emotalk_ros.model, "load_model", lambda path: made)
    return made


def record(folder: Path, speakers: int) -> None:
    """RAVDESS by name: each emotion a band of noise, each speaker a tilt."""
    folder.mkdir()
    time = np.arange(16000) / 16000
    for speaker in range(1, speakers + 1):
        rng = np.random.default_rng(speaker)
        for emotion in range(1, 9):
            for take in (1, 2):
                tone = np.sin(2 * np.pi * (700 * emotion + 20 * take) * time) + 0.1 * rng.normal(size=len(time))
                samples = 0.1 * tone + 0.02 * speaker * np.sin(2 * np.pi * 300 * time)
                name = f"03-01-{emotion:02d}-01-01-{take:02d}-{speaker:02d}.wav"
                soundfile.write(folder / name, samples, 16000)


def test_the_command_makes_an_ear(network: Any, tmp_path: Path) -> None:
    record(tmp_path / "data", 4)
    (tmp_path / "data" / "03-01-01-01-02-01-01.wav").write_bytes(b"no sound")
    command = [
        "train",
        "ear",
        "--data",
        str(tmp_path / "data"),
        "-o",
        str(tmp_path / "mine"),
        "--licence",
        "CC BY-NC-SA 4.0",
    ]
    done = CliRunner().invoke(app, [*command, "--hold-out", "ravdess/04", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "left out" in done.stderr and "licence" not in done.stderr
    assert "| ravdess, other speakers | 48 | speaker known | 1.00 |" in done.stdout
    assert "speakers kept out to the end | 16" in done.stdout
    ear = load_ear(tmp_path / "mine")
    assert ear.config.licence == "CC BY-NC-SA 4.0" and ear.config.sources[0]["speakers"] == 3
    card, licence = ((tmp_path / "mine" / name).read_text() for name in ("README.md", "LICENSE"))
    assert "Livingstone" in card and "calibration error" in card
    assert "creativecommons.org/licenses/by-nc-sa/4.0" in licence
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1 and "exists" in again.stderr


def test_what_was_heard_is_kept(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "data", 3)
    (tmp_path / "data" / "03-01-02-01-02-02-03.wav").write_bytes(b"no sound")
    common = ["train", "ear", "--data", str(tmp_path / "data"), "--licence", "CC BY-NC-SA 4.0", "--threads", "1"]
    common += ["--cache", str(tmp_path / "heard")]
    heard, forward = [0], BandTrunk.forward

    def interrupted(self: BandTrunk, samples: Tensor, count: int | None = None) -> Tensor:
        heard[0] += 1
        if heard[0] == 20:
            raise KeyboardInterrupt
        return forward(self, samples, count)

    monkeypatch.setattr(BandTrunk, "forward", interrupted)
    stopped = CliRunner().invoke(app, [*common, "-o", str(tmp_path / "one")])
    assert stopped.exit_code == 130 and "goes on" in stopped.stderr and not (tmp_path / "one").exists()
    done = CliRunner().invoke(app, [*common, "-o", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    assert heard[0] == 48 + 1  # each recording once, and the one that was interrupted again
    next((tmp_path / "heard").glob("*.npz")).write_bytes(b"torn")
    again = CliRunner().invoke(app, [*common, "-o", str(tmp_path / "two")])
    assert again.exit_code == 0 and heard[0] == 50
    assert "left out" in again.stderr  # what cannot be read is told each time
    assert (tmp_path / "one" / "ear.safetensors").read_bytes() == (tmp_path / "two" / "ear.safetensors").read_bytes()


def test_another_trunk_hears_anew() -> None:
    one, same, other = (SimpleNamespace(trunk=nn.Linear(2, 2)) for _ in range(3))
    same.trunk.load_state_dict(one.trunk.state_dict())
    assert trunk_digest(one) == trunk_digest(same) != trunk_digest(other)


def voices_apart(speakers: int, seed: int, bursts: bool = False, clips: int = 24) -> list[HeardClip]:
    """Speakers who differ in the first six features, emotions that move them in the others more than that."""
    rng = np.random.default_rng(seed)
    found = []
    for speaker in range(speakers):
        voice = np.concatenate([rng.normal(size=6), np.zeros(6)])
        for number in range(clips):
            emotion = EMOTIONS[number % len(EMOTIONS)]
            mood = np.concatenate([np.zeros(6), 1.5 * rng.normal(size=6)])
            pieces = voice + mood + 0.3 * rng.normal(size=(6, WIDTH))
            name = Voice(Path(f"{speaker}-{number}"), f"{seed}-{speaker}", emotion, "one", bursts)
            found.append(HeardClip(name, pieces.astype(np.float32), np.full(6, 0.5, np.float32)))
    return found


def test_an_ear_learns_to_notice_another_speaker() -> None:
    ear = Ear(CONFIG)
    noticing = teach_voices(ear, Clips(voices_apart(14, 1)))
    assert ear.voices.shape == (ear.config.voices, WIDTH) and ear.config.voices > 0 and ear.config.change > 0
    assert noticing["one"].within_10s > 0.9 and noticing["one"].false_per_minute < 1.5
    strangers = measure_noticing(ear.voices, ear.config.change, Clips(voices_apart(6, 2)))
    assert strangers is not None and strangers.within_10s > 0.9 and strangers.false_per_minute < 1.5
    assert 0.5 < strangers.seconds < 8.0
    # Moods tell nothing of who speaks: the numbers leave them out.
    assert float(ear.voices[:4, 6:].abs().max()) < 0.2 * float(ear.voices[:4, :6].abs().max())


def test_with_few_speakers_or_only_cries_nobody_is_noticed() -> None:
    for clips in (voices_apart(3, 1), voices_apart(14, 1, bursts=True)):
        ear = Ear(CONFIG)
        assert teach_voices(ear, Clips(clips)) == {}
        assert ear.config.voices == 0 and ear.begin().watch is None


def test_a_licence_that_the_recordings_do_not_allow_is_doubted(network: Any, tmp_path: Path) -> None:
    record(tmp_path / "data", 2)
    command = [
        "train",
        "ear",
        "--data",
        str(tmp_path / "data"),
        "-o",
        str(tmp_path / "mine"),
        "--licence",
        "Apache-2.0",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "RAVDESS comes under CC BY-NC-SA 4.0" in done.stderr
    assert "Apache License" in (tmp_path / "mine" / "LICENSE").read_text()


def test_a_network_without_a_trunk_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record(tmp_path / "data", 2)
    monkeypatch.setattr(emotalk_ros.model, "load_model", lambda path: SimpleNamespace())
    command = ["train", "ear", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "mine"), "--licence", "CC0 1.0"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "trunk" in done.stderr
    assert not (tmp_path / "mine").exists()
