"""`emotalk render`: a motion as a film of a face."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("render")(render)


def render(
    motions: Annotated[
        list[Path],
        typer.Argument(
            metavar="MOTION...",
            help="csv, npz or json of `emotalk animate`, Live Link csv, npy; several: side by side.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".webp, .gif, .mp4, or .png for a sheet of stills; default: MOTION.webp."),
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Sound of the film (mp4 only).")] = None,
    face: Annotated[
        str, typer.Option(help="default, or an npz, a glb or gltf avatar, a folder of OBJ files.")
    ] = "default",
    mapping: Annotated[Path | None, typer.Option(help="YAML file that names an avatar's morph targets.")] = None,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Width and height of each face in pixels.")] = 320,
    yaw: Annotated[float, typer.Option(min=-75.0, max=75.0, help="Turn of the head to its left, degrees.")] = 0.0,
    pitch: Annotated[float, typer.Option(min=-60.0, max=60.0, help="Tilt of the head upwards, degrees.")] = 0.0,
    fps: Annotated[
        float | None, typer.Option(min=1.0, max=120.0, help="Pictures per second; default: the motion's own.")
    ] = None,
    start: Annotated[float, typer.Option(min=0.0, help="Begin at this second.")] = 0.0,
    seconds: Annotated[float | None, typer.Option(min=0.04, help="Length; default: to the end.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Jagged edges, three times as fast.")] = False,
) -> None:
    """Show a motion on a face: one command from coefficients to a moving picture. Needs no GPU and no display."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        target = output or motions[0].with_suffix(".webp")
        if target in motions:
            raise ValueError(f"{target} is the motion itself: name another file with -o")
        errors.replaces(target)
        with errors.status("reading"):
            basis, clips, rate = _read(motions, face, mapping, fps, start, seconds)
        begin = time.perf_counter()
        with _bar(errors) as progress:
            from emotalk_ros.reports.render import View
            from emotalk_ros.reports.video import write_video

            view = View(size=size, yaw=yaw, pitch=pitch, samples=1 if draft else 2)
            pictures = _pictures(basis, clips, view, progress)
            with _cut(audio, start) as sound:
                write_video(pictures, target, rate, sound)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; nothing half-written is left")
        raise typer.Exit(130) from None
    count = min(len(clip) for clip in clips)
    spent = time.perf_counter() - begin
    console.print(
        f"{target}: {count} frames at {rate:g} fps, {count / rate:.2f} s, {basis.name} ({count / spent:.0f} a second)",
        highlight=False,
        soft_wrap=True,
    )


def _read(
    motions: list[Path], face: str, mapping: Path | None, fps: float | None, start: float, seconds: float | None
) -> tuple[Any, list[Any], float]:
    """The face, the motions cut to what is wanted, and their rate: all at that of the first."""
    from emotalk_ros.face import read_basis
    from emotalk_ros.face.aliases import read_mapping
    from emotalk_ros.motion.files import read_motion

    basis = read_basis(face, None if mapping is None else read_mapping(mapping))
    first, rate = read_motion(motions[0], fps)
    clips = [first] + [read_motion(path, rate)[0] for path in motions[1:]]
    begin = round(start * rate)
    end = None if seconds is None else begin + max(1, round(seconds * rate))
    cut = [clip[begin:end] for clip in clips]
    for path, clip, whole in zip(motions, cut, clips, strict=True):
        if len(clip) == 0:
            raise ValueError(f"{path} is {len(whole) / rate:.2f} s long: nothing at second {start:g}")
    return basis, cut, rate


def _cut(audio: Path | None, start: float) -> Any:
    """The sound from `start` on, as a file that lives as long as the context (nothing to cut: the file itself)."""
    from contextlib import contextmanager, nullcontext

    if audio is None or start == 0:
        return nullcontext(audio)

    @contextmanager
    def later() -> Iterator[Path]:
        import tempfile

        import soundfile

        with soundfile.SoundFile(audio) as source:
            source.seek(min(round(start * source.samplerate), source.frames))
            samples, rate = source.read(), source.samplerate
        with tempfile.TemporaryDirectory(prefix="emotalk_render_") as folder:
            soundfile.write(Path(folder) / "sound.wav", samples, rate)
            yield Path(folder) / "sound.wav"

    return later()


def _pictures(basis: Any, clips: list[Any], view: Any, progress: Progress) -> Iterator[Any]:
    from emotalk_ros.reports.render import iterate_frames, side_by_side

    count = min(len(clip) for clip in clips)
    streams = [iterate_frames(basis, clip[:count], view) for clip in clips]
    task = progress.add_task("drawing", total=count)
    for picture in streams[0] if len(streams) == 1 else side_by_side(*streams):
        yield picture
        progress.advance(task)
    progress.update(task, description="writing")


def _bar(console: Any) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from emotalk_ros.terminal import text_column

    columns = (text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
