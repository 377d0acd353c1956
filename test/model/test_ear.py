"""An ear hears relative to the speaker, causally, however the stream is cut."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.ear import Ear, EarConfig, EarError, SpeakerPicture, load_ear, state_levels

WIDTH = 6


def make_ear(**settings: float) -> Ear:
    """An ear with random matrices."""
    ear = Ear(EarConfig("test", "CC0 1.0", layers=(0, 2), width=WIDTH, **settings))  # type: ignore[arg-type]
    torch.manual_seed(0)
    for name, value in ear.state_dict().items():
        if name != "spread":
            value.copy_(torch.randn(value.shape))
    return ear


def stream(states: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random states (T, 3, 6) and levels of speech with a pause in the middle."""
    generator = torch.Generator().manual_seed(seed)
    levels = -20.0 + 5.0 * torch.rand(states, generator=generator)
    levels[states // 2 : states // 2 + 20] = -75.0
    return torch.randn(states, 3, WIDTH, generator=generator), levels


def test_the_cutting_of_a_stream_changes_nothing() -> None:
    ear = make_ear()
    states, levels = stream(160)
    whole = ear.hear(states, levels, ear.begin())
    state = ear.begin()
    parts = [ear.hear(states[a:b], levels[a:b], state) for a, b in ((0, 1), (1, 7), (7, 7), (7, 90), (90, 160))]
    for name in ("probabilities", "arousal", "valence", "trust", "speech"):
        cut = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(cut, getattr(whole, name), rtol=0, atol=1e-5)
    assert whole.probabilities.shape == (160, len(EMOTIONS))
    torch.testing.assert_close(whole.probabilities.sum(1), torch.ones(160))


def test_later_speech_changes_no_earlier_reading() -> None:
    ear = make_ear()
    states, levels = stream(120)
    before = ear.hear(states, levels, ear.begin())
    states[80:] += 5.0
    levels[80:] += 12.0
    after = ear.hear(states, levels, ear.begin())
    assert torch.equal(before.probabilities[:80], after.probabilities[:80])
    assert not torch.allclose(before.probabilities[80:], after.probabilities[80:])


def test_silence_teaches_nothing_about_the_speaker() -> None:
    ear = make_ear()
    states, _ = stream(100)
    state = ear.begin()
    reading = ear.hear(states, torch.full((100,), -80.0), state)
    assert state.picture.seconds == 0.0 and float(reading.trust.max()) == 0.0 and float(reading.speech.max()) == 0.0


def test_trust_grows_with_speech_and_ends_with_a_reset() -> None:
    ear = make_ear(trust=2.0)
    states, levels = stream(400)
    levels[:] = -20.0
    state = ear.begin()
    trust = ear.hear(states, levels, state).trust
    assert bool((trust.diff() > 0).all())
    assert float(trust[99]) == pytest.approx(0.5, abs=0.01)  # 2 s of speech
    state.reset()
    assert float(ear.hear(states[:1], levels[:1], state).trust[0]) < 0.02


def test_a_known_speakers_constant_offset_is_not_heard() -> None:
    ear = make_ear()
    states, levels = stream(100)
    picture = SpeakerPicture(torch.zeros(2 * WIDTH), 1e9)
    moved = SpeakerPicture(torch.full((2 * WIDTH,), 3.0), 1e9)
    here = ear.read_clip(states, levels, picture)
    there = ear.read_clip(states + 3.0, levels, moved)
    torch.testing.assert_close(here.probabilities, there.probabilities)
    alone = ear.read_clip(states + 3.0, levels)
    assert not torch.allclose(alone.probabilities, here.probabilities) and float(alone.trust) == 0.0


def test_the_picture_of_several_clips_goes_by_their_speech() -> None:
    ear = make_ear()
    first, second = stream(50), stream(150, seed=2)
    picture = ear.picture([first, second])
    (a, seconds_a), (b, seconds_b) = ear.clip_mean(*first), ear.clip_mean(*second)
    torch.testing.assert_close(picture.mean, (a * seconds_a + b * seconds_b) / (seconds_a + seconds_b))
    assert picture.seconds == pytest.approx(seconds_a + seconds_b)


def test_little_speech_is_little_evidence() -> None:
    ear = make_ear()
    states, levels = stream(200)
    states[:] = states[:1]
    levels[:] = -20.0
    surest = ear.hear(states, levels, ear.begin(SpeakerPicture(torch.zeros(2 * WIDTH), 1e9))).probabilities.amax(1)
    assert float(surest[0]) < 1.2 / len(EMOTIONS) < float(surest[-1])
    assert bool((surest.diff() >= 0).all())
    silent = ear.hear(states, torch.full((200,), -90.0), ear.begin()).probabilities
    torch.testing.assert_close(silent, torch.full_like(silent, 1.0 / len(EMOTIONS)))


def test_levels_of_states() -> None:
    samples = torch.zeros(16000)
    samples[8000:] = 0.1
    levels = state_levels(samples, 50)
    assert levels.shape == (50,)
    assert float(levels[10]) == pytest.approx(-100.0) and float(levels[40]) == pytest.approx(-20.0, abs=0.01)
    assert float(levels[25]) == pytest.approx(-23.0, abs=0.1)  # centred on the onset: half of the power


def test_an_ear_is_saved_and_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ear = make_ear()
    ear.save(tmp_path)
    with caplog.at_level(logging.INFO):
        loaded = load_ear(tmp_path)
    assert "licence: CC0 1.0" in caplog.text
    assert loaded.config == ear.config
    states, levels = stream(40)
    assert torch.equal(loaded.read_clip(states, levels).probabilities, ear.read_clip(states, levels).probabilities)


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(EarError, match="emotalk train ear"):
        load_ear(tmp_path)
    make_ear().save(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(EarError, match="format 1"):
        load_ear(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**settings, "width": 7}))
    with pytest.raises(EarError, match="cannot be loaded"):
        load_ear(tmp_path)


def test_wrong_states_are_refused() -> None:
    ear = make_ear()
    with pytest.raises(ValueError, match=r"layers \[0, 2\] of width 6"):
        ear.features(torch.zeros(10, 2, WIDTH))
    with pytest.raises(ValueError, match="10 states and 9 levels"):
        ear.hear(torch.zeros(10, 3, WIDTH), torch.zeros(9), ear.begin())
    with pytest.raises(EarError, match="home labels"):
        EarConfig("x", "y", (1,), 4, labels=("joy",))


def two_people(seconds: int = 20) -> tuple[Tensor, Tensor]:
    """States of somebody, then of another whose third feature is 4 higher; levels of steady speech."""
    generator = torch.Generator().manual_seed(4)
    states = 0.5 * torch.randn(2 * seconds * 50, 3, WIDTH, generator=generator)
    states[seconds * 50 :, :, 2] += 4.0
    return states, torch.full((len(states),), -20.0)


def watchful_ear() -> Ear:
    ear = make_ear()
    ear.config = replace(ear.config, voices=2, change=4.0)
    ear.voices = torch.eye(2 * WIDTH)[[2, WIDTH + 2]]
    return ear


def test_another_speaker_is_noticed() -> None:
    ear = watchful_ear()
    states, levels = two_people()
    state, careless = ear.begin(), ear.begin(watch=False)
    for part in range(0, len(states), 5):
        ear.hear(states[part : part + 5], levels[part : part + 5], state)
        ear.hear(states[part : part + 5], levels[part : part + 5], careless)
        if part == 995:
            assert state.watch is not None and state.watch.changes == 0
    assert state.watch is not None and state.watch.changes == 1
    assert float(state.picture.mean[2]) > 3.8 and state.picture.seconds < 20.5  # all of him, and nothing of the other
    assert float(careless.picture.mean[2]) < 2.5 and careless.watch is None


def test_noticing_does_not_depend_on_the_cutting() -> None:
    ear = watchful_ear()
    states, levels = two_people()
    whole = ear.hear(states, levels, ear.begin())
    for step in (7, 64, 999):
        state = ear.begin()
        parts = [ear.hear(states[k : k + step], levels[k : k + step], state) for k in range(0, len(states), step)]
        torch.testing.assert_close(
            torch.cat([part.probabilities for part in parts]), whole.probabilities, rtol=0, atol=1e-4
        )
        assert state.watch is not None and state.watch.changes == 1


def test_whoever_tells_of_another_speaker_is_not_told_again() -> None:
    ear = watchful_ear()
    states, levels = two_people()
    state = ear.begin()
    ear.hear(states[:1000], levels[:1000], state)
    state.reset()
    ear.hear(states[1000:], levels[1000:], state)
    assert state.watch is not None and state.watch.changes == 0


def test_an_ear_of_before_watches_nobody(tmp_path: Path) -> None:
    make_ear().save(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings.pop("voices"), settings.pop("change")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = load_file(tmp_path / "ear.safetensors")
    weights.pop("voices")
    (tmp_path / "ear.safetensors").write_bytes(save(weights))
    loaded = load_ear(tmp_path)
    assert loaded.begin().watch is None
    watchful_ear().save(tmp_path)
    assert load_ear(tmp_path).begin().watch is not None
