"""The batches of coming steps, made while the present one is computed: in a thread, or in processes of their own.

A step's batches depend on nothing but its number, so who makes them changes nothing but the time it takes. One thread
keeps up with a CPU; a GPU that works off a step in hundredths of a second needs several processes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import torch
from torch.utils.data import DataLoader, Dataset

from emotalk_ros.training.data import Batch

MakeBatches = Callable[[int], list[Batch]]
"""From the number of a step to its batches, one per accumulation part."""

_AHEAD = 2
"""Steps that each process is ahead."""


@contextmanager
def batches_ahead(make: MakeBatches, steps: range, workers: int = 0) -> Iterator[Iterator[list[Batch]]]:
    """Inside the block: an iterator over `make(step)` for each of `steps`, in order.

    `workers` 0 makes them in one thread, a step ahead; else in so many forked processes, which end with the block and
    leave Ctrl-C to their parent. What `make` raises is raised where its step is due.
    """
    if workers == 0:
        with ThreadPoolExecutor(1) as pool, closing(_from_thread(make, steps, pool)) as batches:
            yield batches
        return
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=_AHEAD,
        worker_init_fn=_start_worker,
        multiprocessing_context="fork",  # the clips decoded so far are shared, not copied
    )
    with closing(_from_processes(loader)) as batches:
        yield batches


def _from_processes(loader: DataLoader[list[Batch]]) -> Generator[list[Batch], None, None]:
    yield from loader  # its processes end with the iterator, which only this frame holds


def _from_thread(make: MakeBatches, steps: range, pool: ThreadPoolExecutor) -> Generator[list[Batch], None, None]:
    if not steps:
        return
    coming = pool.submit(make, steps[0])
    try:
        for step in steps:
            made = coming.result()
            if step + 1 in steps:
                coming = pool.submit(make, step + 1)
            yield made
    finally:
        coming.cancel()


class _Steps(Dataset[list[Batch]]):
    """Steps as torch's loader asks for them: item k is step k."""

    def __init__(self, make: MakeBatches) -> None:
        self.make = make

    def __getitem__(self, step: int) -> list[Batch]:
        return self.make(step)


def _as_it_is(batches: list[Batch]) -> list[Batch]:
    return batches


def _start_worker(number: int) -> None:
    # Ctrl-C is the parent's, which finishes its step and then ends the block; SIGTERM is how torch's loader ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
