"""The streaming variants: a frame depends on audio up to its look-ahead and on none after, on one grid of time."""

import numpy as np
import pytest
import torch
from small_models import ENCODER, GROUP_ENCODER, MEL_ENCODER, STREAMING, small_config, small_model, speechlike

STREAMS = ["streaming_mel", "streaming_wave", "streaming_mixed", "streaming_prosody"]


def last_sample(config, frame):
    """One past the last sample that output `frame` may depend on."""
    return frame * 16_000 // config.fps + config.lookahead_samples


@pytest.mark.parametrize("variant", STREAMS)
@pytest.mark.parametrize("lookahead", [0, 3])
def test_later_audio_changes_nothing_and_earlier_audio_does(variant, lookahead):
    model = small_model(variant, lookahead_frames=lookahead)
    audio = speechlike(24_000)
    before = model.predict(audio)
    for frame in (0, 1, 2, 13, 30):
        cut = last_sample(model.config, frame)
        changed = audio.copy()
        changed[cut:] += 0.5
        after = model.predict(changed)
        assert np.abs(after[: frame + 1] - before[: frame + 1]).max() == 0
        changed = audio.copy()
        changed[max(0, cut - 400) : cut] += 0.5  # the bound is not slack: just before it, the frame hears
        assert np.abs(model.predict(changed)[frame] - before[frame]).max() > 1e-6


@pytest.mark.parametrize("variant", STREAMS)
@pytest.mark.parametrize("samples", [7_000, 16_000, 20_123])
def test_a_prefix_gives_the_same_covered_frames(variant, samples):
    model = small_model(variant)
    audio = speechlike(32_000)
    whole, prefix = model.analyse(audio), model.analyse(audio[:samples])
    covered = sum(last_sample(model.config, frame) <= samples for frame in range(len(prefix.coefficients)))
    assert 0 < covered < len(prefix.coefficients)
    for name in ("coefficients", "frame_emotion_logits"):
        difference = np.abs(getattr(whole, name)[:covered] - getattr(prefix, name)[:covered])
        assert difference.max() < 1e-5


@pytest.mark.parametrize(
    "variant", STREAMS[:3]
)  # running statistics of prosody begin with the window, as attention does
@pytest.mark.parametrize("frames", [3, 12])
def test_windows_cut_at_multiples_of_1600_samples_stay_on_the_grid(variant, frames):
    """Features (before attention, which sees the window only) are the same numbers at the same instants."""
    model = small_model(variant)
    audio = torch.from_numpy(speechlike(32_000))[None]
    cut = frames * 16_000 // 30
    assert cut % 1600 == 0
    for encoder in model._encoders():
        whole = encoder.grid_features(audio, 40, 30)
        window = encoder.grid_features(audio[:, cut:], 40 - frames, 30)
        settled = 4  # the first features still see the silence before the window
        assert (whole[:, frames + settled :] - window[:, settled:]).abs().max() < 1e-5


def test_lookahead_samples():
    assert small_config("streaming_mel", lookahead_frames=3).lookahead_samples == 1600 + 201
    assert small_config("streaming_wave", lookahead_frames=0).lookahead_samples == 200 + 320 + 1
    assert small_config("paper").lookahead_samples is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"normalization": "utterance"}, "normalization"),
        ({"resampling": "align_corners"}, "resampling"),
        ({"content_config": GROUP_ENCODER}, "feat_extract_norm"),
        ({"lookahead_frames": -1}, "lookahead_frames"),
        ({"attention": "full"}, "lookahead_frames"),
        ({"frontend": "mel", "content_config": MEL_ENCODER, **STREAMING, "resampling": "align_corners"}, "grid"),
    ],
)
def test_configurations_that_cannot_stream_say_why(fields, reason):
    with pytest.raises(ValueError, match=reason):
        small_config("streaming_wave", **fields)


def test_spectra_must_not_be_skipped():
    with pytest.raises(ValueError, match="skipped"):
        small_config(
            "streaming_mel", content_config={**ENCODER, "conv_dim": [8], "conv_kernel": [2], "conv_stride": [4]}
        )
