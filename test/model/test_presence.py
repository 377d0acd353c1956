"""How much of a clip is speech, frame by frame."""

import numpy as np
import torch
from small_models import small_model, speechlike

from emotalk_ros.model.presence import presence


def of(audio):
    return presence(torch.from_numpy(audio)[None], -(-len(audio) * 30 // 16000), 30)[0].numpy()


def test_pauses_are_no_speech_whatever_the_gain():
    speech, pause = speechlike(16_000), 0.0005 * speechlike(16_000, seed=1)
    audio = np.concatenate([speech, pause, speech])
    share = of(audio)
    assert share.shape == (90,)
    assert share[1:30].mean() > 0.9 and share[32:60].max() < 0.01 and share[61:].mean() > 0.9
    np.testing.assert_allclose(of(0.2 * audio), share, atol=1e-5)
    assert of(np.zeros(16_000, np.float32)).max() < 1e-3


def test_it_is_causal():
    audio = np.concatenate([0.02 * speechlike(16_000), speechlike(16_000)])
    np.testing.assert_allclose(of(audio)[:30], of(audio[:16_000]), atol=1e-6)


def test_the_running_emotion_goes_by_what_was_said():
    """In silence it stays what it was; from little speech it is little; after enough it is the speech's own."""
    model = small_model("streaming_mel")
    quiet = np.zeros(16_000, np.float32)
    with torch.no_grad():
        audio = torch.from_numpy(np.concatenate([quiet, speechlike(48_000), quiet]))[None]
        running = model(audio, frame_emotion=True).frame_emotion_logits[0]
        states = model._emotion_states(audio, None, None, 150)
        full = model.emotion_classifier(states[:, 31:121].mean(1))[0]
    assert running[25].abs().max() < 0.05 * full.abs().max()
    assert 0 < running[36].norm() < 0.5 * running[120].norm()
    assert (running[120] - full).abs().max() < 0.1 * full.abs().max()
    assert (running[149] - running[122]).abs().max() < 0.05 * full.abs().max()
