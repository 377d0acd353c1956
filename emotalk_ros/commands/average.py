"""`emotalk average`: one network of several that came from one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Half = Annotated[bool, typer.Option("--half", help="Store float16: half the size.")]


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("average")(average)


def average(
    out: Annotated[Path, typer.Argument(help="Model folder to write.", show_default=False)],
    models: Annotated[list[Path], typer.Argument(help="Model folders; configuration and prototypes are the first's.")],
    shares: Annotated[str | None, typer.Option(help="Weight of each, such as 3,1; default: equal.")] = None,
    half: Half = False,
) -> None:
    """The mean of the weights of networks that were trained from common ones: often better than either."""
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training import average as averaging

    console = Terminal(stderr=True)
    try:
        weights = [float(share) for share in shares.split(",")] if shares else [1.0] * len(models)
        with console.status("averaging"):
            save(averaging.average(models, weights), out, half)
    except (ValueError, OSError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    typer.echo(out)


def save(model: Any, out: Path, half: bool) -> None:
    """The model in the folder `out`, whole or not at all."""
    from emotalk_ros.files import replacing_folder

    with replacing_folder(out) as part:
        (model.half() if half else model).save_pretrained(part)
