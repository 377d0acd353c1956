"""`emotalk fit-emotion`: the emotion side of a trained network, fitted once more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from emotalk_ros.commands.average import Half, save


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("fit-emotion")(fit_emotion)


def fit_emotion(
    model: Annotated[Path, typer.Argument(help="Folder of the trained network.", show_default=False)],
    corpus: Annotated[Path, typer.Argument(help="Corpus with emotion labels.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Model folder to write.", show_default=False)],
    split: Annotated[Path | None, typer.Option(help="Split file: only its training actors are used.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="At most so many.")] = 3000,
    noise: Annotated[float, typer.Option(min=0, help="Blur of the standardised states.")] = 0.3,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps for the prototypes.")] = 400,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 1,
    prototypes_only: Annotated[bool, typer.Option("--prototypes-only", help="Leave the classifier as it is.")] = False,
    half: Half = False,
) -> None:
    """Fits the emotion classifier by regression, and the prototypes by which an emotion is chosen by name.

    Encoders and decoder stay as they are. Nothing is written before the end.
    """
    import torch

    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.model import load_model
    from emotalk_ros.model.folder_files import check_model_place
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training.fit_emotion import Choices, fit
    from emotalk_ros.training.splits import read_split

    console = Terminal(stderr=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    try:
        check_model_place(out)
        network = load_model(model)
        choices = Choices(clips, noise, steps, seed, prototypes_only)
        said = fit(network, Corpus.open(corpus), read_split(split) if split else None, choices)
        save(network, out, half, console)
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written")
        raise typer.Exit(130) from None
    except (ValueError, OSError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    if said:
        console.print(said)
    typer.echo(out)
