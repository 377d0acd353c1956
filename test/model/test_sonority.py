"""A mouth that follows the band an open mouth lets out: what it hears, and what it leaves alone."""

import numpy as np
import pytest
import torch
from small_models import small_model, speechlike

from emotalk_ros.face.names import INDEX
from emotalk_ros.model import EmoTalkConfig
from emotalk_ros.model.sonority import Sonority

JAW, CLOSE, LIP = INDEX["jawOpen"], INDEX["mouthClose"], INDEX["mouthLowerDownLeft"]
MOVED = ("jawOpen", "mouthClose", "mouthLowerDown", "mouthUpperUp")
OTHERS = [k for name, k in INDEX.items() if not name.startswith(MOVED)]


def tone(hertz, seconds=1.0, level=0.1):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def heard(audio, lookahead=5):
    frames = -(-len(audio) * 30 // 16000)
    return Sonority(30, lookahead).heard(torch.from_numpy(audio)[None], frames)[0].numpy()


def test_vowels_are_heard_and_hums_and_hisses_are_not():
    sound = heard(np.concatenate([tone(900), tone(150), tone(6500), tone(900), np.zeros(16000, np.float32)]))
    assert sound.shape == (150,)
    assert sound[3:27].min() > 0.99 and sound[95:117].min() > 0.99
    assert sound[34:57].max() < 0.3 and sound[64:85].max() < 0.3 and sound[124:].max() == 0
    np.testing.assert_allclose(heard(0.1 * np.concatenate([tone(900), tone(150)])), sound[:60], atol=0.02)  # the gain


def test_it_comes_half_a_frame_after_the_sound():
    burst = np.zeros(16000, np.float32)
    burst[7840:8160] = 0.3 * np.random.default_rng(0).standard_normal(320)  # 20 ms about 0.5 s, frame 15
    sound = heard(burst, lookahead=0)
    assert sound[16] > sound[14] and int(sound.argmax()) in (15, 16)


def test_a_mouth_goes_with_the_sound_and_closed_lips_stay_closed():
    frames = 60
    audio = torch.from_numpy(np.concatenate([tone(900), tone(900, level=0.005)]))[None]  # 26 dB softer
    face = torch.zeros(1, frames, 52)
    face[..., JAW], face[..., LIP] = 0.2, 0.3
    face[:, 40:45, CLOSE] = 0.2  # lips shut
    made = Sonority(30, 5).follow(face, audio, 0.5)
    wide = 0.5 * (0.2 + 0.14)  # the widest of late, and a loud vowel
    quiet = 1 - 26.02 / 40
    for frame, heard_there in ((10, 1.0), (50, quiet)):
        jaw = 0.2 + 0.5 * (wide * heard_there - 0.2)
        assert made[0, frame, JAW].item() == pytest.approx(jaw, abs=2e-3)
        assert made[0, frame, LIP].item() == pytest.approx(0.3 * (jaw / 0.2) ** 0.7, abs=3e-3)
    shut = made[0, 41:44]
    assert torch.allclose(shut[:, CLOSE], 1.25 * shut[:, JAW])  # pressed
    assert shut[:, JAW].max() < 0.15  # the jaw behind them goes
    assert torch.equal(shut[:, LIP], face[0, 41:44, LIP])
    assert torch.equal(made[..., OTHERS], face[..., OTHERS])


def test_lips_believed_closed_part_where_it_is_too_loud_for_that():
    face = torch.zeros(1, 60, 52)
    face[..., JAW], face[:, 20:40, CLOSE] = 0.2, 0.2
    loud, soft = (
        Sonority(30, 5).follow(
            face, torch.from_numpy(np.concatenate([tone(900, 0.3), tone(900, 1.7, level)]))[None], 1.0
        )
        for level in (0.1, 0.02)
    )
    assert (loud[0, 25:35, JAW] - loud[0, 25:35, CLOSE]).min() > 0.15
    assert torch.allclose(soft[0, 25:35, CLOSE], 1.25 * soft[0, 25:35, JAW], atol=1e-6)


def test_a_mouth_that_hardly_moves_hardly_follows():
    for jaw, most in ((0.0, 0.0), (0.03, 0.03), (0.04, 0.06)):
        face = torch.zeros(1, 60, 52)
        face[..., JAW] = jaw
        made = Sonority(30, 5).follow(face, torch.from_numpy(speechlike(32_000))[None], 0.6)
        assert made[..., JAW].max() <= most + 1e-6


def test_it_acts_at_inference_only_and_not_at_all_where_its_share_is_nothing():
    model = small_model("streaming_sonority")
    plain = small_model("streaming_sonority", sonority_share=0.0)
    assert plain.sonority is None
    audio = torch.from_numpy(speechlike(32_000))[None]
    with torch.no_grad():
        assert not torch.equal(model(audio).coefficients, plain(audio).coefficients)
        made = []
        for one in (model.train(), plain.train()):
            torch.manual_seed(0)  # the same dropout
            made.append(one(audio).coefficients)
        assert torch.equal(*made)
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match="sonority_share"):
            EmoTalkConfig.preset("tiny", sonority_share=share)
