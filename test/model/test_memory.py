"""What a stream's windows pass on to each other: hop by hop the encoder gives what one masked pass over all gives."""

import numpy as np
import pytest
import torch
from small_models import MEL_ENCODER, small_model, speechlike

STEP = 3  # frames, 0.1 s
WINDOW = 30
STABLE = {"content_config": MEL_ENCODER}
PLAIN = {"content_config": {**MEL_ENCODER, "do_stable_layer_norm": False, "num_conv_pos_embeddings": 15}}


def samples(frames):
    return frames * 16_000 // 30


def hop_by_hop(model, audio, frames, window=WINDOW, hops=None):
    """Coefficients of a stream: windows that begin at most `window` frames before their last frame."""
    memory = model.stream_memory()
    rows = []
    for first in range(0, frames, STEP):
        start = max(0, first + STEP - window) // STEP * STEP
        piece = audio[samples(start) : samples(first + STEP - 1) + model.config.lookahead_samples]
        if hops is not None and first // STEP not in hops:
            continue
        made = model.analyse(piece, memory=memory, start=start, frames=first + STEP - start)
        rows.append(made.coefficients[first - start :])
    return np.concatenate(rows), memory


@pytest.mark.parametrize("options", [STABLE, PLAIN])
def test_a_growing_window_gives_what_the_whole_clip_gives(options):
    model, audio = small_model("streaming_mel", **options), speechlike(samples(36) + 4000)
    made, _ = hop_by_hop(model, audio, 36, window=100)
    assert np.ptp(made, axis=0).max() > 0.05
    np.testing.assert_allclose(made, model.predict(audio)[:36], atol=1e-5)


@pytest.mark.parametrize("options", [STABLE, PLAIN])
def test_moving_windows_give_what_one_pass_with_their_mask_gives(options):
    """The reference is transformers' own layers over all positions, each seeing those its window begins with."""
    model, audio = small_model("streaming_mel", **options), speechlike(samples(80) + 4000)
    memory, ahead = model.stream_memory(), model.config.lookahead_frames
    states = []
    for first in range(0, 60, STEP):
        start = max(0, first + STEP - WINDOW)
        piece = audio[samples(start) : samples(first + STEP - 1) + model.config.lookahead_samples]
        model.analyse(piece, memory=memory, start=start, frames=first + STEP - start)
        states.append(memory.content.states[0, -STEP:])
    encoder = model.content_encoder
    with torch.inference_mode():
        positions = torch.arange(60 + ahead)
        hop = (positions - ahead).clamp(min=0) // STEP * STEP
        begin = (hop + STEP - WINDOW).clamp(min=0)
        seen = (positions[None] <= positions[:, None]) & (positions[None] >= begin[:, None])
        mask = torch.zeros(seen.shape).masked_fill(~seen, -1e9)[None, None]
        features = encoder.grid_features(torch.from_numpy(audio)[None], 60 + ahead, 30)
        hidden, _ = encoder.feature_projection(features)
        hidden = hidden + encoder.positions(hidden)
        stable = encoder.config.do_stable_layer_norm
        hidden = hidden if stable else encoder.encoder.layer_norm(hidden)
        for layer in encoder.encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        hidden = encoder.encoder.layer_norm(hidden) if stable else hidden
    torch.testing.assert_close(torch.cat(states), hidden[0, ahead:], atol=1e-5, rtol=0)


def test_it_does_not_grow_and_computes_the_new_positions_only(monkeypatch):
    model, audio = small_model("streaming_mel"), speechlike(samples(150))
    counts, features = [], model.content_encoder.grid_features
    monkeypatch.setattr(
        model.content_encoder, "grid_features", lambda v, n, *a, **k: counts.append(n) or features(v, n, *a, **k)
    )
    _, memory = hop_by_hop(model, audio, 120)
    ahead = model.config.lookahead_frames
    assert counts == [STEP + ahead] + [STEP] * 39
    content = memory.content
    assert content.states.shape[1] == content.layers[0].keys.shape[2] == content.next - content.first == WINDOW + ahead


def test_hops_left_out_are_made_up_for_and_a_jump_starts_anew():
    model, audio = small_model("streaming_mel"), speechlike(samples(150))
    every, _ = hop_by_hop(model, audio, 30, window=100)
    some, _ = hop_by_hop(model, audio, 30, window=100, hops={0, 1, 6, 7, 9})
    for row, hop in enumerate((0, 1, 6, 7, 9)):
        np.testing.assert_allclose(some[STEP * row :][:STEP], every[STEP * hop :][:STEP], atol=1e-5)
    _, memory = hop_by_hop(model, audio, 30)
    fresh = model.stream_memory()
    piece = audio[samples(90) : samples(122)]
    made = [model.analyse(piece, memory=m, start=90, frames=20).coefficients for m in (memory, fresh)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("variant", ["paper", "grid_full", "streaming_wave"])
def test_networks_whose_windows_stand_alone_keep_nothing(variant):
    assert small_model(variant).stream_memory() is None
