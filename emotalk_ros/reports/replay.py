"""The HTML page of a replay: face, curves, emotion, errors and timing of one bag."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.bags.tracks import CoefficientTrack, sorted_unique
from emotalk_ros.evaluation.metrics.faces import vertex_distances
from emotalk_ros.evaluation.replay import Replay
from emotalk_ros.evaluation.replay_findings import ENERGY_ROW, STILL_ROW, Compared, compare, other_clock_text
from emotalk_ros.evaluation.replay_timing import OTHER_CLOCK_S, interpolate_at, state_of
from emotalk_ros.face import ARKIT_NAMES, INDEX, FaceBasis
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.reports import charts, html
from emotalk_ros.reports.face import Scene, face_section, liveliest
from emotalk_ros.units import NS

SHOWN = (
    ("jawOpen",),
    ("mouthClose",),
    ("mouthFunnel",),
    ("mouthPucker",),
    ("mouthSmileLeft", "mouthSmileRight"),
    ("mouthFrownLeft", "mouthFrownRight"),
    ("browInnerUp",),
    ("browDownLeft", "browDownRight"),
    ("eyeBlinkLeft", "eyeBlinkRight"),
)
"""Coefficients drawn on the waveform; pairs are averaged."""

METRICS = (
    ("lve_mm", "LVE mm"),
    ("eve_mm", "EVE mm"),
    ("mve_mm", "mean vertex mm"),
    ("lip_gap_correlation", "lip gap r"),
    ("best_lag_s", "best lag s"),
    ("lip_gap_error_mm", "lip gap error mm"),
    ("lip_velocity_error_mm_s", "lip velocity mm/s"),
    ("lip_jitter_m_s3", "jitter m/s³"),
    ("lip_jitter_reference_m_s3", "jitter of the reference m/s³"),
    ("fdd_mm", "FDD mm"),
    ("coefficient_error", "coefficient error"),
)
LOWER_IS_BETTER = frozenset({"lve_mm", "eve_mm", "mve_mm", "lip_gap_error_mm", "coefficient_error"})


def replay_page(
    name: str, replayed: Replay, findings: Mapping[str, Any], basis: FaceBasis, *, film: bool = True
) -> str:
    """The document for `findings` of `replayed`; `name` is the bag's, `film` draws the face (the slow part)."""
    compared = compare(replayed)
    start_ns, audio = replayed.heard.longest()
    sections = [
        html.problems(findings["problems"]),
        _face(replayed, basis) if film else "",
        _curves(replayed, start_ns, audio),
        _emotion(replayed, findings, start_ns, len(audio) / 16000),
        _metrics(findings),
        _errors(compared, basis),
        _timing(replayed, findings),
        _synchronisation(findings),
        _origin(findings),
    ]
    subtitle = (
        f"{findings['audio']['seconds']:.1f} s of {findings['audio']['topic']}, replayed through "
        f"{findings['model'].get('name', 'a model')} ({findings['mode']} mode)"
    )
    return html.page(f"Replay of {name}", subtitle, _facts(findings), sections)


def _facts(findings: Mapping[str, Any]) -> list[html.Fact]:
    ours = findings["replayed"]
    lost = ours["missing"] + ours["doubled"]
    expected = ours["expected_by_audio"]
    facts = [
        html.Fact(
            "replayed frames",
            f"{ours['frames']}",
            f"{expected} expected, {ours['missing']} missing, {ours['doubled']} doubled",
            "good" if lost == 0 and ours["frames"] == expected else "bad",
        )
    ]
    if "recorded" in findings:
        recorded = findings["recorded"]
        text = f"{recorded['missing']} missing, {recorded['doubled']} doubled"
        state = "good" if recorded["missing"] + recorded["doubled"] == 0 else "bad"
        facts.append(html.Fact("recorded frames", str(recorded["frames"]), text, state))
    timed = findings.get("recorded", ours)
    latency = timed["latency"].get("p95_s")
    limit = timed.get("late_limit_s") or 0.25
    if latency is not None:
        which = "recorded" if "recorded" in findings else findings["mode"]
        text = f"{which}; p50 {timed['latency']['p50_s'] * 1000:.0f} ms, {timed['late']} late"
        facts.append(html.Fact("latency p95", f"{latency * 1000:.0f} ms", text, state_of(latency, limit, limit * 1.5)))
    sync = findings["synchronisation"]
    for key, label in (
        ("replayed_to_reference", "lips behind reference"),
        ("replayed_to_audio", "lips behind loudness"),
    ):
        if sync.get(key):
            offset = sync[key]["offset_s"]
            text = f"correlation {html.number(sync[key]['correlation'], 2)} there"
            facts.append(html.Fact(label, f"{offset * 1000:+.0f} ms", text, state_of(offset, 0.07, 0.125)))
            break
    rows = findings.get("metrics", {}).get("rows", {})
    if rows:
        mine, still = rows["replayed"], rows[STILL_ROW]
        text = f"motionless face {still['lve_mm']:.2f} mm"
        state = "good" if mine["lve_mm"] < still["lve_mm"] else "warn"
        facts.append(html.Fact("LVE", f"{mine['lve_mm']:.2f} mm", text, state))
        energy = rows[ENERGY_ROW]["lip_gap_correlation"]
        better = mine["lip_gap_correlation"] > (energy if math.isfinite(energy) else -1)
        text = f"energy jaw {html.number(energy, 2)}"
        facts.append(
            html.Fact("lip gap r", html.number(mine["lip_gap_correlation"], 2), text, "good" if better else "warn")
        )
    emotion = findings.get("emotion") or {}
    if emotion:
        share = emotion["mean_probability"][emotion["dominant"]]
        facts.append(html.Fact("emotion heard", emotion["dominant"], f"mean probability {share:.2f}"))
    return facts


def _on_line(track: CoefficientTrack, start_ns: int, seconds: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times (s after `start_ns`) and coefficients of the track's frames within the line, NaN rows where frames lack."""
    clean = sorted_unique(track)
    times = (clean.stamp_ns - start_ns) / NS
    inside = (times >= -0.05) & (times <= seconds + 0.05)
    times, values = times[inside], clean.coefficients[inside]
    holes = np.flatnonzero(np.diff(times) > 0.12)
    times = np.insert(times, holes + 1, times[holes] + 1e-3) if len(holes) else times
    values = np.insert(values, holes + 1, np.nan, axis=0) if len(holes) else values
    return times, values


def _curves(replayed: Replay, start_ns: int, audio: NDArray[np.float32]) -> str:
    seconds = len(audio) / 16000
    tracks = [("replayed", "ours", replayed.frames.track("replayed"))]
    if replayed.reference is not None:
        tracks.insert(0, ("reference", "reference", replayed.reference))
    if replayed.recorded is not None:
        tracks.append(("recorded", "recorded", replayed.recorded))
    placed = [(name, kind, *_on_line(track, start_ns, seconds)) for name, kind, track in tracks]
    bands = []
    for names in SHOWN:
        columns = [INDEX[n] for n in names]
        series = [
            charts.Series(name, times, values[:, columns].mean(axis=1), kind)
            for name, kind, times, values in placed
            if len(times)
        ]
        bands.append(charts.Band(names[0].removesuffix("Left"), series))
    legend = charts.legend([s for band in bands[:1] for s in band.series])
    whole = charts.time_chart(bands, 0.0, seconds, audio)
    if seconds <= 15:
        return html.section("Coefficients on the waveform", whole, legend)
    ours = next(p for p in placed if p[0] == "replayed")
    window = liveliest(np.nan_to_num(ours[3][:, INDEX["jawOpen"]]), replayed.fps, 10.0)
    first = float(ours[2][window.start])
    close = charts.time_chart(bands, first, first + 10.0, audio)
    return html.section("Coefficients on the waveform", close, legend, html.details("The whole recording", whole))


def _emotion(replayed: Replay, findings: Mapping[str, Any], start_ns: int, seconds: float) -> str:
    if not findings.get("emotion"):
        return ""
    frames = replayed.frames
    times = (frames.stamp_ns - start_ns) / NS
    inside = (times >= 0) & (times <= seconds)
    parts = [charts.emotion_timeline(times[inside], frames.emotion[inside], frames.labels, 0.0, seconds)]
    recorded = replayed.recorded_emotion
    if recorded is not None and len(recorded.stamp_ns) > 1:
        order = np.argsort(recorded.stamp_ns, kind="stable")
        times = ((recorded.stamp_ns - start_ns) / NS)[order]
        inside = (times >= 0) & (times <= seconds)
        if inside.sum() > 1:
            chart = charts.emotion_timeline(
                times[inside], recorded.probabilities[order][inside], recorded.labels, 0.0, seconds
            )
            parts += [html.heading("As recorded in the bag"), chart]
    return html.section("Emotion over time", *parts)


def _metrics(findings: Mapping[str, Any]) -> str:
    metrics = findings.get("metrics")
    if not metrics:
        text = (
            "No reference coefficients in the bag (name their topic with --reference), so nothing to measure against."
        )
        return html.section("Against the reference", note=text)
    motions = metrics["rows"]
    rows = []
    for key, label in METRICS:
        values = [row[key] for row in motions.values()]
        best = min(values) if key in LOWER_IS_BETTER else None
        cells = [html.bold(html.number(v)) if v == best else html.number(v) for v in values]
        rows.append([label, *cells])
    note = (
        f"{metrics['frames']} frames on the face {metrics['face']!r}. LVE and EVE: largest vertex error of the lips, "
        "and of eyes and forehead, mean over frames. Beside them a face that never moves and a jaw that knows loudness."
    )
    return html.section("Against the reference", html.table(["", *motions], rows), note=note)


def _errors(compared: Compared | None, basis: FaceBasis) -> str:
    if compared is None:
        return ""
    target = basis.displacement(compared.reference, basis.lip_ids)
    lips = {
        name: vertex_distances(basis.displacement(m, basis.lip_ids), target).max(axis=1)
        for name, m in compared.motions.items()
    }
    error = np.abs(compared.motions["replayed"] - compared.reference).mean(axis=0)
    worst = np.argsort(-error, kind="stable")[:12]
    bars = [(ARKIT_NAMES[k], float(error[k]), math.nan, math.nan) for k in worst]
    return html.section(
        "Where the errors are",
        html.heading("Largest lip error of each frame"),
        charts.histogram(lips, "mm", title="Lip errors"),
        html.heading("Coefficients with the largest mean error"),
        charts.bars(bars, "", "Coefficient errors"),
    )


def _timing(replayed: Replay, findings: Mapping[str, Any]) -> str:
    keys = ("frames", "unheard", "expected", "missing", "doubled", "out_of_order", "off_grid", "late", "streams")
    rows = []
    for name in ("replayed", "recorded"):
        if name in findings:
            entry = findings[name]
            delay = [entry["latency"].get(k) for k in ("p50_s", "p95_s", "p99_s", "max_s")]
            cells = [v * 1000 if v is not None else None for v in delay]
            rows.append([name, *(entry[k] for k in keys), *(html.number(c, 0) for c in cells)])
    names = {"frames": "frames from audio", "unheard": "closing, idle"}
    head = ["", *(names.get(k, k.replace("_", " ")) for k in keys), "p50 ms", "p95 ms", "p99 ms", "max ms"]
    groups = {"replayed": _latencies_ms(replayed.frames.track("replayed"))}
    if replayed.recorded is not None:
        groups["recorded"] = _latencies_ms(replayed.recorded)
    clocks = " ".join(
        other_clock_text(name, findings[name]) + "."
        for name in ("replayed", "recorded")
        if findings.get(name, {}).get("other_clock")
    )
    gaps = [(n, g) for n in ("replayed", "recorded") for g in findings.get(n, {}).get("gaps", [])]
    listing = ""
    if gaps:
        table = html.table(["topic", "at s", "frames missing"], [[n, g["start_s"], g["frames"]] for n, g in gaps[:40]])
        listing = html.details(f"{len(gaps)} gaps", table)
    note = "Latency: arrival minus the audio instant that the frame shows. " + (
        "In deterministic mode a frame 'arrives' when its last audio chunk had been recorded: what is left is the "
        "look-ahead, the hop and the transport of the audio, without any computation."
        if findings["mode"] == "deterministic"
        else "Live mode: through the running node."
    )
    note += f" {clocks}" if clocks else ""
    shown = {name: latencies for name, latencies in groups.items() if len(latencies)}
    chart = charts.histogram(shown, "ms", title="Latency") if shown else ""
    return html.section("Latency and lost frames", html.table(head, rows), chart, listing, note=note)


def _latencies_ms(track: CoefficientTrack) -> NDArray[np.float64]:
    """Arrival minus stamp of the frames from audio whose stamps are of the clock of the arrivals."""
    latency = (track.log_ns - track.stamp_ns)[track.kind == FrameKind.SPEECH] / NS
    return latency[np.abs(latency) <= OTHER_CLOCK_S] * 1e3


def _synchronisation(findings: Mapping[str, Any]) -> str:
    sync = findings["synchronisation"]
    rows = [
        [key.replace("_to_", " against "), f"{entry['offset_s'] * 1000:+.0f} ms", html.number(entry["correlation"], 3)]
        for key, entry in sync.items()
        if isinstance(entry, Mapping) and entry
    ]
    agreed = findings.get("agreement")
    extra = ""
    if agreed and agreed["frames"]:
        extra = html.note(
            f"Recorded and replayed frames of equal stamp ({agreed['frames']}): mean difference "
            f"{agreed['mean_difference']:.2g}, largest {agreed['largest_difference']:.2g} at "
            f"{agreed['largest_at']}."
        )
    note = (
        "The shift at which the opening of the lips agrees best with the audio's loudness or the reference's lips; "
        "positive: the lips come late. Viewers accept about 45 ms early sound to 125 ms late sound (ITU-R BT.1359)."
    )
    return html.section("Synchronisation", html.table(["", "offset", "correlation there"], rows), extra, note=note)


def _face(replayed: Replay, basis: FaceBasis) -> str:
    """The liveliest part of the longest line: replayed beside the reference (or what was recorded)."""
    if not len(replayed.frames):
        return ""
    start_ns, audio = replayed.heard.longest()
    count = math.floor(len(audio) / 16000 * replayed.fps)
    stamps = start_ns + np.rint(np.arange(count) * 1e9 / replayed.fps).astype(np.int64)
    motions: dict[str, NDArray[np.float32]] = {}
    for name, track in (
        ("replayed", replayed.frames.track("replayed")),
        ("reference", replayed.reference),
        ("recorded", replayed.recorded if replayed.reference is None else None),
    ):
        if track is None or not len(track):
            continue
        clean = sorted_unique(track)
        at = interpolate_at(stamps, clean.stamp_ns, clean.coefficients, max_gap_s=0.5)
        motions[name] = np.where(at.valid[:, None], at.values, 0.0).astype(np.float32)
    return face_section(basis, Scene(motions, replayed.fps, audio))


def _origin(findings: Mapping[str, Any]) -> str:
    topics = findings["bag"]["topics"]
    table = html.table(
        ["topic", "type", "messages"], [[n, t["type"], t["messages"]] for n, t in sorted(topics.items())]
    )
    intake = [[k.replace("_", " "), v] for k, v in findings["audio"]["intake"].items() if v]
    settings = _rows(findings["settings"])
    model = [[k, str(v)] for k, v in findings["model"].items()]
    left = [html.heading("Topics in the bag"), table, html.heading("Audio intake"), html.table(["count", ""], intake)]
    left += [html.note(warning) for warning in findings["audio"]["warnings"]]
    right = [html.heading("Model"), html.table(["", ""], model)]
    right += [html.heading("Settings"), html.table(["", ""], settings)]
    return html.section("Where this comes from", html.columns(html.joined(left), html.joined(right)))


def _rows(settings: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Name and value of each setting; those of a group under `group.name`."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += _rows(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            rows.append([prefix + name, " to ".join(str(v) for v in value)])
        elif isinstance(value, (str, bool)) or not value:
            rows.append([prefix + name, str(value) if value != {} else "none"])
        else:
            rows.append([prefix + name, html.number(value)])
    return rows
