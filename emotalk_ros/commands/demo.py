"""`emotalk demo`: the main job end to end, over real topics, with a bag, a picture and a summary at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emotalk_ros.evaluation.recording import FaceRecording
    from emotalk_ros.nodes.demo import DemoFiles
    from emotalk_ros.terminal import Terminal


def register(app: typer.Typer) -> None:
    """Add the verb `demo`."""
    app.command()(demo)


def demo(
    speech: Annotated[
        Path | None, typer.Option(help="Audio file to animate (wav, flac, ogg); default: the one that comes along.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bag and the picture.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="Folder of the network (default: the one that ships).")] = "",
) -> None:
    """Animate a face from speech over ROS 2 topics: file, network and recorder each in a process of its own.

    Leaves a rosbag2 with /audio, /blendshapes and /emotion and a picture in OUTPUT. Exit code 1: a frame is missing,
    doubled or off the grid, or a node failed.
    """
    from emotalk_ros.nodes.processes import RosMissingError, check_ros, interrupt_on_signals
    from emotalk_ros.terminal import Terminal

    console = Terminal()
    try:
        check_ros()
        from emotalk_ros.audio import AudioFormatError
        from emotalk_ros.bags.bag import BagError
        from emotalk_ros.evaluation.recording import read_recording
        from emotalk_ros.nodes.demo import DemoError, DemoFiles
        from emotalk_ros.reports.recording_picture import draw

        interrupt_on_signals()
        files = DemoFiles(speech or default_speech(), output)
        Terminal(stderr=True).replaces(files.bag, files.picture)
        _run(files, model, console)
        with console.status("drawing the picture"):
            recording = read_recording(files.bag, "/audio", "/blendshapes", "/emotion")
            draw(recording, files.picture, f"{files.speech.name}: speech to face")
    except (RosMissingError, DemoError, BagError, AudioFormatError, OSError) as error:
        Terminal(stderr=True).label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _summarise(recording, files, console)
    if recording.problems:
        raise typer.Exit(1)


def default_speech() -> Path:
    """The speech that comes along. Raises FileNotFoundError that names the places looked at."""
    from emotalk_ros.share import candidate_paths

    looked = candidate_paths("examples/speech/demo.ogg")
    for place in looked:
        if place.is_file():
            return place
    raise FileNotFoundError(f"no speech to animate in {', '.join(map(str, looked))}; name a file with --speech")


def _run(files: DemoFiles, model: str, console: Terminal) -> None:
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    from emotalk_ros.nodes.demo import run_nodes
    from emotalk_ros.terminal import text_column

    words = {
        "loading": "starting three nodes, loading the network",
        "speaking": f"{files.speech.name} at real time: audio, face and emotion on topics",
        "recording": "finishing the bag",
    }
    columns = (text_column("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(words["loading"], total=1.0)
        run_nodes(files, model, lambda stage, done: bars.update(task, description=words[stage], completed=done))


def _summarise(recording: FaceRecording, files: DemoFiles, console: Terminal) -> None:
    """One screen."""
    import numpy as np
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    face = recording.face
    p50, p95 = np.percentile(recording.latency, (50, 95)) * 1000
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("speech", f"{files.speech} ({recording.duration:.2f} s)")
    table.add_row(
        "frames", f"{len(face)} of {recording.expected} at {recording.fps:g} per second, on the grid of audio time"
    )
    table.add_row("latency", f"half within {p50:.0f} ms, 95 % within {p95:.0f} ms after their sound was on the topic")
    table.add_row("jaw", f"{_bar(face.coefficients)} jawOpen, up to {_column(face.coefficients, 'jawOpen').max():.2f}")
    if recording.emotion is not None:
        mean = recording.emotion.probabilities.mean(axis=0)
        best = sorted(zip(mean, recording.emotion.labels, strict=True), reverse=True)[:3]
        table.add_row("emotion", ", ".join(f"{label} {share:.0%}" for share, label in best) + " on average")
    table.add_row("bag", f"{files.bag} (/audio, /blendshapes, /emotion)")
    table.add_row("picture", str(files.picture))
    for problem in recording.problems:
        table.add_row(Text("problem", "red"), problem)
    good = not recording.problems
    title = "speech to face: every frame there, once, in order" if good else "speech to face: incomplete"
    console.print(Panel(table, title=title, border_style="green" if good else "red", expand=False))


def _column(coefficients, name: str):  # type: ignore[no-untyped-def]
    from emotalk_ros.face.names import INDEX

    return coefficients[:, INDEX[name]]


def _bar(coefficients, width: int = 48) -> str:  # type: ignore[no-untyped-def]
    """The jaw over time, in characters."""
    import numpy as np

    jaw = _column(coefficients, "jawOpen")
    peaks = [float(part.max()) for part in np.array_split(jaw, min(width, len(jaw)))]
    top = max(max(peaks), 0.05)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * peak / top))] for peak in peaks)
