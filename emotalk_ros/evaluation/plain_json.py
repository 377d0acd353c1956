"""JSON for machines: equal findings give equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DIGITS = 6
"""Decimals kept in JSON: what differs behind them is noise of the arithmetic, not a finding."""


def plain(value: Any) -> Any:
    """`value` as JSON types: floats rounded to DIGITS, NaN and infinities null, numpy and dataclass-like unpacked."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = round(float(value), DIGITS)
        return (number + 0.0) if math.isfinite(number) else None
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    raise TypeError(f"{type(value).__name__} can't go into a report")


def to_json(findings: Mapping[str, Any]) -> str:
    """`findings` as text: sorted keys, rounded numbers, a newline at the end."""
    return json.dumps(plain(findings), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
