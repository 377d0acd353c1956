"""The emotion encoder's prosody front end: it follows pitch, is blind to gain, and sees no later window."""

import numpy as np
import pytest
import torch
from small_models import small_config, small_model, speechlike

from emotalk_ros.model import EmoTalk, EmoTalkConfig
from emotalk_ros.model.frontend import FrameFrontEnd
from emotalk_ros.model.prosody import Prosody
from emotalk_ros.model.timing import PROSODY_WINDOW

RATE = 60


def voice(pitch, tilt=1.0, seconds=1.0):
    """Harmonics up to 7 kHz whose amplitudes fall with `tilt`; `pitch` in Hz, a number or one a sample."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(np.asarray(pitch, float), time.shape)) / 16_000
    return torch.tensor(0.05 * sum(np.sin(k * phase + k) / k**tilt for k in range(1, 22)), dtype=torch.float32)


def measured(audio, count=40):
    front = Prosody(RATE)
    return front.measure(front.power(audio[None], 10, count))


def channels(audio, first=0, count=55):
    return Prosody(RATE)(audio[None], first, count)[0]


@pytest.mark.parametrize("pitch", [90.0, 130.0, 210.0, 320.0])
@pytest.mark.parametrize("tilt", [0.3, 1.5])
def test_pitch_is_that_of_the_voice_whatever_the_timbre(pitch, tilt):
    units, clear, _, _ = measured(voice(pitch, tilt))
    semitones = 6.0 * units + 18.0  # above 65 Hz
    assert torch.allclose(semitones, torch.full_like(semitones, 12 * np.log2(pitch / 65.0)), atol=0.5)
    assert clear.min() > 0.3


def test_noise_and_silence_are_not_periodic():
    noise = 0.01 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    assert measured(noise)[1].mean() < 0.15
    assert measured(torch.zeros(16_000))[1].max() < 0.1


def test_gain_changes_nothing_above_the_noise_floor():
    room = 3e-4 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    audio = torch.from_numpy(speechlike(16_000)) + 0.3 * voice(150.0) + room
    assert (channels(audio) - channels(0.3 * audio)).abs().max() < 0.1


def test_a_higher_voice_and_a_livelier_one_show_in_the_running_statistics():
    time = np.arange(16_000) / 16_000
    flat, high = channels(voice(120.0))[-1], channels(voice(180.0))[-1]
    lively = channels(voice(120.0 * 2 ** (0.4 * np.sin(2 * np.pi * 1.5 * time))))[-1]
    rising, falling = channels(voice(120.0 * 2 ** (time - 0.5)))[-1], channels(voice(120.0 * 2 ** (0.5 - time)))[-1]
    mean, deviation, slope = 31, 32, 33
    assert high[mean] > flat[mean] + 0.8
    assert abs(high[deviation] - flat[deviation]) < 0.1
    assert lively[deviation] > flat[deviation] + 1.0
    assert rising[slope] > flat[slope] + 2.0
    assert falling[slope] < flat[slope] - 2.0


def test_later_sound_changes_no_window():
    audio = torch.from_numpy(speechlike(16_000))
    changed = audio.clone()
    window = 30
    changed[window * 16_000 // RATE + PROSODY_WINDOW // 2 + 1 :] += 0.3
    assert torch.equal(channels(audio)[: window + 1], channels(changed)[: window + 1])


def test_windows_of_a_stream_are_measured_alike_wherever_it_is_cut():
    audio = torch.from_numpy(speechlike(16_000))
    front = Prosody(RATE)
    whole, rest = front.power(audio[None], 24, 20), front.power(audio[None, 4800:], 6, 20)
    assert torch.allclose(whole, rest, atol=1e-6)


def test_they_reach_the_convolutions_and_a_checkpoint_stays_small(tmp_path):
    model = small_model("streaming_prosody")
    extractor = model.emotion_encoder.feature_extractor
    assert isinstance(extractor, FrameFrontEnd)
    assert extractor.convolutions[0].in_channels == Prosody(RATE).channels == 40
    assert model.content_encoder.feature_extractor.convolutions[0].in_channels == model.config.mel_bands
    assert not any("analysis" in name for name in model.state_dict())
    model.save_pretrained(tmp_path)
    again = EmoTalk.from_pretrained(tmp_path).eval()
    audio = speechlike(8_000)
    assert np.array_equal(again.predict(audio), model.predict(audio))


def test_its_windows_count_in_the_look_ahead():
    model = small_model("streaming_prosody", lookahead_frames=2)
    assert model.config.lookahead_samples == 2 * 16_000 // 30 + 1 + 401
    audio = speechlike(16_000)
    before = model.predict(audio)
    changed = audio.copy()
    changed[10 * 16_000 // 30 + model.config.lookahead_samples :] += 0.5
    assert np.abs(model.predict(changed)[:11] - before[:11]).max() == 0


def test_the_content_encoder_cannot_have_it_and_the_grid_is_needed():
    assert isinstance(small_config("streaming_mel"), EmoTalkConfig)
    with pytest.raises(ValueError, match="frontend must be one of wave, mel"):
        small_config("streaming_mel", frontend="prosody")
    with pytest.raises(ValueError, match='"prosody" front end works on the frame grid'):
        small_config("paper", emotion_frontend="prosody")
