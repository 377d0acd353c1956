"""What a check found: one line each, with what helps. Imports no ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """How it stands."""

    ok = "ok"
    note = "note"
    """Worth knowing; nothing is wrong by itself."""
    trouble = "trouble"
    skipped = "not looked at"


@dataclass(frozen=True)
class Finding:
    """One line of a check: what was looked at, how it stands, and the remedy where something is wrong."""

    subject: str
    state: State
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, State.ok, text)


def note(subject: str, text: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(subject, State.note, text, remedy)


def trouble(subject: str, text: str, remedy: str) -> Finding:
    """Something is wrong, and this helps."""
    return Finding(subject, State.trouble, text, remedy)


def skipped(subject: str, why: str, remedy: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(subject, State.skipped, why, remedy)
