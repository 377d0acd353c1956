"""`emotalk sheet`: stills of the emotions as a face shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("sheet")(sheet)


def sheet(
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture (.png).")] = Path("emotions.png"),
    person: Annotated[int, typer.Option(min=0, max=23, help="Personal style; 0 is the average.")] = 0,
    intensities: Annotated[
        str, typer.Option(help="Intensities of the columns, 0 to 2, separated by commas.")
    ] = "0,0.5,1,1.5,2",
    persons: Annotated[
        str | None,
        typer.Option(help="Instead: one row for each of these persons (3,7,12 or all), at the first intensity given."),
    ] = None,
    blind: Annotated[
        int | None,
        typer.Option(
            help="Instead: the eight emotions without names, in an order drawn from this seed; prints the key."
        ),
    ] = None,
    motion: Annotated[
        Path | None, typer.Option(help="Show it on a frame of this motion (neutral speech), not on a mouth at rest.")
    ] = None,
    at: Annotated[float, typer.Option(min=0.0, help="Second of the motion.")] = 0.0,
    face: Annotated[
        str, typer.Option(help="default, or an npz, a glb or gltf avatar, a folder of OBJ files.")
    ] = "default",
    size: Annotated[int, typer.Option(min=64, max=1024, help="Height of each face in pixels.")] = 240,
    yaw: Annotated[float, typer.Option(min=-75.0, max=75.0, help="Turn of the head to its left, degrees.")] = 0.0,
) -> None:
    """Draw a sheet of stills: eight emotions by intensities, for one person or for several, with or without names."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        from emotalk_ros.face import read_basis
        from emotalk_ros.reports import sheet as sheets

        values = _numbers(intensities)
        key = ""
        if blind is not None:
            stills = sheets.without_names(person, blind, values[0] if len(values) == 1 else 1.0)
            columns, key = 4, ", ".join(f"{still.title} {still.emotion}" for still in stills)
        elif persons is not None:
            stills = sheets.persons_by_emotion(_persons(persons), values[0] if len(values) == 1 else 1.0)
            columns = 8
        else:
            stills, columns = sheets.emotions_by_intensity(person, values), len(values)
        said = None if motion is None else _frame(motion, at)
        errors.replaces(output)
        with errors.status("drawing"):
            picture = sheets.draw_sheet(stills, columns, size, read_basis(face), said, yaw)
            sheets.save_picture(picture, output)
    except (OSError, ValueError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; nothing half-written is left")
        raise typer.Exit(130) from None
    console.print(f"{output}: {len(stills)} faces")
    if key:
        console.print(f"key: {key}")


def _numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"intensities {text!r}: must be numbers separated by commas, such as 0,0.5,1") from None
    if not all(0.0 <= value <= 2.0 for value in values):
        raise ValueError(f"intensities {text!r}: must lie in 0 to 2")
    return values


def _persons(text: str) -> list[int]:
    from emotalk_ros.face.styles import PERSONS

    if text.strip() == "all":
        return list(range(PERSONS))
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"persons {text!r}: must be 'all' or whole numbers separated by commas, such as 0,3,7"
        ) from None
    if not all(0 <= value < PERSONS for value in values):
        raise ValueError(f"persons {text!r}: must lie in 0 to {PERSONS - 1}")
    return values


def _frame(path: Path, second: float) -> Any:
    from emotalk_ros.motion.files import read_motion

    frames, fps = read_motion(path)
    index = round(second * fps)
    if index >= len(frames):
        raise ValueError(f"{path} is {len(frames) / fps:.2f} s long: no frame at second {second:g}")
    return frames[index]
