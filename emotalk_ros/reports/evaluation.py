"""The HTML of an evaluation: who is better, by how much, how sure, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotalk_ros.evaluation.evaluate import Evaluation, find, shown_mode
from emotalk_ros.evaluation.measure import ENERGY, MEASURED, STILL
from emotalk_ros.evaluation.metrics.spread import CAPTURED
from emotalk_ros.reports import charts, html

FIGURES = (
    ("lve_mm", "LVE mm", 3),
    ("eve_mm", "EVE mm", 3),
    ("mve_mm", "mean vertex mm", 3),
    ("lip_gap_correlation", "lip gap r", 3),
    ("jaw_correlation", "jaw r", 3),
    ("best_lag_s", "best lag s", 3),
    ("closure_rate", "b p m closed", 2),
    ("closure_rate_tight", "to a fifth", 2),
    ("closure_rate_in_speech", "in speech", 2),
    ("closure_rate_full", "full", 3),
    ("false_closure_rate", "false", 3),
    ("lip_gap_spread", "spread", 2),
    ("fdd_mm", "FDD mm", 3),
    ("lip_jitter_m_s3", "jitter m/s³", 1),
)
LOWER = frozenset({"lve_mm", "eve_mm", "mve_mm"})
HIGHER = frozenset({"lip_gap_correlation", "jaw_correlation", "closure_rate", "closure_rate_tight"})
REFERENCE_ROWS = (STILL, ENERGY, MEASURED)


def evaluation_page(name: str, result: Evaluation, example: str = "") -> str:
    """The document; `example` is a ready section with a face and curves of one clip."""
    found = result.findings
    emotions_only = not any("lip_gap_correlation" in row["figures"] for row in found["rows"])
    sections = [
        html.problems(result.failed),
        _recognition(found) if emotions_only else "",
        _main_table(found),
        _bars(found),
        _widths(found),
        example,
        "" if emotions_only else _recognition(found),
        _groups(found, "emotion", "By emotion"),
        _errors(result),
        _groups(found, "actor", "By actor"),
        _origin(found),
    ]
    data = found["dataset"]
    subtitle = f"{data['clips']} clips ({data['kind']}); face: {found['face']}"
    return html.page(f"Evaluation on {name}", subtitle, _facts(found), sections)


def _value(figures: Mapping[str, Any], key: str) -> float:
    value = figures.get(key)
    return math.nan if value is None else float(value[0])


def _facts(found: Mapping[str, Any]) -> list[html.Fact]:
    facts = []
    name = next(iter(found["models"]))
    mode = shown_mode(found)
    mine = find(found, name, mode)
    for key, label, unit, better in (
        ("lve_mm", f"LVE {mode}", " mm", min),
        ("lip_gap_correlation", f"lip gap r {mode}", "", max),
        ("closure_rate_tight", "b p m closed to a fifth", "", max),
    ):
        value = _value(mine, key)
        if math.isnan(value):
            continue
        others = {row: _value(find(found, row, ""), key) for row in (STILL, ENERGY)}
        known = [v for v in others.values() if not math.isnan(v)]
        ahead = all(better(value, v) == value for v in known)
        text = ", ".join(f"{row} {html.number(v, 2)}" for row, v in others.items())
        facts.append(html.Fact(f"{label} ({name})", f"{value:.2f}{unit}", text, "good" if ahead else "warn"))
    for entry in found["recognition"]:
        if entry["model"] == name and entry["mode"] == mode:
            text = f"chance {entry['chance_uar']:.3f}; arousal {entry['arousal'][0]:.2f}"
            state = "good" if entry["uar"] > 2 * entry["chance_uar"] else "warn"
            facts.append(html.Fact(f"emotion recall ({name})", f"{entry['uar']:.2f}", text, state))
    facts.append(html.Fact("clips", str(found["dataset"]["clips"]), f"{len(found['dataset']['failed'])} unreadable"))
    return facts


def _rows(found: Mapping[str, Any], group: str) -> list[tuple[str, str, Mapping[str, Any], int]]:
    return [(r["row"], r["mode"], r["figures"], r["clips"]) for r in found["rows"] if r["group"] == group]


def _present(rows: Sequence[tuple[str, str, Mapping[str, Any], int]]) -> list[tuple[str, str, int]]:
    return [f for f in FIGURES if any(not math.isnan(_value(figures, f[0])) for _, _, figures, _ in rows)]


def _main_table(found: Mapping[str, Any]) -> str:
    rows = _rows(found, "all")
    shown = _present(rows)
    best: dict[str, float] = {}
    for key, _, _ in shown:
        values = [_value(f, key) for name, _, f, _ in rows if name not in REFERENCE_ROWS]
        values = [v for v in values if not math.isnan(v)]
        if values and len(values) > 1 and key in LOWER | HIGHER:
            best[key] = min(values) if key in LOWER else max(values)
    table = []
    for name, mode, figures, _ in rows:
        cells: list[Any] = [name, mode]
        for key, _, digits in shown:
            value = _value(figures, key)
            low, high = (figures.get(key) or (None, None, None))[1:3]
            text = html.with_interval(None if math.isnan(value) else value, low, high, digits)
            cells.append(html.bold(text) if best.get(key) == value else text)
        table.append(html.Row(cells, "other" if name in REFERENCE_ROWS else ""))
    note = (
        "Mean over clips; small: 95 % bootstrap interval (whole actors drawn where there are several). LVE, EVE: "
        "largest vertex error of lips, of eyes and forehead. b p m closed: the gap falls to the smallest 20 % of the "
        "clip; to a fifth of its wide opening; to the smallest 20 % of its speech. Where a clip holds much silence, "
        "even measured lips miss the first. Full: below half a millimetre; false: frames closed so where the reference "
        "is open by 3 mm. Spread: standard deviation of the lip gap over the reference's."
    )
    return html.section("Results", html.table(["", "", *(label for _, label, _ in shown)], table), note=note)


def _bars(found: Mapping[str, Any]) -> str:
    rows = _rows(found, "all")
    parts = []
    for key, label, _ in FIGURES:
        if key not in ("lve_mm", "eve_mm", "lip_gap_correlation", "closure_rate_tight"):
            continue
        bars = []
        for name, mode, figures, _ in rows:
            value = figures.get(key)
            if value is not None and value[0] is not None:
                low, high = (math.nan if v is None else float(v) for v in value[1:3])
                bars.append((f"{name} {mode}".strip(), float(value[0]), low, high))
        if [b for b in bars if math.isfinite(b[1])]:
            parts.append(html.heading(label) + charts.bars(bars, "", label, REFERENCE_ROWS, 520.0))
    return html.section("How sure", html.columns(*parts)) if parts else ""


def _widths(found: Mapping[str, Any]) -> str:
    """How far the mouth moves, beside a captured one."""
    entries = found["distribution"]
    if not entries:
        return ""
    heads = [f"{entry['model']} {entry['mode']}" for entry in entries]
    rows = []
    for name, captured in CAPTURED.items():
        cells: list[Any] = [name]
        for entry in entries:
            cells.append(widths_text(entry["percentiles"][name], entry["near_captured"][name]))
        rows.append([*cells, widths_text(captured)])
    note = (
        "The median, 90th and 99th percentile over all frames of all clips; captured: an iPhone's, of one person "
        "reading another text aloud. With *: not within a quarter of it."
    )
    return html.section("How far the mouth moves", html.table(["", *heads, "captured"], rows), note=note)


def widths_text(values: Sequence[float], near: Sequence[bool] = (True, True, True)) -> str:
    """Percentiles in one cell; those that are not near get a star."""
    return "  ".join(f"{value:.2f}{'' if good else '*'}" for value, good in zip(values, near, strict=True))


def _recognition(found: Mapping[str, Any]) -> str:
    entries = found["recognition"]
    if not entries:
        return ""
    rows = [
        [
            e["model"],
            e["mode"],
            e["heard_by"],
            e["clips"],
            e["uar"],
            e["uar_of_present"],
            e["accuracy"],
            html.with_interval(e["arousal"][0], e["arousal"][1], e["arousal"][2], 2),
            e["arousal_balanced"],
            e["calibration_error"],
            e["chance_uar"],
        ]
        for e in entries
    ]
    head = [
        "", "", "heard by", "clips", "UAR", "UAR of labels present", "accuracy", "arousal", "arousal balanced",
        "calibration error", "chance UAR",
    ]  # fmt: skip
    matrices = [
        html.heading(f"{e['model']}, {e['mode']}") + html.confusion(e["confusion"], e["labels"]) for e in entries
    ]
    note = (
        "UAR: unweighted average recall. Arousal: happy, angry, fearful, surprised against the rest. Speaker known: an "
        "ear that had heard the speaker's other clips. Calibration error: how far the probability of what was heard "
        "is from how often that is right."
    )
    return html.section("Emotions recognised", html.table(head, rows), html.columns(*matrices), note=note)


def _groups(found: Mapping[str, Any], key: str, title: str) -> str:
    groups = [g for g in dict.fromkeys(r["group"] for r in found["rows"]) if g.startswith(f"{key}=")]
    if not groups:
        return ""
    shown = [f for f in _present(_rows(found, "all")) if f[0] not in ("mve_mm", "fdd_mm", "closure_rate_in_speech")]
    table: list[html.Row] = []
    for group in groups:
        rows = _rows(found, group)
        table.append(html.Row([f"{group.removeprefix(f'{key}=')} ({rows[0][3]} clips)"], "group"))
        for name, mode, figures, _ in rows:
            values = [html.number(_value(figures, k), digits) for k, _, digits in shown]
            table.append(html.Row([name, mode, *values], "other" if name in REFERENCE_ROWS else ""))
    body = html.table(["", "", *(label for _, label, _ in shown)], table)
    return html.section(title, html.details(f"{len(groups)} groups", body) if len(groups) > 10 else body)


def _errors(result: Evaluation) -> str:
    """Distributions over clips of the error that the data allow."""
    parts, mode = [], shown_mode(result.findings)
    for key, label, unit in (
        ("lve_mm", "LVE of each clip", "mm"),
        ("lip_gap_correlation", "Lip gap correlation of each clip", ""),
    ):
        groups: dict[str, Any] = {}
        for clip in result.clips:
            for name, modes in clip["modes"].items():
                groups.setdefault(f"{name} {mode}", []).append(modes[mode]["figures"].get(key))
            for name in (STILL, ENERGY):
                groups.setdefault(name, []).append(clip["rows"].get(name, {}).get(key))
        data = {n: np.array([math.nan if v is None else v for v in values]) for n, values in groups.items()}
        data = {n: v for n, v in data.items() if np.isfinite(v).sum() > 1}
        if data:
            parts += [html.heading(label), charts.histogram(data, unit, title=label)]
    return html.section("Distribution over clips", *parts) if parts else ""


def _origin(found: Mapping[str, Any]) -> str:
    models = []
    for name, model in found["models"].items():
        settings = model["settings"]
        models.append(
            [
                name,
                model["type"],
                f"{model['parameters'] / 1e6:.2f} M",
                settings["hop_s"],
                settings["context_s"],
                settings["lookahead_s"],
                model["digest"],
            ]
        )
    table = html.table(["model", "type", "size", "hop s", "context s", "look-ahead s", "digest"], models)
    data = found["dataset"]
    text = (
        f"Data digest {data['digest']}; {data['skipped']} files without a label or "
        f"partner left out. Style: {found['style']}. Streamed runs use the node's smoothing and rest "
        f"pose, without random blinks. Bootstrap: {found['bootstrap']['resamples']} draws, "
        f"seed {found['bootstrap']['seed']}."
    )
    return html.section("Where this comes from", table, html.note(text))
