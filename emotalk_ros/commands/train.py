"""`emotalk train`: a recipe and corpora in, a model with its card out, or recordings in and an ear out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from emotalk_ros.requirements import install_command

if TYPE_CHECKING:
    from emotalk_ros.corpus.readers.emotional import Voice

_NETWORK = "network"


class _NetworkUnlessNamed(TyperGroup):
    """`train RECIPE` is `train network RECIPE`: what is no verb below `train` is a network's recipe."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the verb in where it is left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_NETWORK, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Adds the verb `train`."""
    group = typer.Typer(
        cls=_NetworkUnlessNamed,
        no_args_is_help=True,
        help="Train a network by a recipe (`train RECIPE`), or an ear by recordings (`train ear`).",
    )
    group.command(_NETWORK)(train)
    group.command("ear")(train_ear)
    app.add_typer(group, name="train")


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
    from emotalk_ros.corpus.store import DamagedClipError
    from emotalk_ros.files import no_space
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training.recipe import RecipeError, load_recipe

    console = Terminal(stderr=True)
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
            raise RecipeError(f"{error.name} is needed for training: {install_command('torch,train')}") from error
        result = run(recipe, output, resume, console)
    except OSError as error:
        console.label("error:", no_space(error, "then go on with --resume where a checkpoint was written"))
        raise typer.Exit(1) from error
    except DamagedClipError as error:
        console.label("error:", error)
        raise typer.Exit(2) from error
    except (ValueError, FloatingPointError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    if result.interrupted:
        raise typer.Exit(130)
    typer.echo(result.model)


def _quoted(folder: Path) -> str:
    """A path as a YAML scalar."""
    return "'" + str(folder).replace("'", "''") + "'"


def train_ear(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Recordings to learn from: a folder in the layout of RAVDESS, EMO-DB, CREMA-D, ESD or EmoGator, a "
            "corpus of this package, or a table (.csv: file, speaker, emotion). May be given several times."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the ear; must not exist.")],
    licence: Annotated[
        str, typer.Option(help="Licence of the ear; what the recordings allow. Goes into its card and LICENSE.")
    ],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="More of --data.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the ear; default: that of its folder.")] = None,
    voices: Annotated[
        list[Path] | None,
        typer.Option(help="More voices, whose emotion nobody knows: how speakers differ is learned from them."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Network whose encoder hears for the ear; default: the one that ships.")
    ] = None,
    doubt: Annotated[
        float,
        typer.Option(
            help="How much less sure of itself the ear is to be than it may be with other speakers of these "
            "collections; about 2 for an ear that will hear recordings unlike these.",
            min=1.0,
        ),
    ] = 1.0,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Speaker kept out of everything and measured at the end (COLLECTION/SPEAKER); repeatable."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps what was heard: an interrupted command goes on, another ear of the same "
            "recordings takes seconds."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: as many as the machine has cores.", min=0)] = 0,
) -> None:
    """Teach an ear new recordings. Nothing of the network changes: its lips stay bit for bit as they are.

    Prints recall, calibration and confusion on speakers held out, and writes them into the ear's card.
    """
    import torch
    from rich.progress import Progress

    from emotalk_ros.corpus.readers.emotional import SOURCES, read_voices
    from emotalk_ros.files import replacing_folder
    from emotalk_ros.model import load_model
    from emotalk_ros.model.ear import EarConfig, EarError
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training.ear import (
        Clips,
        EarRecipe,
        HeardBefore,
        hear,
        hold_out_speakers,
        predict,
        train_ear,
        with_figures,
    )
    from emotalk_ros.training.ear_card import licence_doubts, report, sources, write_ear
    from emotalk_ros.training.ear_encoder import trunk_digest, trunk_encoder
    from emotalk_ros.training.ear_voices import noticing_by_collection, teach_voices

    console = Terminal(stderr=True)
    if threads:
        torch.set_num_threads(threads)
    try:
        if output.exists():
            raise EarError(f"{output} exists: name another folder, or delete it")
        recordings = [voice for folder in (*data, *(more or ())) for voice in read_voices(folder)]
        recordings += [_without_emotion(voice) for folder in voices or () for voice in read_voices(folder)]
        for concern in licence_doubts(recordings, licence):
            console.label("licence:", concern)
        network = load_model(model)
        encoder, width = trunk_encoder(network)
        recipe = EarRecipe(doubt=doubt)
        kept = None if cache is None else HeardBefore(cache, trunk_digest(network), recipe.layers)
        config = EarConfig(name or output.name, licence, recipe.layers, width)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("hearing", total=len(recordings))

            def tell(voice: Voice, problem: str | None) -> None:
                progress.advance(task)
                if problem:
                    progress.console.print(f"left out {voice.path}: {problem}")

            heard = Clips(hear(recordings, encoder, config, tell, kept=kept))
            rest, apart = hold_out_speakers(heard, hold_out or [])
            task = progress.add_task("fitting", total=None)
            trained = train_ear(rest, recipe, config, lambda part: progress.update(task, description=f"fitting {part}"))
            progress.update(task, description="telling voices apart")
            noticing = teach_voices(trained.ear, rest)
        tested = None if apart is None else (predict(trained.ear, apart, False), predict(trained.ear, apart, True))
        if apart is not None and noticing:
            held = noticing_by_collection(trained.ear.voices.numpy(), trained.ear.config.change, apart)
            noticing |= {f"{name}, speakers kept out to the end": told for name, told in held.items()}
        trained.ear.config = with_figures(trained, trained.ear.config, tested, sources(rest, SOURCES), noticing)
        with replacing_folder(output) as folder:
            write_ear(folder, trained, tested, noticing)
    except (ValueError, OSError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        goes_on = "" if cache is None else ": the same command goes on from what was heard"
        console.print(f"interrupted{goes_on}", highlight=False)
        raise typer.Exit(130) from None
    typer.echo(report(trained, tested, noticing))
    typer.echo(output)


def _without_emotion(voice: Voice) -> Voice:
    from dataclasses import replace

    return replace(voice, emotion=None)
