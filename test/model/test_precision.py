"""What lower precision costs, as the root mean square error relative to the spread of the output over time."""

import numpy as np
import pytest
import torch
from small_models import small_model, speechlike

from emotalk_ros.model import load_model

AUDIO = speechlike(48_000)
BFLOAT16_ERROR = 0.25
"""Measured on a CPU 0.05 to 0.16 on these random networks, whose output varies little over time."""
FLOAT16_ERROR = 0.03
"""An eighth of that, by the longer mantissa; held on an H200."""


def relative_error(made, expected):
    return float(np.sqrt(np.square(made - expected).mean()) / np.sqrt(expected.var(0).mean()))


@pytest.fixture(params=["paper", "paper_group_norm", "streaming_mel", "streaming_wave"])
def folder(request, tmp_path):
    small_model(request.param).save_pretrained(tmp_path)
    return tmp_path


def check(folder, device, dtype, limit):
    expected = load_model(folder).predict(AUDIO)
    model = load_model(folder, device, dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    made = model.predict(AUDIO)
    assert made.dtype == np.float32
    error = relative_error(made, expected)
    print(f"{dtype} on {device}: {error:.4f} of the spread over time")
    assert 0 < error < limit


def test_bfloat16_on_cpu(folder):
    check(folder, "cpu", torch.bfloat16, BFLOAT16_ERROR)


def test_spectra_stay_in_float32(tmp_path):
    small_model("streaming_mel").save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.bfloat16)
    for kind in (torch.bfloat16, torch.float16):
        constants = model.to(kind).content_encoder.feature_extractor.analysis
        assert constants.filters.dtype == constants.window.dtype == torch.float32
        assert torch.equal(constants.filters, load_model(tmp_path).content_encoder.feature_extractor.analysis.filters)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(
    ("dtype", "limit"),
    [(torch.float32, 0.01), (torch.bfloat16, BFLOAT16_ERROR), (torch.float16, FLOAT16_ERROR)],
)
def test_on_a_gpu(folder, dtype, limit):
    check(folder, "cuda", dtype, limit)
