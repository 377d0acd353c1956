"""The sentences that synthetic speakers say."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def default_sentences() -> tuple[str, ...]:
    """The project's own list (`sentences.txt`): some 330 short English sentences, rich in lip closures."""
    return _parse(files("emotalk_ros.corpus").joinpath("sentences.txt").read_text(encoding="utf-8"))


def read_sentences(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """One sentence a line; empty lines and lines that begin with # are skipped. Raises ValueError when none is
    left.
    """
    found = _parse(Path(path).read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{path}: no sentences (one a line, # begins a comment)")
    return found


def _parse(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
