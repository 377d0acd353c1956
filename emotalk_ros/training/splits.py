"""Actor-disjoint splits, kept in a file: no voice that is validated or tested on is ever trained on.

An actor is `source:actor` of the manifest (`ravdess:4`); a file may also list bare actor numbers, which then mean that
actor of every source, and `source:*` for all actors of a source. Without a file the actors are drawn by a hash of their
names, so that the same actor lands on the same side in every run, on every machine, whatever else is trained on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from emotalk_ros.corpus.store import Record
from emotalk_ros.files import write_text
from emotalk_ros.settings_files import read_yaml

SIDES = ("train", "validation", "test")


class SplitError(ValueError):
    """A split file cannot be used; the message names it and the entry."""


@dataclass(frozen=True)
class Split:
    """Which actors are trained on, validated and tested on (`source:actor`, or bare numbers as text)."""

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str] = frozenset()

    def side(self, record: Record) -> str | None:
        """ "train", "validation" or "test"; None for an actor that the split does not name."""
        names = (actor_key(record), str(record.actor), f"{record.source}:*")
        for side in SIDES:
            if any(name in getattr(self, side) for name in names):
                return side
        return None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the YAML file that `read_split` reads."""
        data = {side: sorted(getattr(self, side), key=_natural) for side in SIDES}
        write_text(path, "# Actors (source:actor) of each side.\n" + yaml.safe_dump(data, sort_keys=False))


def actor_key(record: Record) -> str:
    """`source:actor`, the name of a voice over all corpora."""
    return f"{record.source}:{record.actor}"


def read_split(path: str | os.PathLike[str]) -> Split:
    """Reads a split file. Raises SplitError when it is no mapping of the three sides or names an actor twice."""
    raw = read_yaml(Path(path), SplitError)
    if not set(raw) <= set(SIDES) or "train" not in raw:
        raise SplitError(f"{path}: must map {', '.join(SIDES)} to lists of actors")
    sides = {side: frozenset(str(a) for a in raw.get(side) or ()) for side in SIDES}
    seen: dict[str, str] = {}
    for side, actors in sides.items():
        for actor in actors:
            if actor in seen:
                raise SplitError(f"{path}: actor {actor} is in {seen[actor]} and in {side}")
            seen[actor] = side
    return Split(**sides)


def draw_split(records: Iterable[Record], validation_share: float, test_share: float, seed: int = 0) -> Split:
    """Draws whole actors for validation and test, at least one each where the share is not 0 and actors suffice."""
    actors = sorted({actor_key(r) for r in records}, key=lambda a: hashlib.sha256(f"{seed}:{a}".encode()).digest())
    spare = max(0, len(actors) - 1)
    validation = min(spare, max(1, round(len(actors) * validation_share)) if validation_share > 0 else 0)
    test = min(spare - validation, max(1, round(len(actors) * test_share)) if test_share > 0 else 0)
    return Split(
        train=frozenset(actors[validation + test :]),
        validation=frozenset(actors[:validation]),
        test=frozenset(actors[validation : validation + test]),
    )


def _natural(actor: str) -> tuple[str, int]:
    source, _, number = actor.rpartition(":")
    return source, int(number) if number.lstrip("-").isdigit() else 0
