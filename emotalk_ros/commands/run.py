"""`emotalk run`: the nodes, activated, without `ros2 launch`."""

from __future__ import annotations

import re
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from emotalk_ros.nodes.processes import Crew, NodeSpec, RosMissingError, check_ros, interrupt_on_signals

_ROS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


class Source(str, Enum):
    """Where the speech comes from."""

    mic = "mic"
    file = "file"
    topic = "topic"


def register(app: typer.Typer) -> None:
    """Add the verb `run`."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)


def run(
    context: typer.Context,
    source: Annotated[Source | None, typer.Option(help="Default: file with --file, otherwise mic.")] = None,
    file: Annotated[Path | None, typer.Option(help="Audio file to play: wav, flac, ogg, ...", dir_okay=False)] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play the file again and again.")] = False,
    microphone: Annotated[str, typer.Option(help="Input device: name, part of it, or index.")] = "",
    audio_topic: Annotated[str, typer.Option(help="Topic of the audio.")] = "audio",
    audio_type: Annotated[str, typer.Option(help="Its type, as audio_common_msgs/AudioStamped.")] = "",
    model: Annotated[str, typer.Option(help="Folder of the network (default: the one that ships).")] = "",
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:N or auto.")] = "",
    params_file: Annotated[Path | None, typer.Option(help="ROS parameter file (YAML), given to all nodes.")] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of nodes and topics.")] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or fatal.")] = "info",
    play: Annotated[bool, typer.Option("--play", help="Also play the sound, when the face shows it.")] = False,
    loudspeaker: Annotated[str, typer.Option(help="Output device for --play: name, part of it, or index.")] = "",
    record: Annotated[Path | None, typer.Option(help="Also record audio, blendshapes and emotion to this bag.")] = None,
) -> None:
    """Run the nodes, activated, each in its own process, until Ctrl-C. Words after --ros-args go to all of them."""
    source = source or (Source.file if file else Source.mic)
    problem = _problem(source, file, params_file)
    if problem:
        raise typer.BadParameter(problem)
    try:
        check_ros()
    except RosMissingError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None
    problem = _bad_name(namespace, audio_topic)
    if problem:
        raise typer.BadParameter(problem)
    common = _common(namespace, log_level, params_file, context.args)
    chosen = {"model.path": model, "model.device": device, "audio.type": audio_type}
    parameters: dict[str, object] = {name: value for name, value in chosen.items() if value}
    specs = _specs(source, file, loop, microphone, record, parameters)
    if play or loudspeaker:
        types = {"audio.type": audio_type} if audio_type else {}
        specs.insert(1, NodeSpec("speaker_node", {**types, **({"device": loudspeaker} if loudspeaker else {})}))
        _wait_for_one_more(specs)
    for spec in specs:
        spec.arguments = common
        spec.remappings = {} if audio_topic == "audio" else {"audio": audio_topic}
    interrupt_on_signals()
    with Crew() as crew:
        try:
            for spec in specs:
                crew.start(spec)
            status = _watch(crew)
        except KeyboardInterrupt:
            status = 0
        ends = crew.stop()
    for program, code in ends.items():
        if code not in (0, -2) and not status:
            status = code
            typer.secho(f"{program} {_ending(code)}", err=True, fg="red")
    raise typer.Exit(status if status >= 0 else 128 - status)


def _problem(source: Source, file: Path | None, params_file: Path | None) -> str | None:
    if source is Source.file and file is None:
        return "--source file needs --file"
    if source is not Source.file and file is not None:
        return f"--file goes with --source file, not with {source.value}"
    for path in (file, params_file):
        if path is not None and not path.is_file():
            return f"{path} does not exist"
    return None


def _bad_name(namespace: str, topic: str) -> str | None:
    """What ROS would refuse, before any node is started."""
    for option, value, name in (
        ("--namespace", namespace, namespace.strip("/")),
        ("--audio-topic", topic, topic.removeprefix("~/").removeprefix("/")),
    ):
        if (name or option == "--audio-topic") and not _ROS_NAME.fullmatch(name):
            return f"{option} {value!r}: ROS allows letters, digits, _ and /, and no digit at the beginning of a part"
    return None


def _common(namespace: str, log_level: str, params_file: Path | None, extra: list[str]) -> list[str]:
    words = ["--log-level", log_level]
    if params_file:
        words += ["--params-file", str(params_file.resolve())]
    if namespace:
        words += ["-r", f"__ns:=/{namespace.strip('/')}"]
    unknown = extra[: extra.index("--ros-args")] if "--ros-args" in extra else extra
    if unknown:
        raise typer.BadParameter(f"{' '.join(unknown)} is not understood; words for ROS come after --ros-args")
    return words + [word for word in extra if word != "--ros-args"]


def _specs(
    source: Source, file: Path | None, loop: bool, microphone: str, record: Path | None, emotalk: dict[str, object]
) -> list[NodeSpec]:
    specs = [NodeSpec("emotalk_node", {"autostart": True, "exit_on_failure": True, **emotalk}, essential=True)]
    if record:
        specs.append(
            NodeSpec(
                "recorder_node", {"output": record.resolve(), "source_last": source is Source.file}, essential=True
            )
        )
    if source is Source.mic:
        specs.append(NodeSpec("microphone_node", {"device": microphone} if microphone else {}, essential=True))
    elif source is Source.file:
        assert file is not None
        play = {"file": file.resolve(), "loop": loop, "subscribers": 2 if record else 1, "subscriber_timeout": 120.0}
        specs.append(NodeSpec("audio_file_node", play, essential=True))
    return specs


def _wait_for_one_more(specs: list[NodeSpec]) -> None:
    """A file waits for the loudspeaker too."""
    for spec in specs:
        if spec.program == "audio_file_node":
            listeners = spec.parameters["subscribers"]
            assert isinstance(listeners, int)
            spec.parameters = {**spec.parameters, "subscribers": listeners + 1}


def _watch(crew: Crew) -> int:
    """Until a node ends; a file that was played to its end leaves time for the last frames."""
    while True:
        end = crew.ended()
        if end is None:
            time.sleep(0.1)
            continue
        program, status = end
        if program == "audio_file_node" and status == 0:
            time.sleep(1.0)  # the last frames, and the mouth at rest
            return 0
        if program == "recorder_node" and status < 0:  # killed; one that can't begin ends with a status of its own
            typer.secho(f"{program} {_ending(status)}; the face goes on without a recording", err=True, fg="red")
            crew.forget(program)
            continue
        typer.secho(f"{program} {_ending(status)}", err=True, fg="red")
        return status or 1


def _ending(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
