"""Memory that grows linearly with the clip, no attention maps, graphs without breaks."""

import pytest
import torch
from small_models import small_model, speechlike
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from emotalk_ros.model import decoder, encoder
from emotalk_ros.model.benchmark import clip_cost, hop_cost


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any operation's storage had."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for item in tree_flatten(result)[0]:
            if isinstance(item, torch.Tensor):
                self.elements = max(self.elements, item.untyped_storage().nbytes() // item.element_size())
        return result


def largest(model, seconds):
    with LargestTensor() as mode:
        model.predict(speechlike(int(16_000 * seconds)))
    return mode.elements


@pytest.mark.parametrize("variant", ["paper", "paper_group_norm", "streaming_mel", "streaming_wave"])
def test_the_largest_tensor_grows_at_most_linearly(variant, monkeypatch):
    monkeypatch.setattr(encoder, "CHUNK_FEATURES", 60)
    monkeypatch.setattr(decoder, "QUERY_BLOCK", 32)
    model = small_model(variant)
    short, long = largest(model, 10), largest(model, 40)
    assert long <= 4.2 * short
    if variant != "streaming_mel":  # its spectra, linear in the clip, are larger than a map of this length
        frames = 40 * 30
        assert long < frames * frames  # not even one map of one head of one layer
        # An unchunked front end would make (16 channels) x (samples / 5).
        assert long < 16 * 16_000 * 40 / 5


def test_padded_batches_make_no_map_either(monkeypatch):
    monkeypatch.setattr(encoder, "CHUNK_FEATURES", 60)
    monkeypatch.setattr(decoder, "QUERY_BLOCK", 32)
    samples = 40 * 16_000
    values = torch.from_numpy(speechlike(samples)).repeat(2, 1)
    with LargestTensor() as mode, torch.no_grad():
        small_model("paper")(values, torch.tensor([samples, samples // 2]))
    assert mode.elements < (40 * 30) ** 2


def test_the_reference_does_make_a_map():
    """The measure can fail: the plain attention is seen."""
    with LargestTensor() as mode:
        score = torch.randn(1200, 8) @ torch.randn(8, 1200)
    assert mode.elements == score.numel() == 1200 * 1200


@pytest.mark.parametrize("variant", ["paper", "paper_group_norm", "streaming_mel", "streaming_wave"])
def test_one_graph_without_breaks(variant):
    model = small_model(variant)
    values = torch.from_numpy(speechlike(16_000)).view(2, 8_000)
    inputs = {
        "lengths": torch.tensor([8_000, 6_000]),
        "person": torch.tensor([1, 2]),
        "level": torch.tensor([0.0, 1.0]),
    }
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # fullgraph: a break is an error
    with torch.no_grad():
        for kwargs in ({}, inputs):
            expected, made = model(values, **kwargs), compiled(values, **kwargs)
            assert (made.coefficients - expected.coefficients).abs().max() < 1e-5


def test_benchmark_measures_a_process_of_its_own(tmp_path):
    small_model("streaming_mel").save_pretrained(tmp_path)
    cost = clip_cost(str(tmp_path), 2.0)
    assert cost.frames == 60
    assert 0.05 < cost.load_gib <= cost.peak_gib < 4
    assert cost.pass_seconds > 0
    hop = hop_cost(str(tmp_path), window=0.5, repeats=3)
    assert 0 < hop.median_ms <= hop.p99_ms


@pytest.mark.parametrize("variant", ["paper", "paper_group_norm", "streaming_wave"])
def test_pieces_change_nothing(variant, monkeypatch):
    model, audio = small_model(variant), speechlike(60_000)
    whole = model.predict(audio)
    monkeypatch.setattr(encoder, "CHUNK_FEATURES", 41)
    monkeypatch.setattr(decoder, "QUERY_BLOCK", 23)
    assert abs(model.predict(audio) - whole).max() < 1e-5
