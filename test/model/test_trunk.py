"""The trunk says what Whisper's encoder says where nothing is cut off, and says it in a stream."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emotalk_ros.model.feature_grid import FEATURE_STRIDE
from emotalk_ros.model.trunk import LogMel, SpeechTrunk, TrunkState
from emotalk_ros.training.distillation import start_from_whisper

WIDTH, HEADS, FF, BANDS = 32, 4, 48, 80


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    sizes = {"d_model": WIDTH, "encoder_attention_heads": HEADS, "encoder_ffn_dim": FF, "encoder_layers": 3}
    encoder = WhisperEncoder(WhisperConfig(num_mel_bins=BANDS, max_source_positions=400, **sizes)).eval()
    for name, parameter in encoder.named_parameters():
        if "embed_positions" not in name:
            parameter.data.normal_(0, 0.2)
    return encoder


def masked_whisper(encoder, samples, rights):
    """Whisper's own modules over a clip (1, N), each layer's attention cut off `rights` positions after its own."""
    spectra = LogMel(BANDS).whole(samples).transpose(1, 2)
    gelu = torch.nn.functional.gelu
    hidden = gelu(encoder.conv2(gelu(encoder.conv1(spectra)))).transpose(1, 2)
    levels, count = [hidden], hidden.shape[1]
    hidden = hidden + encoder.embed_positions.weight[:count]
    distance = torch.arange(count) - torch.arange(count)[:, None]
    for layer, right in zip(encoder.layers, rights, strict=True):
        made = layer(hidden, torch.zeros(1, 1, count, count).masked_fill(distance > right, -1e9))
        hidden = made[0] if isinstance(made, tuple) else made
        levels.append(hidden)
    return torch.stack(levels, 2)


def test_a_segment_is_whisper_with_less_future(whisper):
    rights = [3, 2, 2]
    trunk = SpeechTrunk(WIDTH, HEADS, FF, BANDS, 60, rights).eval()
    start_from_whisper(trunk, whisper)
    samples = 0.1 * torch.randn(1, 32000)
    with torch.inference_mode():
        made, wanted = trunk(samples), masked_whisper(whisper, samples, rights)
    assert made.shape == (1, 99 - 7, 4, WIDTH)  # 99 features within the samples, seven wait for what follows
    assert torch.allclose(made, wanted[:, :92], atol=1e-4)


def test_later_segments_begin_at_whispers_position_zero(whisper):
    """The stream's second segment is what Whisper says of a clip that begins where the segment does."""
    trunk = SpeechTrunk(WIDTH, HEADS, FF, BANDS, 30, [3, 2, 2]).eval()
    start_from_whisper(trunk, whisper)
    samples = 0.1 * torch.randn(1, 48000)
    start = 30 * FEATURE_STRIDE
    with torch.inference_mode():
        made, wanted = trunk(samples), masked_whisper(whisper, samples[:, start:], [3, 2, 2])
    # Features 60 to 89 come from the segment that begins at feature 30; at its very beginning the convolutions hear
    # what lies before it in the stream, in a clip of its own they hear silence.
    first = torch.isclose(made[0, 60:90, 0], wanted[0, 30:60, 0], atol=1e-4)
    assert first.all()
    assert (made[0, 60:90, 3] - wanted[0, 30:60, 3]).abs().median() < 0.02 * wanted[0, 30:60, 3].std()


def test_spectra_are_whispers():
    """Of a loud clip, whose floor lies where ours does, away from the ends (Whisper mirrors the sound there)."""
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(16000)).astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=BANDS)
    theirs = extractor(sound, sampling_rate=16000, return_tensors="np").input_features[0, :, 2:97].T
    ours = LogMel(BANDS).whole(torch.as_tensor(sound)[None])[0, 2:97].numpy()
    assert np.abs(ours - theirs).max() < 1e-3


def test_streams_exactly():
    torch.manual_seed(1)
    trunk = SpeechTrunk(WIDTH, HEADS, FF, BANDS, 20, [3, 2]).eval()
    samples = 0.1 * torch.randn(1, 24000)
    with torch.inference_mode():
        whole = trunk(samples)
        for piece in (1, 97, 1600, 7000):
            cuts = [1] * 700 + [23300] if piece == 1 else [piece] * (24000 // piece) + [24000 % piece]
            state, start, parts = TrunkState(), 0, []
            for size in cuts:
                parts.append(trunk(samples[:, start : start + size], state))
                start += size
            assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
    # As many features as have their look-ahead: 520 samples and 5 features after the last one's instant.
    assert whole.shape == (1, (24000 - 520) // FEATURE_STRIDE + 1 - 5, 3, WIDTH)


def test_memory_of_a_stream_is_bounded():
    trunk = SpeechTrunk(WIDTH, HEADS, FF, BANDS, 20, [3, 2]).eval()
    state = TrunkState()
    with torch.inference_mode():
        for _ in range(30):
            trunk(torch.zeros(1, 1600), state)
            assert len(state.segments) <= 3
            assert all(segment.layers[0].keys.shape[2] <= 2 * 20 + 5 for segment in state.segments)
    state.reset()
    assert state == TrunkState()
