"""Charts of the reports as inline SVG, drawn by matplotlib: no script, no font, nothing to fetch.

Colours are variables of the page's style sheet (`templates/style.css`), so that charts follow light and dark.
Equal arguments give equal text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.emotions import SYNONYMS
from emotalk_ros.reports.html import chart_legend, note
from emotalk_ros.units import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1000.0
"""Width of a chart in SVG units; the page scales it."""
LEFT, RIGHT, BOTTOM, TOP = 92.0, 12.0, 22.0, 6.0
"""Margins around what is drawn, in SVG units."""

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
"""A colour for each home emotion; other labels take `--c1` and so on in turn."""

CURVES: dict[str, tuple[str, str]] = {
    "ours": ("--ours", "-"),
    "reference": ("--reference", "-"),
    "recorded": ("--recorded", "--"),
    "third": ("--c3", "-"),
    "fourth": ("--c4", "-"),
}
"""Colour and line style of each kind of curve."""
GROUPS = ("--ours", "--reference", "--recorded", "--c3", "--c4")
"""Colours of the groups of a histogram, in turn."""

# matplotlib knows no CSS variables: each is drawn in a colour of its own that `_svg` replaces.
_VARIABLES = ("--ink", "--soft", "--line", "--band", "--wave", "--bad", *GROUPS, "--c1", "--c2", "--c5", "--c6")
_STANDS_FOR = {name: f"#0000{number:02x}" for number, name in enumerate(_VARIABLES, 1)}


@dataclass(frozen=True)
class Series:
    """A curve: a name for the legend, times (n,) in seconds, values (n,), a kind of `CURVES`. NaN breaks the curve."""

    name: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    kind: str = "ours"


@dataclass(frozen=True)
class Band:
    """A row of a time chart: its label, its curves, the value range shown (None: from the curves), marks in seconds."""

    label: str
    series: Sequence[Series]
    low: float | None = 0.0
    high: float | None = None
    height: float = 54.0
    marks: Sequence[float] = ()

    def range(self) -> tuple[float, float]:
        """(low, high) shown: the limits of the band, else the curves' extremes with a little air."""
        values = np.concatenate([np.asarray(s.values, np.float64) for s in self.series] or [np.zeros(1)])
        values = values[np.isfinite(values)]
        low = self.low if self.low is not None else float(values.min(initial=0.0))
        high = self.high if self.high is not None else max(float(values.max(initial=0.0)) * 1.08, low + 0.05)
        return low, high


def colour(name: str) -> str:
    """What matplotlib is to draw with: a variable of the page as its stand-in, any other colour as it is."""
    return _STANDS_FOR.get(name, name)


def emotion_colour(label: str, index: int = 0) -> str:
    """The colour of a label, the same in every chart: a fixed one, or a variable of the page."""
    return EMOTION_COLOURS.get(SYNONYMS.get(label, label)) or f"--c{index % 6 + 1}"


def time_chart(
    bands: Sequence[Band],
    start: float,
    end: float,
    audio: ArrayLike | None = None,
    rate: float = SAMPLE_RATE,
    title: str = "Coefficients over time",
) -> Markup:
    """Bands above each other on one time axis from `start` to `end` seconds, the waveform (if given) on top."""
    top = 0.0 if audio is None else 54.0
    height = top + sum(band.height + 6 for band in bands)
    figure, axes = _figure(height)
    axes.set(xlim=(start, max(end, start + 1e-3)), ylim=(height, 0))
    places, labels = [], []
    if audio is not None:
        times, lower, upper = envelope(audio, rate, start, end)
        axes.fill_between(times, 23 - 23 * upper, 23 - 23 * lower, color=colour("--wave"), linewidth=0)
        places, labels = [23.0], ["audio"]
    for band in bands:
        low, high = band.range()
        bottom, scale = top + band.height, (band.height - 6) / max(high - low, 1e-9)
        axes.axhspan(top, bottom, color=colour("--band"), alpha=0.75, linewidth=0, zorder=0)
        for series in band.series:
            tint, style = CURVES[series.kind]
            values = bottom - 3 - (np.clip(series.values, low, high) - low) * scale
            axes.plot(series.times, values, color=colour(tint), linestyle=style, linewidth=1.6)
        axes.vlines(list(band.marks), top, bottom, color=colour("--bad"), linewidth=1.5)
        right = axes.get_yaxis_transform()
        axes.text(1, top + 2, f"{high:.3g}", transform=right, ha="right", va="top", size=11, color=colour("--soft"))
        places.append(top + band.height / 2)
        labels.append(band.label)
        top = bottom + 6
    axes.set_yticks(places, labels, color=colour("--ink"), fontsize=12)
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.grid(axis="x", color=colour("--line"))
    return _svg(figure, title)


def envelope(
    audio: ArrayLike, rate: float, start: float, end: float, columns: int = int(WIDTH)
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times, smallest and largest value of audio (n,) in each of at most `columns` parts between `start` and `end` s.

    The loudest sample of the whole clip is 1.
    """
    samples = np.asarray(audio, dtype=np.float64)
    first, last = max(int(start * rate), 0), min(math.ceil(end * rate), len(samples))
    part = samples[first:last] / max(float(np.abs(samples).max(initial=0.0)), 1e-3)
    edges = np.linspace(0, len(part), min(columns, len(part)) + 1).astype(int)[:-1]
    if not len(edges):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    return (first + edges + 0.5) / rate, np.minimum.reduceat(part, edges), np.maximum.reduceat(part, edges)


def legend(series: Sequence[Series]) -> Markup:
    """Names and colours of the curves, each once."""
    return chart_legend({s.name: CURVES[s.kind][0] for s in series})


def emotion_timeline(
    times: ArrayLike, probabilities: ArrayLike, labels: Sequence[str], start: float, end: float
) -> Markup:
    """Probabilities (T, L) stacked over time: which emotion was heard, and how sure."""
    t, p = np.asarray(times, np.float64), np.asarray(probabilities, np.float64)
    if len(t) > 700:
        keep = np.linspace(0, len(t) - 1, 700).round().astype(int)
        t, p = t[keep], p[keep]
    figure, axes = _figure(120.0)
    colours = [emotion_colour(label, k) for k, label in enumerate(labels)]
    p = p / np.maximum(p.sum(axis=1, keepdims=True), 1e-9)
    axes.stackplot(t, p.T, colors=[colour(c) for c in colours], linewidth=0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(start, max(end, start + 1e-3))
    axes.set_yticks([0.5], ["emotion"], color=colour("--ink"), fontsize=12)
    axes.xaxis.set_major_formatter("{x:g} s")
    return _svg(figure, "Emotion over time") + chart_legend(dict(zip(labels, colours, strict=True)))


def histogram(groups: Mapping[str, ArrayLike], unit: str, bins: int = 36, title: str = "Histogram") -> Markup:
    """Distributions of one quantity: name to values; filled for the first, outlined for the rest."""
    arrays = {name: np.asarray(v, np.float64) for name, v in groups.items()}
    data = {name: v[np.isfinite(v)] for name, v in arrays.items() if np.isfinite(v).any()}
    if not data:
        return note("nothing to show")
    low = min(0.0, *(float(v.min()) for v in data.values()))
    high = max(float(np.quantile(v, 0.995)) for v in data.values())
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    figure, axes = _figure(150.0)
    colours = {name: GROUPS[k % len(GROUPS)] for k, name in enumerate(data)}
    for name, values in data.items():
        share = np.histogram(np.clip(values, low, edges[-1]), edges)[0] / len(values)
        tint, first = colour(colours[name]), name == next(iter(data))
        if first:
            axes.stairs(share, edges, fill=True, color=tint, alpha=0.3)
        axes.stairs(share, edges, color=tint, linewidth=1.5)
    axes.set(xlim=(edges[0], edges[-1]), yticks=[])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(f"{{x:g}} {unit}")
    return _svg(figure, title) + chart_legend(colours)


def bars(
    rows: Sequence[tuple[str, float, float, float]],
    unit: str,
    title: str,
    others: Sequence[str] = (),
    width: float = WIDTH,
) -> Markup:
    """Horizontal bars with intervals: (name, value, low, high); names in `others` are drawn as comparison rows."""
    rows = [row for row in rows if math.isfinite(row[1])]
    if not rows:
        return note("nothing to show")
    figure, axes = _figure(22.0 * len(rows), width, left=180.0, right=70.0, bottom=4.0)
    for k, (name, value, low, high) in enumerate(rows):
        axes.barh(k, value, height=0.73, color=colour("--wave" if name in others else "--ours"))
        known = math.isfinite(low) and math.isfinite(high)
        if known:
            axes.hlines(k, low, high, color=colour("--ink"), linewidth=1.6)
        text = f"{value:.3f} {unit}".strip()
        axes.annotate(
            text, (max(value, high if known else value, 0.0), k), (6, 0), textcoords="offset points", va="center",
            fontsize=11, annotation_clip=False, color=colour("--soft"),
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], color=colour("--ink"), fontsize=12)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xticks=[])
    axes.margins(x=0)
    return _svg(figure, title)


def _figure(
    height: float, width: float = WIDTH, left: float = LEFT, right: float = RIGHT, bottom: float = BOTTOM
) -> tuple[Figure, Axes]:
    """An empty chart whose drawing area is `height` high, all in SVG units."""
    from matplotlib.figure import Figure

    whole = height + bottom + TOP
    figure = Figure(figsize=(width / 72, whole / 72), facecolor="none")
    axes = figure.add_axes((left / width, bottom / whole, (width - left - right) / width, height / whole))
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=colour("--soft"), labelsize=11)
    return figure, axes


def _svg(figure: Figure, title: str) -> Markup:
    """The drawing as an SVG element that takes colours and font from the page."""
    import matplotlib
    from matplotlib.text import Text

    buffer = io.StringIO()
    for words in figure.findobj(Text):
        words.set_parse_math(False)  # a name may hold dollar signs
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title, "text.parse_math": False, "font.family": "sans-serif"}
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    text = re.sub(r"(?s)<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text)
    text = re.sub(r' id="\w+_\d+"', "", text).replace("xlink:href", "href")  # nothing refers to these identifiers
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r"#0000[01][0-9a-f]", lambda found: f"var({_VARIABLES[int(found[0][1:], 16) - 1]})", text)
    width, height = figure.get_size_inches() * 72
    head = Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"><title>{}</title>')
    return head.format(width, height, title, title) + Markup(text.strip())
