"""The HTML page of a report: one file, styles and pictures inside, readable in light and dark, printable.

What it looks like is in `templates/`: `page.html` the frame, `parts.html` the parts (macros), `style.css`. Text is
escaped; what is HTML already is `Markup`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

from emotalk_ros import __version__


@dataclass(frozen=True)
class Fact:
    """A figure on top of the page: what, how much, a word of comparison, and a state: good, warn, bad or none."""

    label: str
    value: str
    detail: str = ""
    state: str = ""


@dataclass(frozen=True)
class Row:
    """A table row: cells are values, text or `Markup`; kind "other" greys it, "group" makes a heading of one cell."""

    cells: Sequence[Any]
    kind: str = ""


def number(value: Any, digits: int = 3) -> Any:
    """A figure for a table: fixed decimals, a dash for what is not known; text stays as it is."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return value if isinstance(value, (int, str)) else f"{value:.{digits}f}"


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("emotalk_ros.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(number=number, zip=zip)
    return templates


def _part(name: str, *values: Any) -> Markup:
    """A macro of parts.html with its arguments."""
    return Markup(getattr(_templates().get_template("parts.html").module, name)(*values).strip())


def page(title: str, subtitle: str, facts: Sequence[Fact], sections: Sequence[str]) -> str:
    """The whole document. `sections` are made by `section`; empty ones are left out."""
    shown = [part for part in sections if part]
    return _templates().get_template("page.html").render(
        title=title, subtitle=subtitle, facts=facts, sections=shown, version=__version__
    )  # fmt: skip


def section(title: str, *content: str, note: str = "", kind: str = "") -> Markup:
    """A card with a heading; `note` is a remark under it."""
    return _part("section", title, content, note, kind)


def problems(items: Sequence[str]) -> Markup:
    """A card that says what was wrong with the data, or nothing."""
    return _part("problems", items)


def note(text: str) -> Markup:
    """A remark in small print."""
    return _part("remark", text)


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup(f"<h3>{escape(text)}</h3>")


def joined(parts: Sequence[str]) -> Markup:
    """Parts under each other."""
    return Markup("").join(parts)


def columns(*blocks: str) -> Markup:
    """Blocks beside each other where the page is wide enough."""
    return _part("columns", blocks)


def table(headers: Sequence[str], rows: Sequence[Row | Sequence[Any]]) -> Markup:
    """A table; floats are shown with three decimals, unknown ones as a dash."""
    return _part("table", headers, [row if isinstance(row, Row) else Row(row) for row in rows])


def confusion(matrix: ArrayLike, labels: Sequence[str], title: str = "Confusion") -> Markup:
    """(L, L) counts, row actual, column predicted, as a table shaded by the share of the row, without empty rows."""
    return _part("confusion", np.asarray(matrix, np.int64).tolist(), list(labels), title)


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> Markup:
    """A figure with its confidence interval in small print."""
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    small = Markup("<small>{} to {}</small>").format(number(low, digits), number(high, digits)) if known else ""
    return escape(number(value, digits)) + small


def bold(text: str) -> Markup:
    """`text` made bold."""
    return Markup("<b>{}</b>").format(text)


def details(summary: str, content: str) -> Markup:
    """Content that opens on a click."""
    return _part("details", summary, content)


def image(data_uri: str, alternative: str) -> Markup:
    """A picture or looping animation given as data URI."""
    return _part("image", data_uri, alternative)


def video(data_uri: str, label: str, poster: str = "") -> Markup:
    """A film with sound given as data URI, shown with controls; `poster` is the picture before it plays."""
    return _part("video", data_uri, label, poster)


def chart_legend(colours: Mapping[str, str]) -> Markup:
    """Name and colour (a CSS colour or a variable of the page) of what a chart shows."""
    return _part("legend", {n: f"var({c})" if c.startswith("--") else c for n, c in colours.items()})


def pictures(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Markup:
    """A grid of pictures (data URIs): a named row each, `heads` above the columns."""
    return _part("pictures", heads, rows)
