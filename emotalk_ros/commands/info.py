"""`emotalk info`: what a model is, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("info")(info)


def info(
    model: Annotated[Path | None, typer.Argument(help="Model folder; default: the one that ships.")] = None,
) -> None:
    """Prints form, sizes, look-ahead and emotions of a model."""
    from emotalk_ros.model import default_model_path, load_model
    from emotalk_ros.model.summary import summary
    from emotalk_ros.streaming import StreamSettings, WindowSchedule
    from emotalk_ros.terminal import Terminal

    try:
        path = model or default_model_path()
        network = load_model(path)
        figures = summary(network)
        schedule = WindowSchedule.build(StreamSettings(), network.config)
        figures["longest wait"] = (
            f"{1000 * schedule.latency:.0f} ms for audio, hop {1000 * schedule.hop_seconds:.0f} ms"
        )
    except (ValueError, OSError) as error:
        Terminal(stderr=True).label("error:", error)
        raise typer.Exit(1) from error
    for name, value in {"model": str(path), **figures}.items():
        typer.echo(f"{name:20}{value}")
