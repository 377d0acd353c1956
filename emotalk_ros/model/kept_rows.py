"""The frames that a stream's windows have given already."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class KeptRows:
    """Coefficients of the last window: what was given before is not decoded again."""

    rows: Tensor | None = None
    """(B, n, 52) of the last window's frames."""
    decoded: int = 0
    """The stream's frame behind the last of them."""

    def undecoded(self, start: int, size: int) -> int:
        """How many of a window's `size` last frames are to be decoded: the new ones and the one before them, which
        shows how far a change of controls goes.
        """
        known = 0 if self.rows is None else self.decoded - start
        if not 1 < known <= size or self.rows is None or self.rows.shape[1] < known:
            return size
        return size - known + 1

    def given(self, made: Tensor, start: int, size: int) -> Tensor:
        """All rows (B, size, 52) of a window from the last ones, just made."""
        if made.shape[1] < size:
            assert self.rows is not None
            known = size - made.shape[1]
            end = self.rows.shape[1] - (self.decoded - start - known)
            made = torch.cat([self.rows[:, end - known : end], made], 1)
        self.rows, self.decoded = made, start + size
        return made
