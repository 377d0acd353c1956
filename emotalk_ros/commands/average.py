"""`emotalk average`: one network of several that came from one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emotalk_ros.terminal import Terminal

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
    from emotalk_ros.model.folder_files import check_model_place
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training import average as averaging

    console = Terminal(stderr=True)
    try:
        check_model_place(out)
        weights = [float(share) for share in shares.split(",")] if shares else [1.0] * len(models)
        with console.status("averaging"):
            model = averaging.average(models, weights)
        save(model, out, half, console)
    except (ValueError, OSError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    typer.echo(out)


def save(model: Any, out: Path, half: bool, console: Terminal) -> None:
    """The model in the folder `out`, whole or not at all; tells if one is there already."""
    from emotalk_ros.files import replacing_folder

    console.replaces(out)
    with replacing_folder(out) as part:
        (model.half() if half else model).save_pretrained(part)
