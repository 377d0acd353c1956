"""`emotalk doctor`: a test pattern to an avatar, so that a person sees at once whether it listens."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from emotalk_ros.commands.send import Names, Protocol


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(
    protocol: Annotated[Protocol, typer.Argument(help="livelink, vmc or ifacialmocap.")],
    to: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Machine that shows the avatar.")] = "127.0.0.1",
    names: Annotated[Names, typer.Option(help="How a VRM avatar calls its shapes (vmc).")] = Names.perfect_sync,
    subject: Annotated[str, typer.Option(help="Name of the face in Unreal (livelink).")] = "emotalk",
    mapping: Annotated[Path | None, typer.Option(help="YAML file with names and gains.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Rounds.")] = 3,
) -> None:
    """Send blink, jaw, smile, one after another, and say what is sent: does the avatar follow?"""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    ending = threading.Event()
    try:
        from emotalk_ros.bridges import make_output, pattern_motion
        from emotalk_ros.bridges.drive import Driver, frames_of, watch
        from emotalk_ros.bridges.pattern import moving
        from emotalk_ros.commands.live import read_names
        from emotalk_ros.motion import FaceFrame

        output = make_output(protocol.value, to, names=names.value, subject=subject, mapping=read_names(mapping))
        console.print(f"sending {protocol.value} to {output.target.host}:{output.target.port}")
        problems: list[str] = []

        def tell(text: str) -> None:
            problems.append(text)
            errors.print(text, style="yellow")

        shown: list[str] = []

        def show(frame: FaceFrame) -> None:
            name = moving(frame.index)
            if shown[-1:] != [name]:
                shown.append(name)
                console.print(f"  {name}")

        watch(output, tell, ending, period=0.5)
        try:
            with Driver(output, 30.0, show) as driver:
                driver.put(frames_of(pattern_motion(repeats=repeats), 30.0))
                driver.finish()
        finally:
            output.close()
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; the avatar was told to rest")
        raise typer.Exit(130) from None
    finally:
        ending.set()
    if driver.figures.lost:
        console.print(f"{driver.figures.lost} of {driver.figures.frames + driver.figures.lost} frames did not get out")
        raise typer.Exit(1)
    console.print(
        f"{driver.figures.frames} frames sent. Did the avatar stay still? Its program must listen at this port and "
        "for this protocol; names matter (vmc: --names, case counts); a firewall may drop UDP.",
        highlight=False,
        soft_wrap=True,
    )
