"""What commands print: as it is. A file called `x[red].wav` or `x[/b].csv`, or whose name is not UTF-8, is shown so.

rich reads square brackets in what it prints as markup, and a stream refuses the stand-ins that Python puts for bytes
that are no UTF-8. Every line that a command prints goes through a `Terminal`, which knows neither.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text

LABELS = {"error:": "red", "problem": "red"}
"""Colours of the labels that are not yellow."""


def readable(text: str) -> str:
    """`text` with a replacement character for every byte of a file name that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def any_name(stream: Any = None) -> None:
    """Have the standard streams (or `stream`) show names that are not UTF-8 instead of failing."""
    for one in (sys.stdout, sys.stderr) if stream is None else (stream,):
        if isinstance(one, io.TextIOWrapper):
            one.reconfigure(errors="backslashreplace")


class Terminal(Console):
    """rich's console without markup; lines of text are not broken.

    Args:
        stderr: print to the standard error stream.
        options: of rich's Console.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, with every string taken as it is."""
        if all(isinstance(item, (str, Text)) for item in objects):
            options.setdefault("soft_wrap", True)
        super().print(*(readable(item) if isinstance(item, str) else item for item in objects), **options)

    def label(self, label: str, text: object) -> None:
        """A line that begins with a coloured word, as `error: ...`."""
        self.print(Text.assemble((label, LABELS.get(label, "yellow")), " ", readable(str(text))))

    def replaces(self, *paths: Path) -> None:
        """Tell which of the files and folders about to be written are there already."""
        for path in paths:
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                self.label("note:", f"{path} is there already: it is replaced")


def text_column(template: str) -> TextColumn:
    """A column of a progress bar that shows its text as it is."""
    return TextColumn(template, markup=False)
