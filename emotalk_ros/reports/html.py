"""The HTML page of a report: one file, styles and pictures inside, readable in light and dark, printable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from emotalk_ros import __version__

STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#5c6878;--line:#dfe4ea;--band:#f3f5f8;--wave:#b4bfcd;
--ours:#1f6feb;--reference:#d9730d;--recorded:#7a8698;--good:#1a7f4b;--warn:#b26a00;--bad:#c0392b;
--c1:#1f6feb;--c2:#d9730d;--c3:#1a7f4b;--c4:#8a5bbf;--c5:#c0392b;--c6:#5fa8a0}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#e4e9f0;--soft:#98a4b5;--line:#2c3542;
--band:#202733;--wave:#4a5768;--ours:#5b9dff;--reference:#f0994a;--recorded:#8c98aa;--good:#4cc38a;--warn:#e0a13c;
--bad:#f0695a}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}h1{font-size:27px;margin:0 0 2px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 10px}h3{font-size:15px;margin:18px 0 6px}p{margin:6px 0}.sub,.note{color:var(--soft)}
.note{font-size:13.5px}section{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:18px 20px;margin-top:16px}.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));
gap:12px;margin-top:16px}.fact{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 16px;border-left:4px solid var(--line)}.fact.good{border-left-color:var(--good)}
.fact.warn{border-left-color:var(--warn)}.fact.bad{border-left-color:var(--bad)}
.fact b{display:block;font-size:23px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.fact span{color:var(--soft);font-size:13px}.fact small{display:block;color:var(--soft);font-size:12px}
section.problems{border-color:var(--bad)}section.problems h2{color:var(--bad)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px;width:100%}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);font-weight:600;font-size:13px;
white-space:normal;vertical-align:bottom}
.confusion th.turned{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left!important;padding:4px 6px}
tr.other td,tr.other th{color:var(--soft)}tr.group td{padding-top:14px;font-weight:650;border-bottom-color:var(--soft)}
td.best{font-weight:700}td small{display:block;color:var(--soft);font-size:11px;font-weight:400;line-height:1.2}
table.confusion{width:auto;font-size:12.5px}table.confusion th,table.confusion td{text-align:center;padding:6px 5px;
font-weight:400}
table.confusion th:first-child{text-align:right}table.confusion td.hit{background:color-mix(in srgb,var(--good)
calc(var(--share)*85%),transparent)}table.confusion td.miss{background:color-mix(in srgb,var(--bad)
calc(var(--share)*85%),transparent)}.corner{font-weight:400;color:var(--soft);font-size:12px}
svg.chart{width:100%;height:auto;display:block}.chart text{font-size:12px;fill:var(--ink)}
.chart .tick{fill:var(--soft);font-size:11px}.chart .grid{stroke:var(--line);stroke-width:1}
.chart .axis{stroke:var(--soft)}.chart .band{fill:var(--band);opacity:.75}.wave{fill:var(--wave)}
.line{fill:none;stroke-width:1.7;stroke-linejoin:round}.s-ours{stroke:var(--ours)}
.s-reference{stroke:var(--reference);stroke-width:1.4}.s-recorded{stroke:var(--recorded);stroke-dasharray:4 3}
.s-third{stroke:var(--c3)}.s-fourth{stroke:var(--c4)}
.s-still{stroke:var(--soft);stroke-dasharray:2 3}.bad-mark{stroke:var(--bad);stroke-width:1.5}
.hist{stroke-width:1.5;fill:none}.hist.h0{fill:color-mix(in srgb,var(--ours) 30%,transparent);stroke:var(--ours)}
.hist.h1{stroke:var(--reference)}.hist.h2{stroke:var(--recorded)}.hist.h3{stroke:var(--c3)}.hist.h4{stroke:var(--c4)}
.bar{fill:var(--ours)}.bar.other{fill:var(--wave)}.whisker{stroke:var(--ink);stroke-width:1.6}
.legend{margin:4px 0 0 92px;font-size:13px;color:var(--soft)}.key{margin-right:18px;white-space:nowrap}
.swatch{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.swatch.h0{background:var(--ours)}.swatch.h1{background:var(--reference)}.swatch.h2{background:var(--recorded)}
.swatch.h3{background:var(--c3)}.swatch.h4{background:var(--c4)}
.stroke{display:inline-block;width:22px;height:0;border-top:3px solid;margin-right:6px;vertical-align:4px}
.stroke.s-ours{border-color:var(--ours)}.stroke.s-reference{border-color:var(--reference)}
.stroke.s-recorded{border-color:var(--recorded);border-top-style:dashed}.stroke.s-still{border-color:var(--soft)}.stroke.s-third{border-color:var(--c3)}.stroke.s-fourth{border-color:var(--c4)}
.media{display:block;max-width:100%;border-radius:8px;margin:8px auto}.two{display:grid;gap:16px;
grid-template-columns:repeat(auto-fit,minmax(380px,1fr))}details{margin-top:8px}summary{cursor:pointer;color:var(--soft)}
footer{color:var(--soft);font-size:13px;margin-top:26px}code{background:var(--band);padding:1px 5px;border-radius:4px}
@media print{body{background:#fff}section,.fact{break-inside:avoid}}
"""


@dataclass(frozen=True)
class Fact:
    """A figure on top of the page: what, how much, a word of comparison, and a state: good, warn, bad or none."""

    label: str
    value: str
    detail: str = ""
    state: str = ""


def page(title: str, subtitle: str, facts: Sequence[Fact], sections: Sequence[str]) -> str:
    """The whole document. `sections` are HTML made by `section`."""
    cards = "".join(
        f'<div class="fact {f.state}"><span>{escape(f.label)}</span><b>{escape(f.value)}</b>'
        f"<small>{escape(f.detail)}</small></div>"
        for f in facts
    )
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="sub">{escape(subtitle)}</p><div class="facts">{cards}</div>{"".join(sections)}'
        f"<footer>Made by emotalk_ros {__version__}. Everything shown is inside this file.</footer>"
        "</main></body></html>\n"
    )


def section(title: str, *content: str, note: str = "", kind: str = "") -> str:
    """A card with a heading; `note` is a remark under it."""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{remark}{"".join(content)}</section>'


def problems(items: Sequence[str]) -> str:
    """What was wrong with the data, or nothing."""
    if not items:
        return ""
    body = "".join(f"<li>{escape(item)}</li>" for item in items)
    return section("Incomplete data", f"<ul>{body}</ul>", note="The report covers what could be read.", kind="problems")


def number(value: Any, digits: int = 3) -> str:
    """A figure for a table: fixed decimals, a dash for what is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return str(value) if isinstance(value, (int, str)) else f"{value:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """A table row: cells are text or already escaped HTML (`Html`); kind "other" greys it, "group" makes a heading."""

    cells: Sequence[Any]
    kind: str = ""


class Html(str):
    """Text that is HTML already."""


def table(headers: Sequence[str], rows: Sequence[Row | Sequence[Any]]) -> str:
    """An HTML table; floats are shown with three decimals, unknown ones as a dash."""
    head = "".join(f"<th>{escape(h)}</th>" for h in headers)
    body = []
    for row in rows:
        row = row if isinstance(row, Row) else Row(row)
        cells = "".join(f"<td>{c if isinstance(c, Html) else escape(number(c))}</td>" for c in row.cells)
        if row.kind == "group":
            cells = f'<td colspan="{len(headers)}">{escape(str(row.cells[0]))}</td>'
        body.append(f'<tr class="{row.kind}">{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> Html:
    """A figure with its confidence interval in small print."""
    text = escape(number(value, digits))
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Html(text)
    return Html(f"{text}<small>{low:.{digits}f} to {high:.{digits}f}</small>")


def details(summary: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def image(data_uri: str, alternative: str) -> str:
    """A picture or looping animation given as data URI."""
    return f'<img class="media" src="{data_uri}" alt="{escape(alternative)}">'


def video(data_uri: str, label: str, poster: str = "") -> str:
    """A film with sound given as data URI, shown with controls; `poster` is the picture before it plays."""
    attributes = f'src="{data_uri}" poster="{poster}" aria-label="{escape(label)}"'
    return f'<video class="media" controls loop playsinline {attributes}></video>'
