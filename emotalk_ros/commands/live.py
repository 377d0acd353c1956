"""`emotalk live`: a page in the browser where one speaks and sees a face move."""

from __future__ import annotations

from pathlib import Path
from secrets import randbelow
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotalk_ros.commands.animate import Detector, DetectorOption, ThresholdOption

if TYPE_CHECKING:
    from emotalk_ros.face.aliases import MappingFile


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("live")(live)


def live(
    host: Annotated[str, typer.Option(help="Address to serve on; 0.0.0.0: all, with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8765,
    avatar: Annotated[
        Path | None, typer.Option(help="GLB or VRM avatar; default: the project's own face.", dir_okay=False)
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that names the avatar's morph targets.")] = None,
    robot: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMESPACE", help="Also show the face of this namespace's ROS topics; repeatable."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the one that ships.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    backend: Annotated[
        str, typer.Option(help="auto (the faster one, by a short measurement), torch, onnx, or onnx-int8.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the network.")] = None,
    hop: Annotated[float, typer.Option(help="Seconds of audio between two runs of the network.")] = 0.1,
    emotion_every: Annotated[
        float,
        typer.Option(
            min=0, max=10, help="Full attention: seconds between two runs of the emotion encoder; 0: each hop."
        ),
    ] = 0.0,
    voice_detector: DetectorOption = Detector.silero,
    voice_threshold: ThresholdOption = 0.35,
    visitors: Annotated[int, typer.Option(min=1, max=256, help="Voices at a time.")] = 8,
    token: Annotated[str, typer.Option(help="Secret in the page's address; default: a new one where needed.")] = "",
    certificate: Annotated[str, typer.Option(help="PEM file for https, with --key.")] = "",
    key: Annotated[str, typer.Option(help="PEM file of its key.")] = "",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser of this machine.")] = True,
) -> None:
    """Open a page: speak into the microphone, or play a file, and the face moves. Needs no ROS; Ctrl-C ends it."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        from emotalk_ros.live.settings import LiveSettings

        settings = LiveSettings(host=host, port=port, token=token, visitors=visitors, certificate=certificate, key=key)
        glb = read_avatar(avatar)
        names = read_names(mapping)
        if avatar is not None:
            errors.print(avatar_report(glb, names))
        from emotalk_ros.audio import VoiceSettings
        from emotalk_ros.commands.animate import load_network
        from emotalk_ros.live import LiveServer, Voice, VoiceControls
        from emotalk_ros.streaming import StreamSettings

        feeds, end = _robot_feeds(robot or [])
        server = LiveServer(
            None,
            glb,
            settings,
            feeds=feeds,
            mapping=names,
            avatar_name=avatar.name if avatar else "the project's own face",
        )
        address = server.bind()
        with errors.status("loading the model"):
            network = load_network(model, device, threads, backend, compare=True)
            stream = StreamSettings(hop=hop, emotion_every=emotion_every)
            detector = VoiceSettings(voice_detector.value, voice_threshold)
            Voice(network, stream, detector=detector).warm_up()
            server.make_voice = lambda: Voice(network, stream, VoiceControls(seed=randbelow(2**31)), detector=detector)
            server.persons = int(getattr(network.config, "num_persons", 1))
        console.print(address, style="bold")
        if not settings.local:
            errors.label(
                "whoever knows this address can speak to this machine:",
                "the token in it is the only lock. Browsers give the microphone to https or localhost only: use "
                f"--certificate and --key, or ssh -L {server.port}:localhost:{server.port}.",
            )
        console.print("open it in a browser; Ctrl-C ends it")
        if browser and settings.local:
            _open(address)
        try:
            server.run()
        finally:
            end()
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def read_avatar(path: Path | None) -> bytes:
    """The bytes of an avatar that can be worn. Raises ValueError or OSError that names what is wrong with it."""
    from emotalk_ros.face import default_face
    from emotalk_ros.face.gltf_writer import default_surfaces, glb_bytes
    from emotalk_ros.live.avatar import check_avatar

    return glb_bytes(default_face(), default_surfaces()) if path is None else check_avatar(path)


def avatar_report(glb: bytes, names: MappingFile | None) -> str:
    """What of an avatar will move, in words. Raises MappingError for a mapping that is another avatar's."""
    from emotalk_ros.face.aliases import match
    from emotalk_ros.live.avatar import morph_names

    return match(morph_names(glb), names).report()


def read_names(path: Path | None) -> MappingFile | None:
    """A mapping file, if one is given."""
    from emotalk_ros.face.aliases import read_mapping

    return None if path is None else read_mapping(path)


def _robot_feeds(robots: list[str]) -> tuple[list[Any], Any]:
    """The faces of robots' topics, and what ends their node."""
    if not robots:
        return [], lambda: None
    from emotalk_ros.nodes.processes import check_ros

    check_ros()
    from emotalk_ros.nodes.face_viewer_node import watch_robots

    return watch_robots(robots)


def _open(address: str) -> None:
    import os
    import sys
    import webbrowser

    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(address)
