"""The sentences that synthetic speakers say, in English and in other languages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

ENGLISH = "en"


@dataclass(frozen=True)
class Language:
    """A language other than English: espeak-ng's `voice` for it, and what is said."""

    name: str
    voice: str
    sentences: tuple[str, ...]


@cache
def other_languages() -> dict[str, Language]:
    """By name (`cmn`, `de`, ...): those of `languages.yaml`."""
    read = yaml.safe_load(files("emotalk_ros.corpus").joinpath("languages.yaml").read_text(encoding="utf-8"))
    return {name: Language(name, entry["voice"], tuple(entry["sentences"])) for name, entry in read.items()}


@cache
def longer_sentences() -> dict[str, tuple[str, ...]]:
    """Longer ones by language, English among them: those of `longer_sentences.yaml`."""
    text = files("emotalk_ros.corpus").joinpath("longer_sentences.yaml").read_text(encoding="utf-8")
    return {language: tuple(sentences) for language, sentences in yaml.safe_load(text).items()}


def known_languages() -> tuple[str, ...]:
    """Names of all languages, English first."""
    return (ENGLISH, *other_languages())


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
