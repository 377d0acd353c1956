"""The page of the paper's table: measured figures beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotalk_ros.reports import html

SHOWN = (
    ("lve_mm", "LVE mm"),
    ("eve_mm", "EVE mm"),
    ("lip_gap_correlation", "lip gap r"),
    ("closure_rate_tight", "b p m closed"),
    ("fdd_mm", "FDD mm"),
)


def table_page(found: Mapping[str, Any]) -> str:
    """The table for people."""
    sets = sorted({name for row in found["rows"] for name in row["paper"]}, reverse=True)
    best = {
        key: min((row["figures"][key][0] for row in found["rows"] if row["figures"].get(key)), default=None)
        for key in ("lve_mm", "eve_mm")
    }
    body: list[html.Row] = []
    for row in [*found["rows"], *found["references"]]:
        cells: list[Any] = [row["name"], f"{row['parameters'] / 1e6:.2f} M" if "parameters" in row else ""]
        measured = []
        for key, _ in SHOWN:
            value, low, high = (row["figures"].get(key) or (None, None, None))[:3]
            text = html.with_interval(value, low, high)
            measured.append(html.bold(text) if value is not None and best.get(key) == value else text)
        published = [row.get("paper", {}).get(name) for name in sets]
        cells += measured[:2]
        cells += [entry[key] if entry else None for entry in published for key in ("lve_mm", "eve_mm")]
        body.append(html.Row([*cells, *measured[2:]], "" if "paper" in row else "other"))
    labels = [label for _, label in SHOWN]
    heads = ["", "size", *labels[:2], *(f"{what}, {name}" for name in sets for what in ("LVE", "EVE")), *labels[2:]]
    note = (
        f"Measured on {found['dataset']['clips']} clips of actors held out, whole clips, on the face "
        f"{found['face']!r}; small: 95 % bootstrap interval. LVE and EVE with the name of a data "
        "set are the paper's figures there, on another face: compare the order, not the millimetres."
    )
    facts = [
        html.Fact(f"pairs in the paper's order, {key[:3].upper()}", f"{share:.0%}", "50 % by chance")
        for key, share in found["order"].items()
    ]
    return html.page(
        "The paper's table, rebuilt",
        found["description"],
        facts,
        [html.section("LVE and EVE", html.table(heads, body), note=note)],
    )
