"""JSON that is byte-equal, charts by hand-computed cases, pages that escape, pictures of the face."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from emotalk_ros.bags.tracks import CoefficientTrack, EmotionTrack
from emotalk_ros.evaluation.plain_json import plain, to_json
from emotalk_ros.evaluation.recording import FaceRecording
from emotalk_ros.face import INDEX, default_face
from emotalk_ros.files import file_digest, model_digest
from emotalk_ros.reports import charts, html, recording_picture
from emotalk_ros.reports.face import Scene, animation, draw, film, liveliest


class Pair(NamedTuple):
    value: float
    low: float


def test_json_is_plain_sorted_and_rounded() -> None:
    findings = {
        "b": np.float32(0.1),
        "a": [np.int64(3), math.nan, -0.0000001],
        "c": Pair(1.00000004, math.inf),
        "d": {2, 1},
    }
    text = to_json(findings)
    assert json.loads(text) == {"a": [3, None, 0.0], "b": 0.1, "c": {"value": 1.0, "low": None}, "d": [1, 2]}
    assert text.index('"a"') < text.index('"b"')
    assert "-0.0" not in text and "NaN" not in text
    assert to_json(dict(reversed(findings.items()))) == text
    with pytest.raises(TypeError, match="object"):
        plain({"x": object()})


def test_digests_follow_contents_not_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name)
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"other")
    assert model_digest(tmp_path / "a") != model_digest(tmp_path / "b")
    assert file_digest(tmp_path / "a" / "README.md") != file_digest(tmp_path / "b" / "README.md")


def paths(svg: str) -> list[list[list[float]]]:
    """Points of each sub-path of each drawn path, in SVG units."""
    found = re.findall(r' d="([^"]*)"', svg)
    return [
        [[float(v) for v in pair] for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", part)]
        for d in found
        for part in d.split("M")
        if part.strip()
    ]


def test_curves_break_at_missing_values_and_stay_in_their_band() -> None:
    series = charts.Series("x", np.arange(6.0), np.array([0.0, 1.0, math.nan, 5.0, 0.5, 0.0]))
    svg = charts.time_chart([charts.Band("x", [series], 0.0, 1.0, height=106.0)], 0.0, 5.0)
    top, bottom = charts.TOP + 3, charts.TOP + 103
    curve = [part for part in paths(svg) if len(part) in (2, 3) and part[0][0] != part[1][0]]
    heights = [[y for _, y in part] for part in curve]
    assert [bottom, top] in heights  # pen up before the hole
    assert [top, (top + bottom) / 2, bottom] in heights  # 5.0 is clipped to the band's top


def test_long_curves_are_thinned_but_keep_their_peaks() -> None:
    values = np.zeros(100_000)
    values[54_321] = 1.0
    series = charts.Series("x", np.arange(100_000) / 1000, values)
    svg = charts.time_chart([charts.Band("x", [series], 0.0, 1.0)], 0.0, 100.0)
    assert len(svg) < 50_000
    curve = next(d for d in re.findall(r'd="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--ours\)', svg))
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", curve)]
    assert min(heights) == charts.TOP + 3 and max(heights) == charts.TOP + 51  # a band of 54


def test_an_envelope_holds_the_extremes_of_each_part() -> None:
    audio = np.zeros(16000)
    audio[4000], audio[12000] = 0.5, -0.25
    times, low, high = charts.envelope(audio, 16000, 0.0, 1.0, columns=4)
    np.testing.assert_allclose(times, [0, 0.25, 0.5, 0.75], atol=1e-3)
    np.testing.assert_allclose(high, [0, 1, 0, 0])
    np.testing.assert_allclose(low, [0, 0, 0, -0.5])


def test_charts_are_the_same_twice_and_well_formed() -> None:
    from xml.etree import ElementTree

    times = np.arange(90) / 30
    band = charts.Band("jaw <open>", [charts.Series("ours", times, np.abs(np.sin(times)))], marks=[1.0])
    audio = np.sin(np.arange(48000) / 20).astype(np.float32)
    svg = charts.time_chart([band], 0.0, 3.0, audio)
    assert svg == charts.time_chart([band], 0.0, 3.0, audio)
    ElementTree.fromstring(svg)
    assert "jaw &lt;open&gt;" in svg
    probabilities = np.tile([0.75, 0.25], (90, 1))
    chart = charts.emotion_timeline(times, probabilities, ["happy", "fear"], 0.0, 3.0)
    assert charts.EMOTION_COLOURS["happy"] in chart and charts.EMOTION_COLOURS["fearful"] in chart
    for text in (
        charts.histogram({"a": [1.0, 2.0, 2.5], "b": [0.5, math.nan]}, "mm"),
        charts.bars([("a", 1.0, 0.5, 1.5), ("b", -0.5, math.nan, math.nan)], "mm", "title"),
    ):
        ElementTree.fromstring(f"<div>{text}</div>")


def test_dollar_signs_in_names_are_no_formula(tmp_path: Path) -> None:
    """A model folder or a recording may be called so; matplotlib would set it as a formula, or fail."""
    name, also = r"$\frac{$", "a$x$b"
    band = charts.Band(name, [charts.Series("ours", np.arange(30.0), np.ones(30))])
    assert name in charts.time_chart([band], 0.0, 1.0)
    bars = charts.bars([(name, 1.0, 0.5, 1.5), (also, 1.0, 0.5, 1.5)], "$", "t")
    assert name in bars and also in bars and "1.000 $" in bars
    stamps = np.arange(30) * 33_333_333
    still, kind = np.zeros(30, np.float32), np.zeros(30, np.uint8)
    face = CoefficientTrack("/f", stamps, stamps, np.zeros((30, 52), np.float32), np.arange(30), still, kind)
    heard = EmotionTrack("/e", stamps, (name,), np.ones((30, 1), np.float32))
    recording = FaceRecording(np.zeros(16000, np.float32), 0, face, heard, np.zeros(30), 30.0)
    recording_picture.draw(recording, tmp_path / "picture.png", name)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_confusion_shows_counts_and_recalls() -> None:
    text = html.confusion([[3, 1], [0, 0]], ["happy", "sad"])
    assert ">3</td>" in text and ">0.75</td>" in text
    assert text.count("<tr>") == 2  # sad never occurs: no row


def test_nothing_to_show_is_said() -> None:
    assert "nothing to show" in charts.histogram({"a": [math.nan]}, "mm")
    assert "nothing to show" in charts.bars([("a", math.nan, 0.0, 0.0)], "", "t")


def test_pages_escape_what_they_are_given() -> None:
    page = html.page(
        "<b>",
        "a & b",
        [html.Fact("x", "<1>")],
        [html.problems(["<script>"]), html.section("<s>", html.image("data:,", '"quoted'))],
    )
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &amp; b" in page and "&lt;1&gt;" in page
    assert "&lt;s&gt;" in page and "&#34;quoted" in page
    table = html.table(["<h>"], [["<cell>"], [html.bold("1")], [math.nan], [0.12345]])
    assert "&lt;cell&gt;" in table and "<b>1</b>" in table and "–" in table and "0.123" in table
    assert html.problems([]) == ""


def test_liveliest_window() -> None:
    gap = np.zeros(300)
    gap[200:230] = np.tile([0.0, 1.0], 15)
    window = liveliest(gap, 30.0, 2.0)
    assert window.stop - window.start == 60
    assert window.start <= 200 and window.stop >= 230
    assert liveliest(gap[:10], 30.0, 2.0) == slice(0, 10)


def test_faces_side_by_side_and_moving() -> None:
    from PIL import Image

    still = np.zeros((4, 52), np.float32)
    still[2:, INDEX["jawOpen"]] = 0.8
    images = draw(default_face(), Scene({"a": still, "b": still * 0}, 30.0), size=64)
    assert len(images) == 4 and images[0].shape == (64 + 26, 128, 3)
    left, right = images[3][26:, :64], images[3][26:, 64:]
    assert np.abs(left.astype(int) - right.astype(int)).max() > 50  # an open mouth beside a closed one
    picture = Image.open(io.BytesIO(base64.b64decode(animation(images, 30.0).split(",")[1])))
    assert picture.n_frames >= 2 and picture.size == (128, 90)
    made = film(images * 5, 30.0, np.zeros(16000, np.float32))
    assert made is None or made.startswith("data:video/mp4;base64,")  # None where ffmpeg is missing
