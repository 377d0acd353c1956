"""VOCA, MeshTalk and FaceFormer for 52 coefficients, on the interface of `EmoTalk`: what the paper compares with.

Same `forward` arguments and output, same `predict`, same model folders, so that trainer and evaluation need no special
cases. None of them knows an emotion or a level: those inputs are accepted and ignored in `forward`, and refused in
`predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotalk_ros.model.baselines.base import Baseline
from emotalk_ros.model.baselines.faceformer import FaceFormer, FaceFormerConfig
from emotalk_ros.model.baselines.meshtalk import MeshTalk, MeshTalkConfig
from emotalk_ros.model.baselines.voca import Voca, VocaConfig

__all__ = [
    "Baseline",
    "FaceFormer",
    "FaceFormerConfig",
    "MeshTalk",
    "MeshTalkConfig",
    "Voca",
    "VocaConfig",
    "baseline_classes",
    "build",
]


def baseline_classes() -> dict[str, type[Baseline]]:
    """Baseline by `model_type`."""
    return {"voca": Voca, "meshtalk": MeshTalk, "faceformer": FaceFormer}


def build(name: str, options: Mapping[str, Any] | None = None) -> Baseline:
    """A fresh baseline: `options` are fields of its configuration. Raises ValueError for an unknown name or field."""
    kinds = baseline_classes()
    if name not in kinds:
        raise ValueError(f"unknown baseline {name!r}; known: {', '.join(kinds)}")
    config_class: Any = kinds[name].config_class
    known = config_class().to_dict()
    unknown = [key for key in options or {} if key not in known]
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its configuration has {', '.join(sorted(known))}")
    return kinds[name](config_class(**dict(options or {})))
