"""`emotalk export-face`: a face as a GLB avatar with the 52 shapes as morph targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export-face")(export_face)


def export_face(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The .glb file to write.")],
    face: Annotated[
        str, typer.Option(help="default, or an npz, a glb or gltf avatar, a folder of OBJ files.")
    ] = "default",
) -> None:
    """Export a face as glTF (GLB) with 52 ARKit morph targets: for Blender, game engines and `emotalk live`."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        if output.suffix.lower() != ".glb":
            raise ValueError(f"{output}: only .glb is written; name the file {output.stem}.glb")
        if not output.parent.is_dir():
            raise FileNotFoundError(f"no folder {output.parent} to write {output.name} into: make it first")
        from emotalk_ros.face import read_basis
        from emotalk_ros.face.gltf_writer import default_surfaces, write_glb

        basis = read_basis(face)
        errors.replaces(output)
        size = write_glb(output, basis, default_surfaces() if face == "default" else None)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; nothing half-written is left")
        raise typer.Exit(130) from None
    lacking = f"; {len(basis.missing)} of 52 do not move: {', '.join(basis.missing)}" if basis.missing else ""
    console.print(
        f"{output}: {basis.name}, {len(basis)} vertices, 52 morph targets, {size / 1e6:.1f} MB{lacking}",
        highlight=False,
        soft_wrap=True,
    )
