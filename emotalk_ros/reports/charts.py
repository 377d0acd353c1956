"""Charts as inline SVG, drawn by hand: no script, no font, nothing to fetch, sharp at any zoom.

Colours are CSS variables of the page (`report_html.STYLE`), so that the charts follow light and dark.
All functions are pure: equal arguments give equal text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH = 1000.0
"""Width of every chart in SVG units; the page scales it."""
LEFT, RIGHT = 92.0, 12.0

EMOTION_COLOURS: dict[str, str] = {
    "neutral": "#8b95a5",
    "calm": "#5fa8a0",
    "happy": "#e8b023",
    "sad": "#4a74c9",
    "angry": "#d1493f",
    "fearful": "#8a5bbf",
    "disgust": "#6f9a3c",
    "surprised": "#e07fb0",
}
"""A colour for each home emotion; other labels take `--c4` and so on in turn."""


@dataclass(frozen=True)
class Series:
    """A curve: times (n,) in seconds, values (n,), a name for the legend, a CSS class (`s-ours`, `s-reference`, ...).

    NaN breaks the curve.
    """

    name: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    kind: str = "s-ours"


@dataclass(frozen=True)
class Band:
    """A row of a time chart: its label, its curves and the value range shown (None: from the curves)."""

    label: str
    series: Sequence[Series]
    low: float | None = 0.0
    high: float | None = None
    height: float = 54.0
    marks: Sequence[tuple[float, str]] = field(default=())


def _number(value: float) -> str:
    """At most two decimals, no trailing zeros, no minus zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def nice_step(span: float, target: int = 8) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides `span` into about `target` parts."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    raw = span / target
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)


def _x(time: float, start: float, end: float) -> float:
    return LEFT + (time - start) / max(end - start, 1e-9) * (WIDTH - LEFT - RIGHT)


def _svg(height: float, body: Sequence[str], title: str, width: float = WIDTH) -> str:
    head = (
        f'<svg class="chart" viewBox="0 0 {_number(width)} {_number(height)}" role="img" aria-label="{escape(title)}">'
    )
    return "".join([head, f"<title>{escape(title)}</title>", *body, "</svg>"])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<text {place} text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _time_axis(start: float, end: float, top: float, bottom: float, labels: bool) -> list[str]:
    step = nice_step(end - start)
    parts = []
    for n in range(math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9) + 1):
        x = _number(_x(n * step, start, end))
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_number(top)}" y2="{_number(bottom)}"/>')
        if labels:
            parts.append(_text(float(x), bottom + 14, f"{_number(n * step)} s", "tick", "middle"))
    return parts


def polyline(series: Series, start: float, end: float, low: float, high: float, top: float, height: float) -> str:
    """The curve as one path, thinned to what the width can show (extremes of each column kept), broken at NaN."""
    inside = (series.times >= start - 0.1) & (series.times <= end + 0.1)
    times, values = np.asarray(series.times)[inside], np.asarray(series.values)[inside]
    times, values = _thinned(times, values, 2 * int(WIDTH))
    commands, pen_down = [], False
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        if not math.isfinite(value):
            pen_down = False
            continue
        y = top + height - (min(max(value, low), high) - low) / max(high - low, 1e-9) * height
        commands.append(f"{'L' if pen_down else 'M'}{_number(_x(time, start, end))} {_number(y)}")
        pen_down = True
    return f'<path class="line {series.kind}" d="{"".join(commands)}"/>' if commands else ""


def _thinned(
    times: NDArray[np.float64], values: NDArray[np.float64], columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(times) <= 2 * columns:
        return times, values
    keep: list[int] = []
    for part in np.array_split(np.arange(len(times)), columns):
        finite = part[np.isfinite(values[part])]
        keep += (
            [int(part[0])]
            if not len(finite)
            else sorted({int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])})
        )
    return times[keep], values[keep]


def waveform(audio: ArrayLike, rate: float, start: float, end: float, top: float, height: float) -> str:
    """Audio (n,) from `start` to `end` seconds as the envelope of its extremes in each column."""
    samples = np.asarray(audio, dtype=np.float64)
    first, last = max(int(start * rate), 0), min(math.ceil(end * rate), len(samples))
    part = samples[first:last]
    if not len(part):
        return ""
    columns = min(int(WIDTH), len(part))
    edges = np.linspace(0, len(part), columns + 1).astype(int)
    scale = max(float(np.abs(samples).max()), 1e-3)
    upper = np.maximum.reduceat(part, edges[:-1]) / scale
    lower = np.minimum.reduceat(part, edges[:-1]) / scale
    middle, half = top + height / 2, height / 2
    x = [_x(start + (edge + 0.5) / rate, start, end) for edge in edges[:-1]]
    forth = [f"{_number(a)} {_number(middle - u * half)}" for a, u in zip(x, upper.tolist(), strict=True)]
    back = [f"{_number(a)} {_number(middle - v * half)}" for a, v in zip(x[::-1], lower[::-1].tolist(), strict=True)]
    return f'<path class="wave" d="M{"L".join(forth + back)}Z"/>'


def time_chart(
    bands: Sequence[Band],
    start: float,
    end: float,
    audio: ArrayLike | None = None,
    rate: float = 16000.0,
    title: str = "Coefficients over time",
) -> str:
    """Bands above each other on one time axis, the waveform (if given) on top."""
    body, y = [], 6.0
    if audio is not None:
        body += [_text(LEFT - 8, y + 27, "audio", "label", "end"), waveform(audio, rate, start, end, y, 46)]
        y += 54
    top = y
    rows = []
    for band in bands:
        low, high = band_range(band)
        rows.append(
            f'<rect class="band" x="{LEFT}" y="{_number(y)}" width="{WIDTH - LEFT - RIGHT}" height="{band.height}"/>'
        )
        rows.append(_text(LEFT - 8, y + band.height / 2 + 4, band.label, "label", "end"))
        rows.append(_text(WIDTH - RIGHT - 3, y + 10, _number(high), "tick", "end"))
        rows += [polyline(s, start, end, low, high, y + 3, band.height - 6) for s in band.series]
        for time, kind in band.marks:
            x = _number(_x(time, start, end))
            rows.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_number(y)}" y2="{_number(y + band.height)}"/>')
        y += band.height + 6
    body += _time_axis(start, end, 6 if audio is None else top - 48, y - 4, labels=True)
    return _svg(y + 18, [*body, *rows], title)


def band_range(band: Band) -> tuple[float, float]:
    """(low, high) shown: what the band asks for, else the curves' extremes with a little air."""
    values = np.concatenate([np.asarray(s.values, np.float64) for s in band.series] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    low = band.low if band.low is not None else float(values.min(initial=0.0))
    high = band.high if band.high is not None else max(float(values.max(initial=0.0)) * 1.08, low + 0.05)
    return low, high


def legend(series: Sequence[Series]) -> str:
    """Names and strokes of the curves, each once."""
    seen = {s.name: s.kind for s in series}
    items = "".join(
        f'<span class="key"><i class="stroke {kind}"></i>{escape(name)}</span>' for name, kind in seen.items()
    )
    return f'<div class="legend">{items}</div>'


def emotion_colour(label: str, index: int = 0) -> str:
    """The colour of a label, the same in every chart."""
    from emotalk_ros.emotions import SYNONYMS

    home = SYNONYMS.get(label, label)
    return EMOTION_COLOURS.get(home) or f"var(--c{index % 6 + 1})"


def emotion_timeline(
    times: ArrayLike, probabilities: ArrayLike, labels: Sequence[str], start: float, end: float
) -> str:
    """Probabilities (T, L) stacked over time: which emotion was heard, and how sure."""
    t, p = np.asarray(times, np.float64), np.asarray(probabilities, np.float64)
    if len(t) > 700:
        keep = np.linspace(0, len(t) - 1, 700).round().astype(int)
        t, p = t[keep], p[keep]
    height, top = 120.0, 6.0
    edges = np.concatenate(
        [np.zeros((len(p), 1)), np.cumsum(p / np.maximum(p.sum(axis=1, keepdims=True), 1e-9), axis=1)], axis=1
    )
    body = [_text(LEFT - 8, top + height / 2, "emotion", "label", "end")]
    x = [_number(_x(v, start, end)) for v in t.tolist()]
    for k, label in enumerate(labels):
        lower = [f"{a} {_number(top + height * (1 - e))}" for a, e in zip(x, edges[:, k].tolist(), strict=True)]
        upper = [f"{a} {_number(top + height * (1 - e))}" for a, e in zip(x, edges[:, k + 1].tolist(), strict=True)]
        colour = emotion_colour(label, k)
        body.append(
            f'<path fill="{colour}" d="M{"L".join(upper + lower[::-1])}Z"><title>{escape(label)}</title></path>'
        )
    body += _time_axis(start, end, top, top + height, labels=True)
    keys = "".join(
        f'<span class="key"><i class="swatch" style="background:{emotion_colour(label, k)}"></i>{escape(label)}</span>'
        for k, label in enumerate(labels)
    )
    return _svg(top + height + 20, body, "Emotion over time") + f'<div class="legend">{keys}</div>'


def histogram(
    groups: Mapping[str, ArrayLike], unit: str, bins: int = 36, title: str = "Histogram", high: float | None = None
) -> str:
    """Distributions of one quantity side by side: name to values; filled for the first, outlined for the rest."""
    data = {name: np.asarray(v, np.float64)[np.isfinite(np.asarray(v, np.float64))] for name, v in groups.items()}
    data = {name: v for name, v in data.items() if len(v)}
    if not data:
        return '<p class="note">nothing to show</p>'
    top_value = high or max(float(np.quantile(v, 0.995)) for v in data.values())
    low = min(0.0, *(float(v.min()) for v in data.values()))
    top_value = top_value if top_value > low else low + 1.0
    edges = np.linspace(low, top_value, bins + 1)
    shares = {name: np.histogram(np.clip(v, low, top_value), edges)[0] / len(v) for name, v in data.items()}
    most = max(float(s.max()) for s in shares.values())
    height, top, body = 150.0, 6.0, []
    step = nice_step(top_value - low)
    for n in range(math.ceil(low / step - 1e-9), math.floor(top_value / step + 1e-9) + 1):
        x = _x(n * step, low, top_value)
        body.append(_text(x, top + height + 14, f"{_number(n * step)} {unit}", "tick", "middle"))
    for k, (name, share) in enumerate(shares.items()):
        points = []
        for a, b, value in zip(edges[:-1].tolist(), edges[1:].tolist(), share.tolist(), strict=True):
            y = _number(top + height * (1 - value / most))
            points += [f"{_number(_x(a, low, top_value))} {y}", f"{_number(_x(b, low, top_value))} {y}"]
        base = _number(top + height)
        outline = f"M{_number(LEFT)} {base}L{'L'.join(points)}L{_number(WIDTH - RIGHT)} {base}"
        body.append(f'<path class="hist h{k}" d="{outline}"><title>{escape(name)}</title></path>')
    body.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top + height}" y2="{top + height}"/>')
    keys = "".join(f'<span class="key"><i class="swatch h{k}"></i>{escape(n)}</span>' for k, n in enumerate(shares))
    return _svg(top + height + 20, body, title) + f'<div class="legend">{keys}</div>'


def confusion(matrix: ArrayLike, labels: Sequence[str], title: str = "Confusion") -> str:
    """(L, L) counts, row actual, column predicted, as an HTML table shaded by the share of the row."""
    counts = np.asarray(matrix, np.int64)
    rows = [
        '<tr><th class="corner">actual \\ heard</th>'
        + "".join(f'<th class="turned">{escape(n)}</th>' for n in labels)
        + "<th>recall</th></tr>"
    ]
    for k, label in enumerate(labels):
        total = int(counts[k].sum())
        if not total:
            continue
        cells = []
        for j in range(len(labels)):
            share = counts[k, j] / total
            kind = "hit" if j == k else "miss"
            cells.append(
                f'<td class="{kind}" style="--share:{share:.3f}" title="{share:.0%}">{counts[k, j] or ""}</td>'
            )
        rows.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}<td>{counts[k, k] / total:.2f}</td></tr>")
    return f'<table class="confusion" aria-label="{escape(title)}">{"".join(rows)}</table>'


def bars(
    rows: Sequence[tuple[str, float, float, float]],
    unit: str,
    title: str,
    worse: Sequence[str] = (),
    width: float = WIDTH,
) -> str:
    """Horizontal bars with intervals: (name, value, low, high); names in `worse` are drawn as comparison rows."""
    rows = [row for row in rows if math.isfinite(row[1])]
    if not rows:
        return '<p class="note">nothing to show</p>'
    left, line = 180.0, 22.0
    most = max(max(v, h if math.isfinite(h) else v) for _, v, _, h in rows) or 1.0
    least = min(0.0, *(min(v, a if math.isfinite(a) else v) for _, v, a, _ in rows))

    def place(value: float) -> float:
        return left + (value - least) / (most - least) * (width - left - 70)

    body = []
    for k, (name, value, low, high) in enumerate(rows):
        y = 6 + k * line
        kind = "bar other" if name in worse else "bar"
        a, b = sorted((place(0.0), place(value)))
        body.append(_text(left - 8, y + 13, name, "label", "end"))
        body.append(f'<rect class="{kind}" x="{_number(a)}" y="{_number(y)}" width="{_number(b - a)}" height="16"/>')
        if math.isfinite(low) and math.isfinite(high):
            body.append(
                f'<line class="whisker" x1="{_number(place(low))}" x2="{_number(place(high))}" '
                f'y1="{_number(y + 8)}" y2="{_number(y + 8)}"/>'
            )
        end = place(max(value, high if math.isfinite(high) else value))
        body.append(_text(end + 6, y + 13, f"{value:.3f} {unit}".strip(), "tick"))
    return _svg(8 + len(rows) * line, body, title, width)
