"""What a run says while it runs: a line of JSON a log step, TensorBoard, a progress bar (or lines) on the terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from emotalk_ros.files import write_text, writing
from emotalk_ros.terminal import Terminal, text_column


class RunLog:
    """Log of one process; on all but the main one (`active` false) every call does nothing."""

    def __init__(self, folder: Path, steps: int, start: int, active: bool, console: Console | None = None) -> None:
        self.active = active
        self.steps = steps
        self._path = folder / "log.jsonl"
        self._began, self._first = time.monotonic(), start
        if not active:
            return
        self.console = console or Terminal(stderr=True)
        _truncate(self._path, start)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (kept open for the run)
        self._board = _Board(folder / "tensorboard", start, self.say)
        self._bar = Progress(
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            text_column("{task.fields[rate]}"),
            TimeElapsedColumn(),
            text_column("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, rate="")

    def __enter__(self) -> RunLog:
        if self.active:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            self._bar.stop()
            self._board.close()
            with writing(self._path):
                self._file.close()

    def advance(self, step: int) -> None:
        """`step` optimiser steps are done."""
        if self.active:
            self._bar.update(self._task, completed=step, rate=f"{self.rate(step):.2f} steps/s")

    def rate(self, step: int) -> float:
        """Steps per second since this run (or its resumption) began."""
        return (step - self._first) / max(time.monotonic() - self._began, 1e-9)

    def record(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One line: `kind` is "train" or "validation"; goes to the file, to TensorBoard and to the terminal."""
        if not self.active:
            return
        with writing(self._path):
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._file.flush()
        self._board.show(step, kind, values)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if kind != "train":
            self.console.print(f"{kind} at step {step}: {shown}")
        elif self.console.is_terminal:
            self._bar.update(self._task, description=f"loss {values['loss']:.4f}")
        else:
            left = (self.steps - step) / max(self.rate(step), 1e-9)
            self.console.print(
                f"step {step}/{self.steps}  {shown}  {self.rate(step):.2f} steps/s  {_clock(left)} left",
                highlight=False,
                soft_wrap=True,
            )

    def say(self, text: str) -> None:
        """A line on the terminal."""
        if self.active:
            self.console.print(text)


class _Board:
    """TensorBoard's file. A run that can't write it goes on without, and says so once."""

    def __init__(self, folder: Path, start: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._writer: Any = None
        self._hook = threading.excepthook
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._say("TensorBoard is not installed: losses go to log.jsonl only (pip install tensorboard)")
            return
        threading.excepthook = self._quiet
        with self._or_without():
            self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def show(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One value a curve."""
        with self._or_without():
            for name, value in values.items():
                if self._writer is not None:
                    self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Finish the file."""
        with self._or_without():
            if self._writer is not None:
                self._writer.close()
        threading.excepthook = self._hook

    @contextmanager
    def _or_without(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            self._say(f"TensorBoard's file can't be written ({error.strerror or error}): losses go to log.jsonl only")

    def _quiet(self, failed: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread raises what `_or_without` gets too."""
        if type(failed.thread).__module__.partition(".")[0] != "tensorboard":
            self._hook(failed)


def read_log(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of one kind of a run's log, in order."""
    path = folder / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [row for row in (json.loads(line) for line in lines if line.endswith("}")) if row["kind"] == kind]


def _truncate(path: Path, step: int) -> None:
    """Forgets lines past `step`: a resumed run writes them again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # torn by a crash
    write_text(path, "".join(kept))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
