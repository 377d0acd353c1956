"""`emotalk replay`: a rosbag2 recording through the engine, with a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotalk_ros.commands.animate import Detector, DetectorOption, ThresholdOption

if TYPE_CHECKING:
    from rich.progress import TaskID

    from emotalk_ros.audio.messages import PcmFormat
    from emotalk_ros.face import FaceBasis
    from emotalk_ros.reports.replay_run import Live, Outcome
    from emotalk_ros.terminal import Terminal


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay")(replay)


def replay(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="rosbag2 folder, or a single .mcap or .db3 file.")],
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the one that ships.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report; default: BAG_replay here.")
    ] = None,
    audio_topic: Annotated[str | None, typer.Option(help="Audio topic; default: the first by type.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Topic with reference coefficients; default: one named ...reference, ...truth or ...label."),
    ] = None,
    recorded: Annotated[
        str | None, typer.Option(help="Topic with frames that a node published while recording; default: by type.")
    ] = None,
    audio_format: Annotated[
        str | None,
        typer.Option(metavar="ENC:CH:RATE", help="For audio topics of bare bytes, for example s16le:1:16000."),
    ] = None,
    stamp_of: Annotated[
        str,
        typer.Option(help="What a stamp means: begin or end of its chunk; auto: as its message type's publishers do."),
    ] = "auto",
    stamps: Annotated[
        str, typer.Option(help="What stamps are good for: auto, capture, publish or none, as the node's audio.stamps.")
    ] = "auto",
    person: Annotated[int, typer.Option(help="Personal style, 0 to 23.")] = 0,
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="Intensity of the style.")] = 1.0,
    emotion: Annotated[str | None, typer.Option(help="Show this emotion instead of the one heard.")] = None,
    intensity: Annotated[float, typer.Option(min=0.0, max=2.0, help="Strength of the emotion.")] = 1.0,
    ear: Annotated[
        str,
        typer.Option(help="What hears the emotion: free, research, an ear's folder; none: the network's classifier."),
    ] = "free",
    hop: Annotated[float, typer.Option(help="Seconds of audio per step.")] = 0.1,
    context: Annotated[float, typer.Option(help="Seconds of audio heard before each step.")] = 2.0,
    lookahead: Annotated[
        float | None, typer.Option(help="Seconds of look-ahead; default: what the model needs.")
    ] = None,
    motion: Annotated[
        bool, typer.Option(help="Level-driven jaw, smoothing, rest and blinks, as the node does.")
    ] = True,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the blinks; default: that of a node here with the recorded face's topic."),
    ] = None,
    voice_detector: DetectorOption = Detector.silero,
    voice_threshold: ThresholdOption = 0.35,
    face: Annotated[
        Path | None, typer.Option(help="Face for mm and pictures (npz, glTF, ...); default: built in.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Through a running node instead (needs ROS 2).")] = False,
    rate: Annotated[float, typer.Option(min=0.1, max=20.0, help="With --live: times real time.")] = 1.0,
    html: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    film: Annotated[bool, typer.Option(help="Render the face into report.html (the slow part).")] = True,
    merged: Annotated[bool, typer.Option(help="Write a bag with the results merged on the same clock.")] = True,
    storage: Annotated[str, typer.Option(help="Storage of that bag: mcap or sqlite3.")] = "mcap",
) -> None:
    """Replay a bag through a model and report latency, lost frames, synchronisation and errors.

    Deterministic: the same bag, model and settings give the same report.json, byte for byte. Exit code 0: all was
    read; 2: the bag is damaged or lacks what is needed, the report covers what could be read.
    """
    from emotalk_ros.terminal import Terminal

    errors = Terminal(stderr=True)
    if storage not in ("mcap", "sqlite3"):
        raise typer.BadParameter(f"{storage!r} is not mcap or sqlite3", param_hint="--storage")
    from emotalk_ros.bags.bag import BagError

    try:
        from emotalk_ros.audio import VoiceSettings
        from emotalk_ros.audio.messages import InputSettings
        from emotalk_ros.evaluation.replay import Topics
        from emotalk_ros.evaluation.subject import Subject
        from emotalk_ros.model import default_model_path
        from emotalk_ros.motion import MotionSettings
        from emotalk_ros.motion.stages.blinks import BlinkSettings
        from emotalk_ros.reports.replay_run import Outputs, replay_bag
        from emotalk_ros.streaming import StreamSettings

        subject = Subject(
            model or default_model_path(),
            person,
            level,
            emotion,
            intensity,
            StreamSettings(hop, context, lookahead),
            MotionSettings(blinks=BlinkSettings(seed=_seed(bag, recorded) if seed is None else seed))
            if motion
            else None,
            detector=VoiceSettings(voice_detector.value, voice_threshold),
            ear="" if ear == "none" else ear,
        )
        topics = Topics(audio_topic, reference, recorded, InputSettings(stamp_of, stamps, parse_format(audio_format)))
        folder = output or Path(f"{bag.resolve().name.removesuffix('.mcap').removesuffix('.db3')}_replay")
        errors.replaces(folder / "report.json", *([folder / "merged"] if merged else []))
        with _progress(errors) as progress:
            outcome = replay_bag(
                bag,
                subject,
                _face(face),
                Outputs(folder, html, film, merged, storage),
                topics=topics,
                live=_live(rate) if live else None,
                progress=progress,
            )
    except BagError as error:
        errors.label("error:", error)
        raise typer.Exit(2) from None
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    _show(outcome)
    for problem in outcome.problems:
        errors.label("incomplete:", problem)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _seed(bag: Path, recorded: str | None) -> int:
    """The seed of a node on this machine that publishes the face under the name it was recorded by."""
    from emotalk_ros.bags.bag import open_bag
    from emotalk_ros.bags.tracks import find_coefficients
    from emotalk_ros.motion.seeds import face_seed

    with open_bag(bag) as opened:
        topic = find_coefficients(opened, recorded, reference=False)
    return face_seed("/blendshapes" if topic is None else topic.name)


def _face(path: Path | None) -> FaceBasis:
    from emotalk_ros.face import default_face, read_basis

    return default_face() if path is None else read_basis(path)


def _live(rate: float) -> Live:
    try:
        from emotalk_ros.nodes.replay_live import through_node
    except ImportError as error:
        raise RuntimeError(
            f"--live needs ROS 2 in this environment ({error}); leave it out to replay without"
        ) from None
    return partial(through_node, rate=rate)


@contextmanager
def _progress(console: Terminal) -> Iterator[Callable[[str, float], None]]:
    """A bar per stage while the work runs."""
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0)
            bar.update(tasks[stage], completed=share)

        yield update


def parse_format(text: str | None) -> PcmFormat | None:
    """`s16le:1:16000` as a PcmFormat. Raises ValueError that shows the form expected."""
    if text is None:
        return None
    from emotalk_ros.audio import canonical_encoding
    from emotalk_ros.audio.messages import PcmFormat

    parts = text.split(":")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise ValueError(f"--audio-format {text!r}: expected ENCODING:CHANNELS:RATE, for example s16le:1:16000")
    return PcmFormat(canonical_encoding(parts[0]), int(parts[1]), int(parts[2]))


def _show(outcome: Outcome) -> None:
    """The findings on one screen."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from emotalk_ros.evaluation.replay_findings import other_clock_text
    from emotalk_ros.terminal import Terminal

    found = outcome.findings
    console = Terminal()
    table = Table(
        title=f"{found['audio']['seconds']:.1f} s of {found['audio']['topic']}", title_justify="left", box=SIMPLE_HEAD
    )
    for head in ("frames of", "there", "missing", "doubled", "late", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(head, justify="left" if head == "frames of" else "right")
    for name in ("replayed", "recorded"):
        if name in found:
            row = found[name]
            delays = [f"{row['latency'][k] * 1000:.0f}" if row["latency"] else "-" for k in ("p50_s", "p95_s", "p99_s")]
            table.add_row(name, *(str(row[k]) for k in ("frames", "missing", "doubled", "late")), *delays)
    console.print(table)
    for name in ("replayed", "recorded"):
        if found.get(name, {}).get("other_clock"):
            console.print(other_clock_text(name, found[name]))
    for key, entry in found["synchronisation"].items():
        if isinstance(entry, dict) and entry:
            text = f"{entry['offset_s'] * 1000:+.0f} ms (correlation there {entry['correlation']:.2f})"
            console.print(f"lips {key.replace('_to_', ' behind ')}: {text}")
    if "metrics" in found:
        console.print(_metric_table(found["metrics"]["rows"]))
    for file in outcome.files:
        console.print(f"wrote {file}")


def _metric_table(rows: dict[str, dict[str, float]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = {"lve_mm": "LVE mm", "eve_mm": "EVE mm", "lip_gap_correlation": "lip gap r", "best_lag_s": "lag s"}
    table = Table(title="against the reference", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("motion")
    for head in shown.values():
        table.add_column(head, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:.3f}" for key in shown))
    return table
