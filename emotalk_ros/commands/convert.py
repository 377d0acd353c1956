"""`emotalk convert`: the published checkpoint to a model folder and back; wav2vec2 folders to a fresh model; ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emotalk_ros.terminal import Terminal


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("convert")(convert)


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="EmoTalk.pth (or .pt, .safetensors); with --to-published a model folder; or a wav2vec2 folder.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Model folder to write; with --to-published a file.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Sizes other than the paper's: our config.json, or one with config, map_dims, decoder."),
    ] = None,
    to_published: Annotated[
        bool, typer.Option("--to-published", help="The way back: SRC is a model folder, OUT a .pth or .safetensors.")
    ] = False,
    emotion_encoder: Annotated[
        Path | None,
        typer.Option(help="With a wav2vec2 folder as SRC: another wav2vec2 folder for the emotion encoder."),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="SRC is a folder of the streaming network: make its ONNX graphs in it."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
) -> None:
    """Bring the published EmoTalk.pth into this project's form, bit for bit, and back.

    Nothing in the file is executed. Every key must be known: what is missing or unexpected is listed. Download
    EmoTalk.pth yourself; its licence (CC BY-NC) is its authors'. A Hugging Face wav2vec2 folder as SRC makes a model
    with fresh heads whose encoders start from it.

    With --onnx the streaming network in SRC gets graphs for ONNX Runtime (in SRC/onnx, without weights: those of
    model.safetensors are used), which are run against torch over a stream before they take their place.
    """
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    if onnx:
        _make_graphs(source, console, errors)
        return
    if out is None:
        raise typer.BadParameter("name the folder or file to write", param_hint="OUT")
    from emotalk_ros.model import conversion

    try:
        if overwrite:
            errors.replaces(out)
        with console.status(f"converting {source}"):
            if to_published:
                notes = conversion.convert_to_published(source, out, overwrite)
            elif source.is_dir():
                notes = []
                conversion.convert_wav2vec2(source, out, emotion_encoder, config, overwrite)
            else:
                notes = []
                conversion.convert_published(source, out, config, overwrite)
    except (OSError, ValueError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from error
    for note in notes:
        console.label("note:", note)
    console.print(f"wrote {out}")


def _make_graphs(source: Path, console: Terminal, errors: Terminal) -> None:
    try:
        from emotalk_ros.runtime.export import FOLDER, make_graphs

        errors.replaces(source / FOLDER)
        with console.status(f"graphs of {source}"):
            made = make_graphs(source)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from error
    size = sum(path.stat().st_size for path in made.files) / 1e6
    console.print(
        f"wrote {len(made.files)} files, {size:.1f} MB, into {made.files[0].parent}; largest difference to torch's "
        f"coefficients over {made.seconds:g} s: {made.difference:.1e}, in eight bits {made.difference_int8:.3f}"
    )
