"""bfloat16 only where there are instructions for it: emulated it is twenty times slower than float32."""

import pytest
import torch

from emotalk_ros.training.precision import mixed_precision


@pytest.mark.parametrize(
    ("flags", "chosen"), [("fpu avx2 avx512f", "no"), ("avx512f avx512_bf16", "bf16"), ("amx_bf16 amx_tile", "bf16")]
)
def test_auto_looks_at_the_processor(tmp_path, monkeypatch, flags, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: amx_bf16\n")
    assert mixed_precision("auto", tmp_path / "cpuinfo") == chosen


def test_auto_on_a_machine_that_tells_nothing_is_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert mixed_precision("auto", tmp_path / "missing") == "no"


def test_what_is_asked_for_is_taken(tmp_path):
    assert [mixed_precision(name, tmp_path / "missing") for name in ("no", "bf16", "fp16")] == ["no", "bf16", "fp16"]
