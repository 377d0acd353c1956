"""Worker processes and Ctrl-C: a terminal sends it to all processes of a command, only the parent shall answer it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.pool import Pool
from typing import Any


@contextmanager
def deaf_workers() -> Iterator[None]:
    """Processes that are started inside the block do not hear Ctrl-C, not even while they still import their modules.

    They inherit that SIGINT is blocked. Ctrl-C that comes inside the block is answered at its end.
    """
    resource_tracker.ensure_running()  # started in the block, it would unblock what we block
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    came: list[int] = []  # through another thread, which does not block it
    ours = threading.current_thread() is threading.main_thread()
    answer = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if ours else None
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler if answer is None else answer)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def worker_pool(
    processes: int, begin: Callable[..., object] | None = None, arguments: tuple[Any, ...] = (), method: str = "spawn"
) -> Iterator[Pool]:
    """A pool of deaf workers, all ended with the block; they take away what they have half-written then.

    Args:
        processes: how many.
        begin: called in each with `arguments` before its first task.
        arguments: see `begin`.
        method: how processes are started, see `multiprocessing`.
    """
    pool = None
    try:
        with deaf_workers():
            pool = get_context(method).Pool(processes, _begin, (begin, arguments))
        yield pool
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()


def _begin(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    if begin is not None:
        begin(*arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `files.replacing` cleans up
