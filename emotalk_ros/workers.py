"""Worker processes and Ctrl-C: a terminal sends it to all processes of a command, only the parent shall answer it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children, get_context, resource_tracker
from multiprocessing.pool import Pool
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 10.0
"""Seconds that a worker may take to leave its task when it is told to."""


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
    """A pool of deaf workers, all ended with the block. An exception ends them amid their tasks: then they take away
    what they have half-written.

    Args:
        processes: how many.
        begin: called in each with `arguments` before its first task.
        arguments: see `begin`.
        method: how processes are started, see `multiprocessing`.
    """
    others = set(active_children())
    pool = None
    try:
        with deaf_workers():
            pool = get_context(method).Pool(processes, _begin, (begin, arguments))
        yield pool
    except BaseException:
        if pool is not None:
            with _insisting(set(active_children()) - others):
                pool.terminate()
                pool.join()
        raise
    pool.close()
    pool.join()


@contextmanager
def _insisting(workers: set[BaseProcess]) -> Iterator[None]:
    """Tells workers again to end while the block waits for them, and kills what does not end in `PATIENCE` seconds.

    A signal that reaches a worker just before it begins to wait for its next task is answered only after that wait: the
    first one is not enough.
    """
    done = threading.Event()

    def insist() -> None:
        since = time.monotonic()
        while not done.wait(0.2):
            for worker in workers:
                if worker.exitcode is None:
                    worker.terminate() if time.monotonic() < since + PATIENCE else worker.kill()

    thread = threading.Thread(target=insist, name="end of workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _begin(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    if begin is not None:
        begin(*arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `files.replacing` cleans up
