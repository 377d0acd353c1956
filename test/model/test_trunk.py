"""The trunk says what Whisper's encoder says where nothing is cut off, and says it in a stream."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emotalk_ros.model.causal import InputState
from emotalk_ros.model.trunk import FEATURE_STRIDE, LogMel, SpeechTrunk, TrunkState
from emotalk_ros.training.distillation import start_from_whisper

WIDTH, HEADS, FF, BANDS = 32, 4, 48, 80


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    sizes = {"d_model": WIDTH, "encoder_attention_heads": HEADS, "encoder_ffn_dim": FF, "encoder_layers": 3}
    encoder = WhisperEncoder(WhisperConfig(num_mel_bins=BANDS, max_source_positions=400, **sizes)).eval()
    for parameter in encoder.parameters():
        parameter.data.normal_(0, 0.2)
    return encoder


def test_equals_whisper_within_reach(whisper):
    """With a reach over the whole clip and no positions, every level is Whisper's, up to what silence after it adds."""
    whisper.embed_positions.weight.data.zero_()
    trunk = SpeechTrunk(WIDTH, HEADS, FF, BANDS, 400, [40, 40, 40]).eval()
    start_from_whisper(trunk, whisper)
    spectra = torch.randn(1, 60, BANDS)
    trunk.spectra.forward = lambda samples, state: samples
    whole = torch.nn.functional.pad(spectra, (0, 0, 0, 1))  # as Whisper pads its second convolution
    with torch.inference_mode():
        hidden = whisper.conv2(torch.nn.functional.gelu(whisper.conv1(spectra.transpose(1, 2))))
        hidden = torch.nn.functional.gelu(hidden).transpose(1, 2)
        wanted = [hidden]
        for layer in whisper.layers:
            made = layer(hidden, None)
            hidden = made[0] if isinstance(made, tuple) else made
            wanted.append(hidden)
        state = TrunkState()
        stem = trunk(whole, state)
        assert stem.shape[1] == 0  # each layer waits for 40 positions
    # All levels of the same positions, computed layer by layer from Whisper's own input.
    hidden = wanted[0]
    with torch.inference_mode():
        for k, layer in enumerate(trunk.layers):
            layer.self_attn.right = 0
            state.layers[k].reset()
            attention = layer.self_attn
            keys = attention.k_proj(layer.self_attn_layer_norm(hidden))
            assert keys.shape == hidden.shape
            # Each position sees all: queries wait until every key is there.
            attention.right = hidden.shape[1] - 1
            attention.distance_bias = torch.nn.Parameter(torch.zeros(HEADS, 400 + attention.right + 1))
            silent = torch.zeros(1, attention.right, WIDTH)
            state.layers[k].reset()
            first = layer(hidden, state.layers[k])  # position 0 sees exactly the clip
            assert torch.allclose(first[:, 0], wanted[k + 1][:, 0], atol=1e-5)
            assert layer(silent, state.layers[k]).shape[1] == attention.right
            hidden = wanted[k + 1]


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
    for layer in trunk.layers:
        layer.self_attn.distance_bias.data.normal_(0, 0.05)
    samples = 0.1 * torch.randn(1, 24000)
    with torch.inference_mode():
        whole = trunk(samples)
        for piece in (1, 97, 1600, 7000):
            if piece == 1:
                cuts = [1] * 700 + [24000 - 700]
            else:
                cuts = [piece] * (24000 // piece) + [24000 % piece]
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
    assert state.layers[0].keys.shape[2] <= 20 + 3 + 1
    state.reset()
    assert state.layers[0].keys is None and isinstance(state.samples, InputState) and state.samples.kept is None
