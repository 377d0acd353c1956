"""Text that shall be spoken: sentences, and the emotions that are written between them. Imports no ROS."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from emotalk_ros.emotions import canonical

_TAG = re.compile(r"\[\s*([^\[\]]{1,40}?)\s*\]")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True)
class Sentence:
    """A piece of text that is spoken in one go; `emotion`: a label, or None for that of the voice."""

    text: str
    emotion: str | None = None


@dataclass(eq=False)
class SpokenText:
    """A text that waits to be spoken, or is.

    Attributes:
        text: with emotions in brackets.
        language: of the text; empty: the node's.
        volume: factor on the node's.
        rate: factor on the node's.
        ended: called once, from any thread, with whether it was spoken to its end.
        given_up: it shall not be spoken.
    """

    text: str
    language: str = ""
    volume: float = 1.0
    rate: float = 1.0
    ended: Callable[[bool], object] = lambda whole: None
    given_up: bool = False
    _once: threading.Lock = field(default_factory=threading.Lock)

    def end(self, whole: bool) -> None:
        """Tell it once."""
        if self._once.acquire(blocking=False):
            self.ended(whole)


def sentences(text: str, emotion: str | None = None) -> tuple[list[Sentence], list[str]]:
    """The sentences of `text`, and the words in brackets that are no emotion (they are not spoken).

    `[happy]` sets the emotion of what follows, up to the next one; `[voice]` goes back to that of the voice. Before
    the first one it is `emotion`.
    """
    found: list[Sentence] = []
    unknown: list[str] = []
    pieces = _TAG.split(text)
    for tag, piece in zip([None, *pieces[1::2]], pieces[::2], strict=True):
        if tag == "voice":
            emotion = None
        elif tag is not None:
            try:
                emotion = canonical(tag)
            except ValueError:
                unknown.append(tag)
        words = (part.strip() for part in _SENTENCE.split(piece))
        found += [Sentence(part, emotion) for part in words if re.search(r"\w", part)]
    return found, unknown
