"""Coefficients rearranged by a mapping before they leave: gains, and other sums than one to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.aliases import MappingError, MappingFile, arkit_name
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, INDEX

Array = NDArray[np.float32]


class Remix:
    """A linear map of coefficients, limited to 0..1. `names` are those of its rows.

    Args:
        names: of what is sent.
        rows: (names, 52) weights.
    """

    def __init__(self, names: tuple[str, ...], rows: Array) -> None:
        self.names = names
        self._rows = rows.astype(np.float32)

    @classmethod
    def arkit(cls, mapping: MappingFile | None = None) -> Remix:
        """The 52 themselves, for protocols that send no others. Raises MappingError for a name that is none of them."""
        rows = np.eye(COUNT, dtype=np.float32)
        if mapping is not None:
            for own, weights in mapping.targets.items():
                home = arkit_name(own)
                if home is None:
                    raise MappingError(f"targets: {own}: this protocol sends the 52 ARKit coefficients and no others")
                rows[INDEX[home]] = _row(weights)
            for own in mapping.ignore:
                if (home := arkit_name(own)) is not None:
                    rows[INDEX[home]] = 0.0
            rows = _gained(rows, mapping)
        return cls(ARKIT_NAMES, rows)

    @classmethod
    def named(cls, weights: dict[str, dict[str, float]], mapping: MappingFile | None = None) -> Remix:
        """Names of the avatar's own, each a sum; those of `mapping` come on top or instead."""
        table = dict(weights)
        if mapping is not None:
            table |= {name: dict(own) for name, own in mapping.targets.items()}
            for name in mapping.ignore:
                table.pop(name, None)
        rows = np.stack([_row(own) for own in table.values()]) if table else np.zeros((0, COUNT), dtype=np.float32)
        return cls(tuple(table), _gained(rows, mapping) if mapping is not None else rows)

    def __call__(self, coefficients: Array) -> Array:
        """(52,) to (names,), within 0..1."""
        return np.clip(self._rows @ coefficients, 0.0, 1.0)


def _row(weights: object) -> Array:
    row = np.zeros(COUNT, dtype=np.float32)
    for name, weight in dict(weights).items():  # type: ignore[call-overload]
        row[INDEX[name]] = weight
    return row


def _gained(rows: Array, mapping: MappingFile) -> Array:
    gains = np.ones(COUNT, dtype=np.float32)
    for name, gain in mapping.gains.items():
        gains[INDEX[name]] = gain
    return rows * gains
