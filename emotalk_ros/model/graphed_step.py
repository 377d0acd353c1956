"""A network's step on a GPU: batches of fixed sizes, and a CUDA graph for each form that comes again.

The kernels of a small network are over before the next one is launched; a graph launches them all at once. It replays
one form of input at fixed places in memory, so batches are padded to powers of two and inputs are copied to where the
graph reads them. Forms that come seldom are not worth a graph and are computed as they come.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)

Step = Callable[..., tuple[Tensor, ...]]
Capture = Callable[[Step, Sequence[Tensor]], Callable[[], tuple[Tensor, ...]]]
"""Makes of a step and the tensors that it always reads what runs it again and gives its outputs."""

AFTER = 3
"""How often a form has to come before it is captured."""
MOST = 32
"""Forms that are captured; more are computed as they come."""


def padded_size(count: int) -> int:
    """The power of two that is not below: batches of few sizes, at most half of them empty."""
    return 1 << max(0, count - 1).bit_length()


def cuda_graph(step: Step, static: Sequence[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """Captures `step` over the tensors `static`, on their CUDA device."""
    with torch.cuda.device(static[0].device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries choose their kernels and reserve memory before
            for _ in range(2):
                step(*static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = step(*static)

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return outputs

    return replay


class GraphedStep:
    """Runs a step that may write into its inputs.

    Args:
        step: from tensors to tensors; the same kernels for the same shapes.
        capture: see `Capture`.
    """

    def __init__(self, step: Step, capture: Capture = cuda_graph) -> None:
        self._step, self._capture = step, capture
        self._seen: Counter[Any] = Counter()
        self._captured: dict[Any, tuple[list[Tensor], Callable[[], tuple[Tensor, ...]]]] = {}
        self._works = True

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Sequence[Tensor]]:
        """The outputs, and the inputs as they are after it, in the same order; both are good until the next call."""
        form = tuple(tuple(each.shape) for each in tensors)
        if form not in self._captured and not self._worth(form, tensors):
            return self._step(*tensors), tensors
        static, replay = self._captured[form]
        for place, each in zip(static, tensors, strict=True):
            place.copy_(each, non_blocking=True)
        return replay(), static

    def _worth(self, form: Any, tensors: Sequence[Tensor]) -> bool:
        """Whether the form has been captured now."""
        self._seen[form] += 1
        if not self._works or self._seen[form] <= AFTER or len(self._captured) >= MOST:
            return False
        static = [each.detach().clone(memory_format=torch.contiguous_format) for each in tensors]
        try:
            self._captured[form] = (static, self._capture(self._step, static))
        except torch.OutOfMemoryError:
            self._captured.clear()  # graphs keep memory of their own; without them a pass may fit
            self._works = False
            raise
        except RuntimeError as error:
            self._works = False
            _LOG.warning("no CUDA graphs, operations are launched one by one: %s", error)
            return False
        return True


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on a device; to a GPU through pinned memory, without waiting for it."""
    values = torch.from_numpy(array)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
