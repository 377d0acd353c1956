"""`emotalk doctor`: what stands between a voice and a moving face, line by line, each with its remedy."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotalk_ros.commands.send import Names, Protocol

if TYPE_CHECKING:
    from emotalk_ros.nodes.findings import Finding
    from emotalk_ros.terminal import Terminal

STYLES = {"ok": "green", "note": "", "trouble": "red", "not looked at": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(
    protocol: Annotated[
        Protocol | None,
        typer.Argument(help="Try an avatar: livelink, vmc or ifacialmocap. Default: look at everything."),
    ] = None,
    to: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Machine that shows the avatar.")] = "127.0.0.1",
    names: Annotated[Names, typer.Option(help="How a VRM avatar calls its shapes (vmc).")] = Names.perfect_sync,
    subject: Annotated[str, typer.Option(help="Name of the face in Unreal (livelink).")] = "emotalk",
    mapping: Annotated[Path | None, typer.Option(help="YAML file with names and gains.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of the test pattern.")] = 3,
    node: Annotated[str, typer.Option(help="Name of the node to look for.")] = "emotalk",
    namespace: Annotated[str | None, typer.Option(help="Its namespace; default: any.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=60.0, help="How long to listen to sound and frames.")] = 3.0,
    test_pattern: Annotated[
        bool, typer.Option("--test-pattern", help="Blink, jaw, smile on every face topic; a tone on the loudspeaker.")
    ] = False,
) -> None:
    """Say what is wrong, and what helps: sound devices, the ROS graph, sound that arrives, frames that leave.

    With a PROTOCOL: send blink, jaw, smile to an avatar: does it follow? Exit code 0: no trouble found; 1: some.
    Works without ROS, too; what could not be looked at is said.
    """
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    ending = threading.Event()
    try:
        if protocol is not None:
            sound = _avatar(console, errors, ending, protocol, to, names, subject, mapping, repeats)
        else:
            sound = _everything(console, node, namespace, seconds, test_pattern, repeats)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; the avatar was told to rest" if protocol is not None else "stopped")
        raise typer.Exit(130) from None
    finally:
        ending.set()
    if not sound:
        raise typer.Exit(1)


def _everything(
    console: Terminal, node: str, namespace: str | None, seconds: float, pattern: bool, repeats: int
) -> bool:
    """Look at everything; returns whether there is no trouble."""
    troubles = 0

    def tell(findings: Iterable[Finding]) -> None:
        nonlocal troubles
        for finding in findings:
            troubles += finding.state.value == "trouble"
            _print(console, finding)

    tell(device_findings(pattern))
    tell(model_findings())
    from emotalk_ros.nodes.findings import skipped
    from emotalk_ros.nodes.processes import RosMissingError, check_ros

    try:
        check_ros()
        from emotalk_ros.nodes.checkup import CheckSettings, checkup
    except (RosMissingError, ImportError) as error:
        tell([skipped("ROS graph", str(error))])
    else:
        with checkup(CheckSettings(node, namespace, seconds)) as look:
            with console.status(f"listening to the ROS graph for {seconds:g} s"):
                findings = look.findings()
            tell(findings)
            if pattern:
                tell(look.send_pattern(lambda name: console.print(f"  {name}"), repeats))
    console.print("no trouble found" if not troubles else f"{troubles} trouble(s) found")
    return not troubles


def _print(console: Terminal, finding: Finding) -> None:
    state = finding.state.value
    console.print(f"{state:13}", style=STYLES[state] or None, end=" ")
    console.print(f"{finding.subject}: {finding.text}")
    if finding.remedy:
        console.print(f"{'':13} -> {finding.remedy}")


def device_findings(tone: bool = False) -> list[Finding]:
    """Sound devices, in and out; with `tone` half a second of sound on the default loudspeaker."""
    from emotalk_ros.audio.capture import MicrophoneError, portaudio
    from emotalk_ros.nodes.findings import note, ok, trouble

    try:
        sound = portaudio()
    except MicrophoneError as error:
        why, _, remedy = str(error).partition(": ")
        return [trouble("sound devices", why, remedy)]
    out = []
    for kind, index, remedy in (
        (
            "input",
            0,
            "connect a microphone; may this user use it (group audio)? not needed where sound comes by a topic",
        ),
        ("output", 1, "connect a loudspeaker; may this user use it (group audio)? only speaker_node needs one"),
    ):
        try:
            devices = [d for d in sound.query_devices() if d[f"max_{kind}_channels"] > 0]
            default = sound.default.device[index]
        except sound.PortAudioError as error:
            out.append(trouble(f"sound {kind}", f"the devices can't be listed: {error}", "is a sound server running?"))
            continue
        if not devices:
            out.append(note(f"sound {kind}", f"no {kind} device", remedy))
            continue
        chosen = [d["name"] for d in devices if d.get("index") == default]
        listed = ", ".join(str(d["name"]) for d in devices[:6])
        out.append(ok(f"sound {kind}", f"{chosen[0] if chosen else 'no default'}; {len(devices)} in all: {listed}"))
        if kind == "output" and tone:
            out.append(_tone(sound))
    return out


def _tone(sound: Any) -> Finding:
    import numpy as np

    from emotalk_ros.nodes.findings import note, trouble

    time = np.arange(24000) / 48000
    try:
        sound.play(0.2 * np.sin(2 * np.pi * 440 * time) * np.hanning(len(time)), 48000, blocking=True)
    except (ValueError, sound.PortAudioError) as error:
        return trouble("test tone", f"it can't be played: {error}", "does another program own the loudspeaker?")
    return note("test tone", "half a second was played on the default output", "not heard? volume, other output")


def model_findings() -> list[Finding]:
    """The network that ships, or $EMOTALK_MODEL, and the voice detector's weights."""
    from emotalk_ros.audio.silero import VoiceModelError, load_network
    from emotalk_ros.model import ModelNotFoundError, default_model_path
    from emotalk_ros.nodes.findings import ok, trouble

    out = []
    try:
        out.append(ok("network", str(default_model_path())))
    except ModelNotFoundError as error:
        out.append(trouble("network", str(error), "install the package again, or name a folder: model.path, --model"))
    try:
        load_network()
        out.append(ok("voice detector", "silero"))
    except VoiceModelError as error:
        out.append(trouble("voice detector", str(error), "until then energy decides: noise moves the mouth too"))
    return out


def _avatar(
    console: Terminal,
    errors: Terminal,
    ending: threading.Event,
    protocol: Protocol,
    to: str,
    names: Names,
    subject: str,
    mapping: Path | None,
    repeats: int,
) -> bool:
    """The test pattern to an avatar; returns whether every frame got out."""
    from emotalk_ros.bridges import make_output, pattern_motion
    from emotalk_ros.bridges.drive import Driver, frames_of, watch
    from emotalk_ros.bridges.pattern import moving
    from emotalk_ros.commands.live import read_names
    from emotalk_ros.motion import FaceFrame

    output = make_output(protocol.value, to, names=names.value, subject=subject, mapping=read_names(mapping))
    console.print(f"sending {protocol.value} to {output.target.host}:{output.target.port}")

    def tell(text: str) -> None:
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
    if driver.figures.lost:
        console.print(f"{driver.figures.lost} of {driver.figures.frames + driver.figures.lost} frames did not get out")
        return False
    console.print(
        f"{driver.figures.frames} frames sent. Did the avatar stay still? Its program must listen at this port and "
        "for this protocol; names matter (vmc: --names, case counts); a firewall may drop UDP.",
    )
    return True
