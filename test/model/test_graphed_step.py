"""Fixed sizes of batches and replayed forms: the same numbers. CUDA itself is needed for the last test only."""

import numpy as np
import pytest
import torch
from small_models import small_model, speechlike
from torch.utils._python_dispatch import TorchDispatchMode

from emotalk_ros.model.causal_stream import CausalStream
from emotalk_ros.model.graphed_step import AFTER, GraphedStep, padded_size

HOP = 1600


def replayed(step, static):
    """As a CUDA graph: outputs lie at fixed places, and the step reads the same tensors each time."""
    outputs = tuple(each.clone() for each in step(*static))

    def replay():
        for place, new in zip(outputs, step(*static), strict=True):
            place.copy_(new)
        return outputs

    return replay


def counting(values, ring):
    ring[1:] += values
    return (ring.sum(0) * 2.0,)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (64, 64), (65, 128)])
def test_batches_have_few_sizes(count, size):
    assert padded_size(count) == size


def test_a_form_that_comes_again_is_replayed_and_others_are_computed():
    captured = []
    graphed = GraphedStep(counting, lambda step, static: captured.append(static[0].shape) or replayed(step, static))
    for k in range(AFTER + 3):
        inputs = [torch.full((2,), float(k)), torch.ones(3, 2)]
        (made,), used = graphed(inputs)
        wanted = torch.ones(3, 2)
        (expected,) = counting(torch.full((2,), float(k)), wanted)
        if k < AFTER:
            assert used is inputs
        torch.testing.assert_close(made, expected)
        torch.testing.assert_close(used[1][1:], wanted[1:])
    graphed([torch.zeros(5), torch.zeros(2, 5)])
    assert captured == [(2,)]


def test_where_a_form_cannot_be_captured_it_is_computed(caplog):
    def refuse(step, static):
        raise RuntimeError("operation not permitted when stream is capturing")

    graphed = GraphedStep(counting, refuse)
    for _ in range(AFTER + 3):
        (made,), _ = graphed([torch.ones(2), torch.ones(3, 2)])
        torch.testing.assert_close(made, torch.full((2,), 10.0))
    assert caplog.text.count("no CUDA graphs") == 1


def test_out_of_memory_gives_the_graphs_back():
    room = [1]

    def capture(step, static):
        if not room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        room.clear()
        return replayed(step, static)

    graphed = GraphedStep(counting, capture)
    for _ in range(AFTER + 1):
        graphed([torch.ones(2), torch.ones(3, 2)])
    with pytest.raises(torch.OutOfMemoryError):
        for _ in range(AFTER + 1):
            graphed([torch.ones(4), torch.ones(3, 4)])
    assert not graphed._captured
    (made,), _ = graphed([torch.ones(4), torch.ones(3, 4)])
    torch.testing.assert_close(made, torch.full((4,), 10.0))


def heard(model, count, hops=14, streams=None, late=0):
    """Coefficients (voices, frames, 52) of voices of which the last ones join `late` hops later."""
    streams = streams or CausalStream(model)
    sounds = [speechlike(hops * HOP + 6000, seed) for seed in range(count)]
    states, rows = [streams.new_state(20) for _ in sounds], [[] for _ in sounds]
    with torch.inference_mode():
        for hop in range(hops + late):
            here = [k for k in range(count) if 0 <= hop - late * (k == count - 1) < hops]
            at = [(hop - late * (k == count - 1)) * HOP for k in here]
            pieces = [sounds[k][a : a + HOP] for k, a in zip(here, at, strict=True)]
            for k, made in zip(here, streams.hear(pieces, [states[k] for k in here], [{}] * len(here)), strict=True):
                rows[k].append(made.coefficients)
    return np.stack([np.concatenate(each) for each in rows]), streams


@pytest.mark.parametrize("variant", ["streaming_mel", "streaming_prosody"])
@pytest.mark.parametrize("count", [1, 3])
def test_padded_and_replayed_batches_give_the_same(variant, count):
    model = small_model(variant)
    plain, _ = heard(model, count, late=2)
    fixed, sizes = CausalStream(model), []
    fixed.fixed_sizes = True
    fixed._graphed = GraphedStep(
        fixed.step, lambda step, static: sizes.append(len(static[0])) or replayed(step, static)
    )
    made, _ = heard(model, count, streams=fixed, late=2)
    assert sizes and set(sizes) <= {1, 2, 4}
    np.testing.assert_allclose(made, plain, atol=2e-5 if variant == "streaming_prosody" else 1e-5)


class OnDevice(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: reading a value, shapes that depend on values, copies from the host."""

    REFUSED = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique", "is_nonzero", "scalar_tensor")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.REFUSED, f"{func} cannot be captured"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("variant", ["streaming_mel", "streaming_prosody"])
def test_nothing_in_the_step_looks_at_values_or_at_the_host(variant):
    streams, asked = CausalStream(small_model(variant)), []
    compute = streams._compute
    streams._compute = lambda each: asked.append(each) or compute(each)
    heard(streams.model, 2, hops=4, streams=streams)
    tensors = [each.clone() for each in asked[-1].tensors()]
    with torch.inference_mode(), OnDevice():
        streams.step(*tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype):
    exact, _ = heard(small_model("streaming_prosody"), 2)
    made, _ = heard(small_model("streaming_prosody").to(dtype), 2)
    assert np.abs(made - exact).mean() < 0.02 * np.ptp(exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("variant", ["streaming_mel", "streaming_prosody"])
def test_cuda_graphs_give_what_the_processor_gives(variant):
    plain, _ = heard(small_model(variant), 3, late=2)
    made, streams = heard(small_model(variant).to("cuda"), 3, late=2)
    assert streams._graphed._captured
    np.testing.assert_allclose(made, plain, atol=1e-3)
