"""`emotalk send` and `emotalk receive`: faces to avatars and from phones, without ROS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotalk_ros.commands.animate import Detector, DetectorOption, ThresholdOption

if TYPE_CHECKING:
    from emotalk_ros.audio import VoiceSettings
    from emotalk_ros.bridges import Output
    from emotalk_ros.motion import FaceFrame, MotionSettings


class Protocol(str, Enum):
    """What avatars listen to."""

    livelink = "livelink"
    vmc = "vmc"
    ifacialmocap = "ifacialmocap"


class Names(str, Enum):
    """Sets of names for VMC."""

    perfect_sync = "perfect-sync"
    arkit = "arkit"
    vrm0 = "vrm0"
    vrm1 = "vrm1"


MOTION_SUFFIXES = (".csv", ".npz", ".json", ".npy")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("send")(send)
    app.command("receive")(receive)


def send(
    protocol: Annotated[
        Protocol, typer.Argument(help="livelink (Unreal, MetaHuman), vmc (VRM avatars) or ifacialmocap.")
    ],
    source: Annotated[
        Path | None,
        typer.Argument(help="Speech (wav, flac, ...) or a motion (csv, npz, json of `emotalk animate`)."),
    ] = None,
    to: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Machine that shows the avatar.")] = "127.0.0.1",
    microphone: Annotated[
        str | None, typer.Option(help="Speak instead: input device by name, part of it, or index; '' for the default.")
    ] = None,
    names: Annotated[Names, typer.Option(help="How a VRM avatar calls its shapes (vmc).")] = Names.perfect_sync,
    subject: Annotated[str, typer.Option(help="Name of the face in Unreal (livelink).")] = "emotalk",
    mapping: Annotated[Path | None, typer.Option(help="YAML file with names and gains.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Again and again, until Ctrl-C.")] = False,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the one that ships.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    person: Annotated[int, typer.Option(help="Personal style, 0 to 23.")] = 0,
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="Intensity of the style.")] = 1.0,
    emotion: Annotated[str, typer.Option(metavar="LABEL[:W,...]", help="heard, a label, or a mixture.")] = "heard",
    intensity: Annotated[float, typer.Option(min=0.0, max=2.0, help="Strength of the emotion.")] = 1.0,
    head: Annotated[bool, typer.Option(help="Move the head a little with the voice.")] = True,
    gaze: Annotated[bool, typer.Option(help="Move the eyes.")] = True,
    blinks: Annotated[bool, typer.Option(help="Blink now and then.")] = True,
    voice_detector: DetectorOption = Detector.silero,
    voice_threshold: ThresholdOption = 0.35,
) -> None:
    """Drive an avatar in real time over UDP: from speech, a microphone or a motion file. Needs no ROS."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    ending = threading.Event()
    try:
        if (source is None) == (microphone is None):
            raise ValueError("give a sound or motion file, or --microphone, and not both")
        if source is not None and not source.is_file():
            raise FileNotFoundError(f"no file {source}")
        from emotalk_ros.audio import VoiceSettings
        from emotalk_ros.bridges import make_output
        from emotalk_ros.bridges.drive import watch
        from emotalk_ros.commands.live import read_names

        frames: Any
        if source is not None and source.suffix.lower() in MOTION_SUFFIXES:
            frames, fps = _motion(source)
        else:
            with errors.status("loading the model"):
                frames, fps = _speech(
                    source,
                    microphone,
                    model,
                    device,
                    (person, level, emotion, intensity),
                    _movements(head, gaze, blinks, source),
                    VoiceSettings(voice_detector.value, voice_threshold),
                )
        output = make_output(
            protocol.value, to, names=names.value, subject=subject, mapping=read_names(mapping), fps=fps
        )
        errors.print(
            f"sending {protocol.value} to {output.target.host}:{output.target.port}, {fps:g} frames a second",
            highlight=False,
        )
        watch(
            output,
            lambda text: errors.print(text, style="yellow"),
            ending,
        )
        figures = _drive(output, frames, fps, loop)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; the avatar was told to rest")
        raise typer.Exit(130) from None
    finally:
        ending.set()
    console.print(
        f"sent {figures.frames} frames, {figures.lost} not; "
        f"99 of 100 within {1000 * figures.jitter():.1f} ms of their time",
        highlight=False,
    )


def _drive(output: Output, frames: Any, fps: float, loop: bool) -> Any:
    """Send everything; `frames` makes a new iterator for each round."""
    from emotalk_ros.bridges.drive import Driver

    try:
        with Driver(output, fps) as driver:
            while True:
                driver.put(frames())
                driver.finish()
                if not loop:
                    return driver.figures
    finally:
        output.close()


def _motion(source: Path) -> tuple[Any, float]:
    from emotalk_ros.bridges.drive import frames_of
    from emotalk_ros.motion.files import read_motion

    coefficients, fps = read_motion(source)
    return lambda: frames_of(coefficients, fps), fps


def _movements(head: bool, gaze: bool, blinks: bool, source: Path | None) -> MotionSettings:
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.motion.seeds import clip_seed, face_seed
    from emotalk_ros.motion.stages.blinks import BlinkSettings
    from emotalk_ros.motion.stages.gaze import GazeSettings
    from emotalk_ros.motion.stages.head import HeadSettings

    seed = face_seed("send") if source is None else clip_seed(source)
    return MotionSettings(
        head=HeadSettings(on=head, seed=seed),
        gaze=GazeSettings(on=gaze, seed=seed),
        blinks=BlinkSettings(on=blinks, seed=seed),
    )


def _speech(
    source: Path | None,
    microphone: str | None,
    model: Path | None,
    device: str,
    style: tuple[int, float, str, float],
    movements: MotionSettings,
    voice: VoiceSettings,
) -> tuple[Any, float]:
    from emotalk_ros.commands.animate import controls_of, load_network
    from emotalk_ros.streaming import FaceStream, StreamSettings

    network = load_network(model, device, None)
    person, level, emotion, intensity = style
    controls = controls_of(network, person, level, emotion, None, intensity)
    stream = FaceStream(network, StreamSettings(), controls, movements, voice=voice)
    if source is None:
        return lambda: _from_microphone(stream, microphone or ""), stream.fps
    return lambda: _from_file(stream, source), stream.fps


def _from_file(stream: Any, source: Path) -> Iterator[FaceFrame]:
    """As fast as they can be made; the driver paces them."""
    from emotalk_ros.audio import AudioFile, mono_blocks

    stream.reset()
    with AudioFile(source) as file:
        for block in mono_blocks(file, seconds=0.5):
            yield from stream.push(block)
    yield from stream.end()


def _from_microphone(stream: Any, device: str) -> Iterator[FaceFrame]:
    from emotalk_ros.audio import PcmChunk
    from emotalk_ros.audio.capture import CaptureSettings, Microphone

    settings = CaptureSettings(device=device)
    stream.reset()
    with Microphone(settings) as source:
        while True:
            block = source.read()
            chunk = PcmChunk(block.data, settings.encoding, settings.channels, source.sample_rate, block.stamp_ns)
            yield from stream.push(chunk)


def receive(
    output: Annotated[Path, typer.Option("--output", "-o", help="Live Link Face csv to write.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port that the phone sends to.")] = 11111,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Length; default: until Ctrl-C.")] = None,
    microphone: Annotated[
        str | None,
        typer.Option(help="Record sound beside it (wav of the same name): input device, '' for the default."),
    ] = None,
) -> None:
    """Record a performance from a phone that runs Live Link Face. `emotalk prepare livelink` makes a corpus of it."""
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        from emotalk_ros.bridges import LiveLinkReceiver
        from emotalk_ros.bridges.take import Take

        if output.suffix.lower() != ".csv":
            raise ValueError(f"{output}: a performance is written as csv; name the file {output.stem}.csv")
        if not output.parent.is_dir():
            raise FileNotFoundError(f"no folder {output.parent} to write {output.name} into: make it first")
        receiver = LiveLinkReceiver(port)
        errors.print(
            f"listening at UDP port {receiver.port}: in the app, set this machine's address and that port",
            highlight=False,
        )
        take = Take(output, microphone)
        try:
            take.record(receiver, seconds, lambda text: errors.print(text))
        except KeyboardInterrupt:
            errors.print("finishing")
        finally:
            receiver.close()
        summary = take.write()
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    console.print(summary)
