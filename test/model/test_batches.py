"""Batches of clips of different lengths give what each clip gives alone, whatever lies behind a clip's end."""

import numpy as np
import pytest
import torch
from small_models import VARIANTS, small_model, speechlike

LENGTHS = (24_000, 9_337, 16_000)
TOLERANCE = 1e-5


def batch_of(lengths, padding=0.0):
    batch = torch.full((len(lengths), max(lengths)), padding)
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.from_numpy(speechlike(length, seed=row))
    return batch, torch.tensor(lengths)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_in_a_batch_equals_the_clip_alone(variant):
    model = small_model(variant)
    values, lengths = batch_of(LENGTHS, padding=3.0)
    person, level = torch.tensor([0, 5, 23]), torch.tensor([1.0, 0.0, 0.4])
    with torch.no_grad():
        together = model(values, lengths, person=person, level=level, frame_emotion=True)
        for row, length in enumerate(LENGTHS):
            own = slice(row, row + 1)
            alone = model(values[own, :length], person=person[own], level=level[own], frame_emotion=True)
            frames = model.frame_count(length)
            assert together.frame_lengths[row] == alone.frame_lengths[0] == frames
            for name in ("coefficients", "content", "emotion", "frame_emotion_logits"):
                difference = together[name][row, :frames] - alone[name][0]
                assert difference.abs().max() < TOLERANCE, name
            assert (together.emotion_logits[row] - alone.emotion_logits[0]).abs().max() < TOLERANCE
            assert not together.coefficients[row, frames:].any()


@pytest.mark.parametrize("variant", ["paper", "streaming_mel", "grid_full", "streaming_prosody"])
def test_cross_drive_in_a_batch_equals_the_pair_alone(variant):
    model = small_model(variant)
    values, lengths = batch_of((24_000, 9_337), padding=2.0)
    others, other_lengths = batch_of((8_000, 30_000), padding=-1.0)
    with torch.no_grad():
        together = model(values, lengths, emotion_values=others, emotion_lengths=other_lengths)
        own = model(values, lengths)
        for row in range(2):
            pair = model(
                values[row : row + 1, : lengths[row]], emotion_values=others[row : row + 1, : other_lengths[row]]
            )
            frames = int(together.frame_lengths[row])
            assert (together.coefficients[row, :frames] - pair.coefficients[0]).abs().max() < TOLERANCE
            assert (together.content[row, :frames] - own.content[row, :frames]).abs().max() < TOLERANCE
    assert (together.coefficients - own.coefficients).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["paper", "streaming_mel"])
def test_label_lengths_decide_the_frames(variant):
    model = small_model(variant)
    values, lengths = batch_of((16_000, 8_000))
    frames = torch.tensor([29, 14])
    with torch.no_grad():
        output = model(values, lengths, frames=frames)
        alone = model(values[1:, :8_000], frames=14)
    assert output.coefficients.shape == (2, 29, 52)
    assert output.frame_lengths.tolist() == [29, 14]
    assert (output.coefficients[1, :14] - alone.coefficients[0]).abs().max() < TOLERANCE


def test_utterance_normalisation_uses_each_clips_own_statistics():
    model = small_model("paper")
    values, lengths = batch_of((16_000, 8_000), padding=7.0)
    prepared = model._prepare(values, lengths)
    own = values[1, :8_000].double().numpy()
    expected = (own - own.mean()) / np.sqrt(own.var() + 1e-7)
    assert np.abs(prepared[1, :8_000].numpy() - expected).max() < 1e-5
    assert not prepared[1, 8_000:].any()


def test_a_floor_keeps_silence_quiet():
    near_silence = 1e-4 * torch.from_numpy(speechlike(16_000))[None]
    loud = small_model("paper")._prepare(near_silence, None)
    floored = small_model("paper", min_std=0.01)._prepare(near_silence, None)
    assert loud.std() > 0.02
    assert floored.std() < 0.002
    speech = torch.from_numpy(speechlike(16_000))[None]
    same = small_model("paper")._prepare(speech, None) - small_model("paper", min_std=0.01)._prepare(speech, None)
    assert same.abs().max() == 0
