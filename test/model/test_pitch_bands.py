"""Bands of periodicity in the emotion encoder's front end: they follow the voice's pitch and nothing else."""

import numpy as np
import pytest
import torch
from small_models import small_config, small_model, speechlike

from emotalk_ros.model import EmoTalk, EmoTalkConfig
from emotalk_ros.model.mel import LogMel, MelFrontEnd

PITCHES = 72


def front(**changes):
    sizes = {"bands": 80, "window": 640, "fft": 1024, "floor": 1e-6, "mean": -8.0, "std": 4.0, "rate": 60}
    return LogMel(**{**sizes, "pitch": PITCHES, **changes})


def pitchgram(audio, **changes):
    return front(**changes)(torch.as_tensor(audio, dtype=torch.float32)[None], 30, 5)[0, :, 80:]


def voice(pitch, tilt=1.0):
    """One second of 12 harmonics whose amplitudes fall with `tilt`."""
    time = np.arange(16_000) / 16_000
    return 0.05 * sum(np.sin(2 * np.pi * pitch * k * time + k) / k**tilt for k in range(1, 13))


@pytest.mark.parametrize("pitch", [90.0, 130.0, 210.0, 320.0])
@pytest.mark.parametrize("tilt", [0.3, 1.5])
def test_the_strongest_band_is_the_pitch_whatever_the_timbre(pitch, tilt):
    bands = pitchgram(voice(pitch, tilt))
    found = 65.0 * 2 ** (3 * bands.argmax(-1).numpy() / (PITCHES - 1))
    # Within a semitone, or exactly an octave below (a period counts double as well).
    octaves = np.log2(found / pitch)
    assert np.all(np.minimum(np.abs(octaves), np.abs(octaves + 1)) < 1 / 12)
    assert bands.max() > 1.0


def test_noise_and_silence_have_no_pitch():
    generator = torch.Generator().manual_seed(0)
    assert pitchgram(0.01 * torch.randn(16_000, generator=generator)).abs().max() < 0.9
    assert pitchgram(np.zeros(16_000)).abs().max() < 0.3


def test_loudness_hardly_changes_them():
    quiet, loud = pitchgram(0.2 * voice(150.0)), pitchgram(voice(150.0))
    assert torch.equal(quiet.argmax(-1), loud.argmax(-1))
    assert (quiet - loud).abs().mean() < 0.05 * loud.max()


def test_channels_reach_the_convolutions_and_a_checkpoint(tmp_path):
    model = small_model("streaming_mel", emotion_pitch_bands=PITCHES, emotion_mel_window=640, emotion_mel_bands=12)
    extractor = model.emotion_encoder.feature_extractor
    assert isinstance(extractor, MelFrontEnd)
    assert extractor.convolutions[0].in_channels == 12 + PITCHES
    assert model.content_encoder.feature_extractor.convolutions[0].in_channels == model.config.mel_bands
    model.save_pretrained(tmp_path)
    again = EmoTalk.from_pretrained(tmp_path).eval()
    audio = speechlike(8_000)
    assert np.array_equal(again.predict(audio), model.predict(audio))


def test_longer_windows_count_in_the_look_ahead():
    config = small_config("streaming_mel", emotion_mel_window=640)
    assert isinstance(config, EmoTalkConfig)
    model = small_model("streaming_mel", emotion_mel_window=640, lookahead_frames=2)
    assert model.config.lookahead_samples == 2 * 16_000 // 30 + 1 + 321
    audio = speechlike(16_000)
    before = model.predict(audio)
    cut = 10 * 16_000 // 30 + model.config.lookahead_samples
    changed = audio.copy()
    changed[cut:] += 0.5
    assert np.abs(model.predict(changed)[:11] - before[:11]).max() == 0
