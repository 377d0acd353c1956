"""`emotalk train`: a recipe and corpora in, a model with its card out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the verb `train`."""
    app.command("train")(train)


def train(
    config: Annotated[
        str, typer.Argument(help="Recipe: a YAML file, or the name of one that comes along (tiny, paper, ...).")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; default: runs/<name of the recipe>.")
    ] = None,
    corpus: Annotated[
        list[Path] | None, typer.Option(help="Corpus folder, instead of the recipe's; may be given several times.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: section.key=value (may be repeated).")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the whole recipe and do nothing.")] = False,
) -> None:
    """Train a network by a recipe; the finished model lands in OUTPUT/model.

    Ctrl-C (or SIGTERM) finishes the step, writes a checkpoint and ends with status 130; go on with --resume. Several
    processes or machines: accelerate launch --num_processes 2 -m emotalk_ros.cli train ...
    """
    from rich.console import Console
    from rich.markup import escape

    from emotalk_ros.training.recipe import RecipeError, load_recipe

    console = Console(stderr=True)
    overrides = list(set_ or ())
    if corpus:
        overrides.append(f"data.corpora=[{', '.join(_quoted(folder) for folder in corpus)}]")
    try:
        recipe = load_recipe(config, overrides)
        if show:
            typer.echo(recipe.to_yaml(), nl=False)
            return
        try:
            from emotalk_ros.training.trainer import train as run
        except ModuleNotFoundError as error:
            raise RecipeError(f"{error.name} is needed for training: pip install 'emotalk_ros[train]'") from error
        result = run(recipe, output, resume, console)
    except (ValueError, FloatingPointError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if result.interrupted:
        raise typer.Exit(130)
    typer.echo(result.model)


def _quoted(folder: Path) -> str:
    """A path as a YAML scalar."""
    return "'" + str(folder).replace("'", "''") + "'"
