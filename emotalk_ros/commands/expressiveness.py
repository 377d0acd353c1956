"""`emotalk expressiveness`: how far each emotion moves the face, how that grows with intensity, what the lips keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emotalk_ros.evaluation.expressiveness import Reach


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("expressiveness")(expressiveness)


def expressiveness(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings to perform; best neutral ones.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Default: the model that ships.")] = None,
    person: Annotated[int, typer.Option(min=0, max=23, help="Personal style.")] = 0,
    face: Annotated[
        str, typer.Option(help="default, or an npz, a glb or gltf avatar, a folder of OBJ files.")
    ] = "default",
    seconds: Annotated[float, typer.Option(min=0.5, help="Use the first seconds of each recording.")] = 4.0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the rows as JSON.")] = None,
) -> None:
    """Perform recordings in every emotion at intensities 0.5, 1 and 2 and compare each with neutral, in mm on a face.

    An emotion grows with its intensity when `x.5` is about 0.5 and `x2` about 2; the lips keep their words when the
    gap is about 1 and closures stay closed.
    """
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        with errors.status("performing"):
            rows = _measure(audio, model, person, face, seconds)
        Terminal(width=max(console.width, 110)).print(_table(rows))
        if output is not None:
            import json
            from dataclasses import asdict

            from emotalk_ros.files import write_text

            errors.replaces(output)
            write_text(output, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; nothing was written")
        raise typer.Exit(130) from None


def _measure(audio: list[Path], model: Path | None, person: int, face: str, seconds: float) -> list[Reach]:
    import torch

    from emotalk_ros.audio import load_audio
    from emotalk_ros.evaluation.expressiveness import expressiveness as measure
    from emotalk_ros.face import read_basis
    from emotalk_ros.model import default_model_path, load_model
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.units import SAMPLE_RATE

    torch.set_num_threads(1)
    clips = [load_audio(path)[: round(seconds * SAMPLE_RATE)] for path in audio]
    network = load_model(model or default_model_path())
    return measure(network, clips, read_basis(face), MotionSettings(), person)


def _table(rows: list[Reach]) -> Any:
    from rich.table import Table

    table = Table(title="against the same recordings in neutral")
    heads = ("emotion", "upper mm", "x.5", "x2", "corners mm", "x.5", "x2", "gap .5 / 1 / 2", "closures .5 / 1 / 2")
    for head in heads:
        table.add_column(head, justify="left" if head == "emotion" else "right")
    for emotion in dict.fromkeys(row.emotion for row in rows):
        half, full, twice = (next(r for r in rows if (r.emotion, r.intensity) == (emotion, i)) for i in (0.5, 1.0, 2.0))
        cells = [emotion]
        for name in ("upper_mm", "corners_mm"):
            at_one = getattr(full, name)
            ratios = (getattr(row, name) / at_one if at_one > 0 else float("nan") for row in (half, twice))
            cells += [f"{at_one:.1f}", *(f"{ratio:.2f}" for ratio in ratios)]
        cells.append(" ".join(f"{row.gap_ratio:.2f}" for row in (half, full, twice)))
        cells.append(" ".join(f"{row.closures_kept:.2f}" for row in (half, full, twice)))
        table.add_row(*cells)
    return table
