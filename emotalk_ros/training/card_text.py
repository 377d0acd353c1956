"""Text of others on a card: names, licences, descriptions and recipes, shown as they are."""

from __future__ import annotations

import html
import re

_MARKUP = re.compile(r"[\\|`*\[\]]")


def plain(text: str) -> str:
    """Text of others for a Markdown page: one line, in which nothing is markup, HTML or a column of a table."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def fenced(text: str, language: str = "") -> str:
    """A block of code, fenced by more backticks than the text has in a row: nothing in it ends the block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
