"""`emotalk animate`: recordings in, motions out, with no ROS at all."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotalk_ros.terminal import Terminal, readable

if TYPE_CHECKING:
    from rich.progress import Progress

    from emotalk_ros.audio import VoiceSettings
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.motion.files import Motion
    from emotalk_ros.motion.stages.gains import GainSettings
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
    backend: Annotated[
        str, typer.Option(help="auto (the one that starts sooner), torch, onnx, or onnx-int8 (faster, a little off).")
    ] = "auto",
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
    gain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACTOR|NAME=FACTOR", help="Multiplies all coefficients, or one; may be given several times."
        ),
    ] = None,
    mouth_gain: Annotated[
        float, typer.Option(min=0.0, max=4.0, help="Multiplies jaw, mouth, tongue and puffed cheeks besides.")
    ] = 1.0,
    upper_gain: Annotated[
        float, typer.Option(min=0.0, max=4.0, help="Multiplies brows, eyes, cheek squints and nose besides.")
    ] = 1.0,
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
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of blinks, head and gaze; default: one that follows from the recording.")
    ] = None,
    tail: Annotated[
        float,
        typer.Option(
            min=0.0, max=10.0, help="Seconds after the sound in which mouth and lids come to rest; 0 for none."
        ),
    ] = 0.3,
    channel: Annotated[str, typer.Option(help="mix, left, right, loudest, or a number counted from 0.")] = "mix",
    levelling: Annotated[bool, typer.Option(help="Amplify quiet recordings.")] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out recordings whose output is there and newer than they are.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Recordings at once, each in a process.")] = 1,
    voice_detector: DetectorOption = Detector.silero,
    voice_threshold: ThresholdOption = 0.35,
    live: Annotated[
        bool, typer.Option("--live", help="In the live node's short windows, to see what it would do.")
    ] = False,
) -> None:
    """Animate recordings: 52 ARKit coefficients per frame (and in npz and json the emotion heard).

    csv: a `time` column in seconds, then the 52 named columns. npz: time, coefficients, names, fps, activity, emotion,
    emotion_labels. json: per frame time, coefficients, activity, emotion. Of several recordings those that fail are
    named at the end, and the exit code is 2.
    """
    console, errors = Terminal(), Terminal(stderr=True)
    try:
        planned = plan(audio, output, form.value if form else None)
        todo = [job for job in planned if not (resume and job.done)]
        if len(todo) < len(planned):
            console.print(f"{len(planned) - len(todo)} of {len(planned)} are there already")
        stages = _stages(
            parse_gains(gain or [], mouth_gain, upper_gain),
            level_jaw=level_jaw,
            expression=expression,
            smoothing=smoothing,
            expression_smoothing=expression_smoothing,
            rest=rest,
            blinks=blinks,
            head=head,
            gaze=gaze,
        )
        from emotalk_ros.audio import VoiceSettings

        voice = VoiceSettings(voice_detector.value, voice_threshold)
        style = (person, level, emotion, emotion_audio, intensity)
        computing = (model, device, threads, backend)
        performance = Performance(
            *(*computing, style, fps, live, tail, channel, levelling, order.value, seed, stages, voice)
        )
        failed: list[str] = []
        for done in _perform_all(todo, performance, jobs, errors):
            for text in done.warnings:
                errors.label("warning:", text)
            if done.failure:
                failed.append(done.failure)
            else:
                console.print(done.summary)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped; finished files are whole, nothing half-written is left; --resume goes on")
        raise typer.Exit(130) from None
    for text in failed:
        errors.label("error:", text)
    if failed and len(planned) == 1:
        raise typer.Exit(1)
    written = len(todo) - len(failed)
    console.print(f"wrote {written} file{'s' * (written != 1)}" + (f", {len(failed)} failed" if failed else ""))
    if failed:
        raise typer.Exit(2)


def _stages(
    gains: GainSettings,
    *,
    level_jaw: float,
    expression: float,
    smoothing: float,
    expression_smoothing: float,
    rest: bool,
    blinks: bool,
    head: bool,
    gaze: bool,
) -> MotionSettings:
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.motion.stages.blinks import BlinkSettings
    from emotalk_ros.motion.stages.expression import ExpressionSettings
    from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothingSettings
    from emotalk_ros.motion.stages.gaze import GazeSettings
    from emotalk_ros.motion.stages.head import HeadSettings
    from emotalk_ros.motion.stages.level_jaw import LevelJawSettings
    from emotalk_ros.motion.stages.rest import RestSettings
    from emotalk_ros.motion.stages.smoothing import SmoothingSettings

    return MotionSettings(
        level_jaw=LevelJawSettings(level_jaw),
        expression=ExpressionSettings(expression),
        gains=gains,
        smoothing=SmoothingSettings(smoothing),
        expression_smoothing=ExpressionSmoothingSettings(expression_smoothing),
        rest=RestSettings(rest),
        blinks=BlinkSettings(blinks),
        head=HeadSettings(head),
        gaze=GazeSettings(gaze),
    )


def parse_gains(words: list[str], mouth: float = 1.0, upper: float = 1.0) -> GainSettings:
    """`1.2` (of all) and `jawOpen=1.3` as settings. Raises ValueError that shows the form, or names what is unknown."""
    from emotalk_ros.motion.stages.gains import GainSettings

    everything, single = 1.0, {}
    for word in words:
        name, sign, number = word.rpartition("=")
        try:
            factor = float(number)
        except ValueError:
            raise ValueError(f"gain {word!r}: write it like 1.2, or like jawOpen=1.2") from None
        if sign:
            single[name.strip()] = factor
        else:
            everything *= factor
    return GainSettings(everything, mouth, upper, single)


@dataclass(frozen=True)
class AnimationJob:
    """One recording, and where its motion goes."""

    audio: Path
    output: Path
    form: str

    @property
    def done(self) -> bool:
        """Whether the output is there and not older than the recording: outputs are never half-written."""
        try:
            return self.output.stat().st_mtime_ns >= self.audio.stat().st_mtime_ns
        except OSError:
            return False


@dataclass(frozen=True)
class Performance:
    """How recordings are animated: what a process needs to know."""

    model: Path | None
    device: str
    threads: int | None
    backend: str
    style: tuple[int, float, str, Path | None, float]
    """Person, level, emotion, recording of the emotion, intensity."""
    fps: float | None
    live: bool
    tail: float
    channel: str
    levelling: bool
    order: str
    seed: int | None
    stages: MotionSettings
    voice: VoiceSettings


@dataclass(frozen=True)
class Done:
    """What became of a recording."""

    summary: str = ""
    failure: str = ""
    warnings: tuple[str, ...] = ()


def plan(audio: list[Path], output: Path | None, form: str | None) -> list[AnimationJob]:
    """What to write where. Raises ValueError or OSError that names what is in the way, before any work."""
    from emotalk_ros.motion.files import FORMATS, format_of

    if len(audio) == 1 and not audio[0].exists():
        raise FileNotFoundError(f"no audio file {audio[0]}")
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


def load_network(
    path: Path | None, device: str, threads: int | None, backend: str = "auto", compare: bool = False
) -> Any:
    """The network on its device (auto, cpu, cuda, cuda:N), by the backend asked for: see `runtime.load_network`."""
    from emotalk_ros.runtime import load_network as load

    return load(path, device, threads, backend, compare=compare).network


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


class Performer:
    """A loaded network that animates one recording after another."""

    def __init__(self, performance: Performance) -> None:
        self.performance = performance
        self.network = load_network(performance.model, performance.device, performance.threads, performance.backend)
        self.controls = controls_of(self.network, *performance.style)

    def perform(self, job: AnimationJob, progress: Progress | None = None) -> Done:
        """Animate a recording and write its motion; what is wrong with it is in `Done.failure`."""
        warnings: list[str] = []
        try:
            return self._perform(job, progress, warnings)
        except (OSError, ValueError, RuntimeError) as error:
            text = str(error)
            where = "" if job.audio.name in text or str(job.output) in text else f"{job.audio}: "
            return Done(failure=where + text, warnings=tuple(warnings))

    def _perform(self, job: AnimationJob, progress: Progress | None, warnings: list[str]) -> Done:
        from emotalk_ros.audio import AudioFile, AudioFormatError, mono_blocks
        from emotalk_ros.audio.leveller import clip_level
        from emotalk_ros.motion.files import Motion, write_motion
        from emotalk_ros.streaming import StreamSettings
        from emotalk_ros.streaming import animate as animated

        how, begin, network = self.performance, time.perf_counter(), self.network
        rate = float(how.fps or network.config.fps)
        with AudioFile(job.audio) as file:
            level = clip_level(mono_blocks(file, channel=how.channel))
            file.rewind()
            gain = level.gain if how.levelling else 1.0
            # Compressed files may not know their length; then the bar only shows that something moves.
            total = file.duration if 0 < file.duration < 1e6 else None
            task = None if progress is None else progress.add_task(readable(job.audio.name), total=total)

            def pieces() -> Iterator[Any]:
                for piece in mono_blocks(file, channel=how.channel, gain=gain):
                    yield piece
                    if progress is not None and task is not None:
                        progress.advance(task, len(piece) / 16000)

            settings = StreamSettings(fps=how.fps) if how.live else None
            frames = animated(
                network, pieces(), self.controls, self._stages(job), how.fps, settings, how.voice, how.tail
            )
            labels = getattr(network.config, "emotion_labels", ()) or ()
            motion = Motion.of(frames, rate, labels, readable(job.audio.name))
            warnings += file.warnings
        if progress is not None and task is not None:
            progress.remove_task(task)
        if not len(motion.time):
            raise AudioFormatError(f"{job.audio} holds no audio: 0 samples")
        replaced = job.output.is_file()
        write_motion(job.output, motion, job.form, how.order)
        if not (motion.activity >= 0.5).any():
            warnings.append(f"{job.audio}: no speech was heard; its loud moments lie at {level.loud:.0f} dBFS")
        elif gain > 1.0:
            warnings.append(
                f"{job.audio}: quiet, its loud moments lie at {level.loud:.0f} dBFS: amplified by "
                f"{20 * math.log10(gain):.0f} dB (--no-levelling leaves it as it is)"
            )
        summary = _summary(job, motion, time.perf_counter() - begin)
        return Done(summary + (", replaced the file that was there" if replaced else ""), warnings=tuple(warnings))

    def _stages(self, job: AnimationJob) -> MotionSettings:
        """The stages with the recording's own seed, where none is given."""
        from emotalk_ros.motion.seeds import clip_seed

        seed = clip_seed(job.audio) if self.performance.seed is None else self.performance.seed
        stages = self.performance.stages
        return replace(
            stages,
            blinks=replace(stages.blinks, seed=seed),
            head=replace(stages.head, seed=seed),
            gaze=replace(stages.gaze, seed=seed),
        )


def _perform_all(
    todo: list[AnimationJob], performance: Performance, processes: int, errors: Terminal
) -> Iterator[Done]:
    """What becomes of each recording, as they are done."""
    if min(processes, len(todo)) <= 1:
        with errors.status("loading the model"):
            performer = Performer(performance)
        with _bar(errors) as progress:
            for count, job in enumerate(todo, 1):
                if len(todo) > 1:
                    progress.console.print(f"{count} of {len(todo)}: {job.audio}", style="dim")
                yield performer.perform(job, progress)
        return
    from emotalk_ros.workers import worker_pool

    if performance.threads is None:
        performance = replace(performance, threads=1)
    with errors.status("loading the model"):
        Performer(performance)  # what is wrong with the options is said once, here
    with worker_pool(min(processes, len(todo)), _begin_process, (performance,)) as pool, _bar(errors) as progress:
        task = progress.add_task("recordings", total=len(todo))
        for done in pool.imap_unordered(_perform_in_process, todo):
            progress.advance(task)
            yield done


_performer: list[Performer] = []  # of this process


def _begin_process(performance: Performance) -> None:
    _performer.append(Performer(performance))


def _perform_in_process(job: AnimationJob) -> Done:
    return _performer[0].perform(job)


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
        if speaking.any():
            mean = motion.emotion[speaking].mean(axis=0)
            text += f", heard mostly {motion.emotion_labels[int(mean.argmax())]} ({mean.max():.2f})"
        else:
            text += ", no speech was heard"
    return f"{text}, {duration / max(seconds, 1e-9):.0f} x real time"
