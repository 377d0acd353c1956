"""What a stream's windows pass on to each other: hop by hop the encoder gives what one masked pass over all gives."""

import numpy as np
import pytest
import torch
from small_models import MEL_ENCODER, small_model, speechlike

from emotalk_ros.model.causal_stream import CausalStream
from emotalk_ros.model.prosody import Prosody

STEP = 3  # frames, 0.1 s
WINDOW = 30
STABLE = {"content_config": MEL_ENCODER}
PLAIN = {"content_config": {**MEL_ENCODER, "do_stable_layer_norm": False, "num_conv_pos_embeddings": 15}}


def samples(frames):
    return frames * 16_000 // 30


def hop_by_hop(model, audio, frames, window=WINDOW, hops=None, step=STEP):
    """Coefficients and content embeddings of a stream: windows begin at most `window` frames before their last one."""
    memory = model.stream_memory(window)
    rows, states = [], []
    for first in range(0, frames, step):
        start = max(0, first + step - window) // STEP * STEP
        piece = audio[samples(start) : samples(first + step - 1) + model.config.lookahead_samples]
        if hops is not None and first // step not in hops:
            continue
        made = model.analyse(piece, memory=memory, start=start, frames=first + step - start)
        rows.append(made.coefficients[first - start :])
        states.append(memory.state.rings[1].last()[-step:, : model.config.content_dim].clone())
    return np.concatenate(rows), torch.cat(states), memory


@pytest.mark.parametrize("options", [STABLE, PLAIN])
def test_a_growing_window_gives_what_the_whole_clip_gives(options):
    model, audio = small_model("streaming_mel", **options), speechlike(samples(36) + 4000)
    made, _, _ = hop_by_hop(model, audio, 36, window=100)
    assert np.ptp(made, axis=0).max() > 0.05
    np.testing.assert_allclose(made, model.predict(audio)[:36], atol=1e-5)


@pytest.mark.parametrize("options", [STABLE, PLAIN])
def test_moving_windows_give_what_one_pass_with_their_mask_gives(options):
    """The reference is transformers' own layers over all positions, each seeing those its window begins with."""
    model, audio = small_model("streaming_mel", **options), speechlike(samples(80) + 4000)
    ahead = model.config.lookahead_frames
    encoder = model.content_encoder
    with torch.inference_mode():
        positions = torch.arange(60 + ahead)
        back = positions[:, None] - positions[None]
        seen = (back >= 0) & (back < WINDOW + ahead)
        mask = torch.zeros(seen.shape).masked_fill(~seen, -1e9)[None, None]
        features = encoder.grid_features(torch.from_numpy(audio)[None], 60 + ahead, 30)
        hidden, _ = encoder.feature_projection(features)
        hidden = hidden + encoder.positions(hidden)
        stable = encoder.config.do_stable_layer_norm
        hidden = hidden if stable else encoder.encoder.layer_norm(hidden)
        for layer in encoder.encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        hidden = model.content_head(encoder.encoder.layer_norm(hidden) if stable else hidden)
    for step in (1, STEP, 6):  # however the stream is cut
        _, states, _ = hop_by_hop(model, audio, 60, step=step)
        torch.testing.assert_close(states, hidden[0, ahead:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["streaming_mel", "streaming_prosody"])
def test_it_does_not_grow_and_computes_the_new_positions_only(variant, monkeypatch):
    model, audio, counts = small_model(variant), speechlike(samples(150)), []
    group = CausalStream._group

    def noting(self, state):
        counts.append(group(self, state))
        return counts[-1]

    monkeypatch.setattr(CausalStream, "_group", noting)
    first = hop_by_hop(model, audio, 30)[2].state
    sizes = [ring._held.shape for ring in first.rings] + [len(first.samples)]
    memory = hop_by_hop(model, audio, 120)[2].state
    done = [each for each in counts[-2 * 40 :] if each is not None]  # each hop asks again whether something is left
    ahead = model.config.lookahead_frames
    assert [each.positions for each in done] == [STEP + ahead] + [STEP] * 39
    assert [ring._held.shape for ring in memory.rings] + [len(memory.samples)] == sizes
    assert memory.rings[0].rows >= WINDOW + ahead - 1


def test_statistics_of_a_moving_window_are_those_of_a_clip_that_begins_with_it():
    """What prosody gives of a window of a long stream does not depend on what was heard before the reach."""
    front, audio = Prosody(60), torch.from_numpy(speechlike(samples(150)))
    reach = 40
    matrices, kept = front.matrices(reach, 1), torch.zeros(1, reach, Prosody.TERMS).double()
    found = []
    for window in range(90):
        origin = torch.tensor([max(0, (reach - 1) - window)])
        found.append(front.follow(front.power(audio[None], window, 1), kept, origin, matrices)[0, 0])
        kept = torch.cat([kept[:, 1:], kept[:, :1]], 1)
    torch.testing.assert_close(torch.stack(found[:reach]), front(audio[None], 0, reach)[0], atol=1e-5, rtol=0)
    # Beyond, windows keep what they found by themselves: the loudest level so far, and how far the pitch lay from its
    # mean (channel 34). With a steady voice the rest is the same.
    tone = 0.1 * torch.sin(2 * torch.pi * 150 * torch.arange(samples(150)) / 16000)
    kept = torch.zeros_like(kept)
    for window in range(90):
        origin = torch.tensor([max(0, (reach - 1) - window)])
        last = front.follow(front.power(tone[None], window, 1), kept, origin, matrices)[0, 0]
        kept = torch.cat([kept[:, 1:], kept[:, :1]], 1)
    others = [k for k in range(40) if k != 34]
    torch.testing.assert_close(last[others], front(tone[None], 50, reach)[0, -1, others], atol=2e-3, rtol=0)


@pytest.mark.parametrize("window", [WINDOW, 100])
def test_hops_left_out_change_nothing_in_the_others(window):
    model, audio = small_model("streaming_prosody"), speechlike(samples(150))
    every, all_states, _ = hop_by_hop(model, audio, 90, window)
    hops = [k for k in range(30) if k not in (2, 3, 4, 20, 21)]
    some, states, _ = hop_by_hop(model, audio, 90, window, hops)
    chosen = [STEP * hop + k for hop in hops for k in range(STEP)]
    torch.testing.assert_close(states, all_states[chosen], atol=1e-5, rtol=0)
    np.testing.assert_allclose(some, every[chosen], rtol=1e-5, atol=1e-5)


def test_speech_that_does_not_go_on_from_what_is_known_begins_anew():
    model, audio = small_model("streaming_prosody"), speechlike(samples(150))
    memory, fresh = hop_by_hop(model, audio, 30)[2], model.stream_memory(WINDOW)
    piece = audio[samples(90) : samples(122)]
    made = [model.analyse(piece, memory=m, start=90, frames=20).coefficients for m in (memory, fresh)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("variant", ["grid_full", "streaming_wave"])
def test_networks_whose_windows_stand_alone_keep_nothing(variant):
    assert small_model(variant).stream_memory(WINDOW) is None


def test_weights_that_change_count_at_once():
    model, audio = small_model("streaming_prosody"), speechlike(samples(60))
    before = hop_by_hop(model, audio, 30)[0]
    with torch.no_grad():
        model.content_encoder.encoder.layers[0].attention.q_proj.weight.mul_(3.0)
        model.content_encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original1.mul_(-1.0)
    after = hop_by_hop(model, audio, 30, window=100)[0]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model.predict(audio)[:30], atol=1e-5)


@pytest.mark.parametrize("options", [{"decoder_layers": 2}, {"disentangle": False}, {"emotion_guided": False}])
def test_every_form_of_the_decoder_streams(options):
    model, audio = small_model("streaming_mel", **options), speechlike(samples(40))
    np.testing.assert_allclose(hop_by_hop(model, audio, 30, window=100)[0], model.predict(audio)[:30], atol=1e-5)
