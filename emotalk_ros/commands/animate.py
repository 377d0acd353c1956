"""`emotalk animate`: recordings in, motions out, with no ROS at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from emotalk_ros.audio import VoiceSettings
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.motion.files import Motion
    from emotalk_ros.streaming import Controls


class Order(str, Enum):
    """Orders of the 52 columns."""

    arkit = "arkit"
    livelink = "livelink"
    livelink_udp = "livelink-udp"


class Format(str, Enum):
    """Forms of a motion on disk."""

    csv = "csv"
    npz = "npz"
    json = "json"
    livelink_csv = "livelink-csv"


class Detector(str, Enum):
    """What counts as speech."""

    silero = "silero"
    energy = "energy"
    off = "off"


DetectorOption = Annotated[
    Detector,
    typer.Option(help="What moves the mouth: silero: voices, not music or noise; energy: any sound; off: everything."),
]
ThresholdOption = Annotated[
    float, typer.Option(min=0.05, max=0.95, help="Probability of a voice from which on silero believes it.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("animate")(animate)


def animate(
    audio: Annotated[
        list[Path], typer.Argument(metavar="AUDIO...", help="Speech: wav, flac, ogg, opus, mp3, aiff, ...")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File (.csv, .npz, .json) or folder; default: beside each recording."),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default: by the output's suffix, csv for a folder.")
    ] = None,
    order: Annotated[
        Order, typer.Option(help="Order of the columns: alphabetical, Live Link Face's files, its packets.")
    ] = Order.arkit,
    fps: Annotated[
        float | None, typer.Option(min=10.0, max=120.0, help="Frames per second; default: the model's, 30.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the one that ships.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: 1 for a small model, else half the cores.")
    ] = None,
    person: Annotated[int, typer.Option(help="Personal style, 0 to 23.")] = 0,
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="Intensity of the style.")] = 1.0,
    emotion: Annotated[
        str, typer.Option(metavar="LABEL[:W,...]", help="heard, a label, or a mixture: happy:0.7,surprised:0.3")
    ] = "heard",
    emotion_audio: Annotated[Path | None, typer.Option(help="Take the emotion from this recording instead.")] = None,
    intensity: Annotated[float, typer.Option(min=0.0, max=2.0, help="Strength of the emotion.")] = 1.0,
    gain: Annotated[float, typer.Option(min=0.0, max=4.0, help="Multiplies all coefficients.")] = 1.0,
    level_jaw: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the mouth's opening that follows the loudness.")
    ] = 0.6,
    expression: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much of the emotion's own expression is added; 0 for none.")
    ] = 1.0,
    smoothing: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Time constant in seconds; closing lips pass.")
    ] = 0.02,
    expression_smoothing: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Time constant of the upper face in seconds.")
    ] = 0.1,
    rest: Annotated[bool, typer.Option(help="Bring the mouth to rest in silence.")] = True,
    blinks: Annotated[bool, typer.Option(help="Blink now and then.")] = True,
    head: Annotated[bool, typer.Option(help="Move the head with the voice: angles in Live Link csv.")] = False,
    gaze: Annotated[bool, typer.Option(help="Move the eyes: the eyeLook coefficients.")] = False,
    seed: Annotated[int, typer.Option(help="Of blinks, head and gaze.")] = 0,
    voice_detector: DetectorOption = Detector.silero,
    voice_threshold: ThresholdOption = 0.35,
    live: Annotated[
        bool, typer.Option("--live", help="In the live node's short windows, to see what it would do.")
    ] = False,
) -> None:
    """Animate recordings: 52 ARKit coefficients per frame (and in npz and json the emotion heard).

    csv: a `time` column in seconds, then the 52 named columns. npz: time, coefficients, names, fps, activity, emotion,
    emotion_labels. json: per frame time, coefficients, activity, emotion.
    """
    from emotalk_ros.terminal import Terminal

    console, errors = Terminal(), Terminal(stderr=True)
    try:
        jobs = plan(audio, output, form.value if form else None)
        from emotalk_ros.audio import VoiceSettings
        from emotalk_ros.motion import MotionSettings
        from emotalk_ros.motion.stages.blinks import BlinkSettings
        from emotalk_ros.motion.stages.expression import ExpressionSettings
        from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothingSettings
        from emotalk_ros.motion.stages.gains import GainSettings
        from emotalk_ros.motion.stages.gaze import GazeSettings
        from emotalk_ros.motion.stages.head import HeadSettings
        from emotalk_ros.motion.stages.level_jaw import LevelJawSettings
        from emotalk_ros.motion.stages.rest import RestSettings
        from emotalk_ros.motion.stages.smoothing import SmoothingSettings

        stages = MotionSettings(
            level_jaw=LevelJawSettings(level_jaw),
            expression=ExpressionSettings(expression),
            gains=GainSettings(gain),
            smoothing=SmoothingSettings(smoothing),
            expression_smoothing=ExpressionSmoothingSettings(expression_smoothing),
            rest=RestSettings(rest),
            blinks=BlinkSettings(blinks, seed=seed),
            head=HeadSettings(head, seed=seed),
            gaze=GazeSettings(gaze, seed=seed),
        )
        voice = VoiceSettings(voice_detector.value, voice_threshold)
        with errors.status("loading the model"):
            network = load_network(model, device, threads)
            controls = controls_of(network, person, level, emotion, emotion_audio, intensity)
        with _bar(errors) as progress:
            for job in jobs:
                begin = time.perf_counter()
                motion = _perform(network, job, controls, stages, voice, fps, live, progress)
                from emotalk_ros.motion.files import write_motion

                write_motion(job.output, motion, job.form, order.value)
                progress.console.print(
                    _summary(job, motion, time.perf_counter() - begin), highlight=False, soft_wrap=True
                )
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; finished files are whole, nothing half-written is left")
        raise typer.Exit(130) from None
    console.print(f"wrote {len(jobs)} file{'s' * (len(jobs) > 1)}")


@dataclass(frozen=True)
class AnimationJob:
    """One recording, and where its motion goes."""

    audio: Path
    output: Path
    form: str


def plan(audio: list[Path], output: Path | None, form: str | None) -> list[AnimationJob]:
    """What to write where. Raises ValueError or OSError that names what is in the way, before any work."""
    from emotalk_ros.motion.files import FORMATS, format_of

    for path in audio:
        if not path.exists():
            raise FileNotFoundError(f"no audio file {path}")
    folder = output is not None and (output.is_dir() or (len(audio) > 1 and not output.exists() and not output.suffix))
    if len(audio) > 1 and output is not None and not folder:
        raise ValueError(f"{len(audio)} recordings cannot go into one file {output}: name a folder with -o")
    if output is not None and not folder:
        if not output.parent.is_dir():
            raise FileNotFoundError(f"no folder {output.parent} to write {output.name} into: make it first")
        return [AnimationJob(audio[0], output, form or format_of(output))]
    form = form or "csv"
    if output is not None:
        output.mkdir(exist_ok=True, parents=True)
    jobs = [AnimationJob(path, (output or path.parent) / f"{path.stem}{FORMATS[form][0]}", form) for path in audio]
    twice = sorted({str(job.output) for job in jobs if sum(job.output == other.output for other in jobs) > 1})
    if twice:
        raise ValueError(f"more than one recording would be written to {', '.join(twice)}: animate them one by one")
    return jobs


def parse_emotion(text: str) -> dict[str, float]:
    """`happy:0.7,surprised:0.3` as weights; `heard` as none. Raises ValueError that shows the form and the labels."""
    from emotalk_ros.emotions import canonical

    if text.strip().lower() == "heard":
        return {}
    weights: dict[str, float] = {}
    for part in text.split(","):
        label, _, weight = part.partition(":")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            raise ValueError(
                f"emotion {text!r}: {weight!r} is no weight; write it like happy:0.7,surprised:0.3"
            ) from None
        if not 0 <= value <= 1e6:
            raise ValueError(f"emotion {text!r}: the weight {weight} must not be negative")
        weights[canonical(label)] = weights.get(canonical(label), 0.0) + value
    return weights


def load_network(path: Path | None, device: str, threads: int | None) -> Any:
    """The network on its device (auto, cpu, cuda, cuda:N). Raises ValueError, or what `load_model` raises."""
    import os

    import torch

    from emotalk_ros.model import load_model

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r}: use auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: this machine (or this build of torch) has no CUDA; use cpu")
    network = load_model(path, device)
    if threads is None:  # more threads than idle cores make a small network several times slower
        small = sum(parameter.numel() for parameter in network.parameters()) < 20e6
        threads = 1 if small else max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    return network


def controls_of(
    network: Any, person: int, level: float, emotion: str, emotion_audio: Path | None, intensity: float
) -> Controls:
    """Style and emotion as the options say. Raises ValueError that names the value."""
    from emotalk_ros.model import EmotionControl
    from emotalk_ros.streaming import Controls

    labels = parse_emotion(emotion)
    if emotion_audio is not None:
        from emotalk_ros.audio import load_audio

        if labels:
            raise ValueError(f"the emotion can come from {emotion_audio} or be {emotion!r}, not both")
        control = EmotionControl.from_clip(load_audio(emotion_audio), intensity)
    else:
        control = EmotionControl(labels=labels, intensity=intensity)
    controls = Controls(person, level, None if control.is_heard else control)
    controls.check(network)
    return controls


def _perform(
    network: Any,
    job: AnimationJob,
    controls: Controls,
    stages: MotionSettings,
    voice: VoiceSettings,
    fps: float | None,
    live: bool,
    progress: Progress,
) -> Motion:
    from emotalk_ros.audio import AudioFile, AudioFormatError, mono_blocks
    from emotalk_ros.motion.files import Motion
    from emotalk_ros.streaming import StreamSettings
    from emotalk_ros.streaming import animate as perform

    rate = float(fps or network.config.fps)
    task = progress.add_task(job.audio.name, total=None)
    with AudioFile(job.audio) as file:
        # Compressed files may not know their length; then the bar only shows that something moves.
        progress.update(task, total=file.duration if 0 < file.duration < 1e6 else None)

        def pieces() -> Iterator[Any]:
            for piece in mono_blocks(file):
                yield piece
                progress.advance(task, len(piece) / 16000)

        settings = StreamSettings(fps=fps) if live else None
        frames = perform(network, pieces(), controls, stages, fps, settings, voice)
        motion = Motion.of(frames, rate, getattr(network.config, "emotion_labels", ()) or (), job.audio.name)
    progress.remove_task(task)
    if not len(motion.time):
        raise AudioFormatError(f"{job.audio} holds no audio: 0 samples")
    return motion


def _bar(console: Any) -> Progress:
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    from emotalk_ros.terminal import text_column

    columns = (
        text_column("{task.description}"),
        BarColumn(),
        text_column("{task.completed:.0f} s"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _summary(job: AnimationJob, motion: Motion, seconds: float) -> str:
    duration = len(motion.time) / motion.fps
    text = f"{job.audio.name} -> {job.output}: {len(motion.time)} frames at {motion.fps:g} fps"
    if motion.emotion_labels:
        speaking = motion.activity >= 0.5
        mean = motion.emotion[speaking if speaking.any() else slice(None)].mean(axis=0)
        text += f", heard mostly {motion.emotion_labels[int(mean.argmax())]} ({mean.max():.2f})"
    return f"{text}, {duration / max(seconds, 1e-9):.0f} x real time"
