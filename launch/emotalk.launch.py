"""Speech to face: the emotalk node, and a source of audio.

ros2 launch emotalk_ros emotalk.launch.py                               the default microphone
ros2 launch emotalk_ros emotalk.launch.py source:=file file:=speech.wav
ros2 launch emotalk_ros emotalk.launch.py source:=topic audio_topic:=/tts/audio
ros2 launch emotalk_ros emotalk.launch.py record:=my_bag shutdown_on_exit:=true
ros2 launch emotalk_ros emotalk.launch.py --show-args

Included in another launch file it never ends that one: a node that ends is started again, or its end is logged.
"""

import os
import sys

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, RegisterEventHandler, Shutdown, TimerAction
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory("emotalk_ros")

ARGUMENTS = [
    DeclareLaunchArgument(
        "source", default_value="mic", choices=["mic", "file", "topic"], description="where the speech comes from"
    ),
    DeclareLaunchArgument("file", default_value="", description="audio file to play, with source:=file"),
    DeclareLaunchArgument("loop", default_value="false", description="play the file again and again"),
    DeclareLaunchArgument(
        "subscribers",
        default_value="",
        description="how many must listen before the file is played; empty: the emotalk node, and a recorder",
    ),
    DeclareLaunchArgument("microphone", default_value="", description="input device: name, part of it, or index"),
    DeclareLaunchArgument("audio_topic", default_value="audio", description="topic of the audio"),
    DeclareLaunchArgument(
        "audio_type",
        default_value="",
        description="message type on audio_topic, such as audio_common_msgs/AudioStamped; "
        "empty: as params_file says (emotalk_ros/AudioChunk)",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="cpu, cuda, cuda:N, auto: where the network runs; empty: params_file",
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="folder of the network; empty: as params_file says (the one that ships)"
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=os.path.join(SHARE, "config", "emotalk.yaml"),
        description="parameters of the emotalk node",
    ),
    DeclareLaunchArgument(
        "source_params_file",
        default_value="",
        description="parameters of the microphone or audio file node; empty: the defaults",
    ),
    DeclareLaunchArgument("name", default_value="emotalk", description="name of the emotalk node"),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="take the time from the topic /clock"),
    DeclareLaunchArgument(
        "record", default_value="", description="folder of a bag to record audio, blendshapes and emotion to"
    ),
    DeclareLaunchArgument("record_overwrite", default_value="false", description="replace a bag of that name"),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        description="configure and activate the node at once, also after a restart; false leaves that to a manager",
    ),
    DeclareLaunchArgument(
        "respawn", default_value="true", description="start the emotalk node and the microphone again when they end"
    ),
    DeclareLaunchArgument("respawn_delay", default_value="2.0", description="seconds until they are started again"),
    DeclareLaunchArgument(
        "shutdown_on_exit",
        default_value="auto",
        choices=["auto", "true", "false"],
        description="end the whole launch when the file was played, or when a node ends that is not started again "
        "(then with a status other than 0); auto: where this file itself was launched, not where another includes it",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="what the nodes log",
    ),
]


def _text(value):
    """A value of a parameter that stays a text, even if it reads like a number."""
    return ParameterValue(value, value_type=str)


def _is_true(context, argument: str) -> bool:
    value = LaunchConfiguration(argument).perform(context).strip().lower()
    if value not in ("true", "false", "1", "0"):
        raise RuntimeError(f"{argument}:={value} is neither true nor false")
    return value in ("true", "1")


def _number(context, argument: str) -> float:
    value = LaunchConfiguration(argument).perform(context)
    try:
        return float(value)
    except ValueError:
        raise RuntimeError(f"{argument}:={value} is not a number of seconds") from None


def _existing(context, argument: str) -> list[str]:
    """The file that an argument names, if it names one."""
    path = LaunchConfiguration(argument).perform(context)
    if path and not os.path.isfile(path):
        raise RuntimeError(f"{argument}:={path} does not exist")
    return [path] if path else []


def _ends_everything(context) -> bool:
    choice = LaunchConfiguration("shutdown_on_exit").perform(context)
    if choice != "auto":
        return choice == "true"
    return any(os.path.basename(word) == os.path.basename(__file__) for word in sys.argv[1:])


def _node(context, kind, program: str, name: str, parameters: list, respawn: bool = False):
    return kind(
        package="emotalk_ros",
        executable=program,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[*parameters, {"use_sim_time": _is_true(context, "use_sim_time")}],
        remappings=[("audio", LaunchConfiguration("audio_topic"))],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
        additional_env={"EMOTALK_PARENT": str(os.getpid())},  # nodes end with their `ros2 launch`, even a killed one
        respawn=respawn,
        respawn_delay=_number(context, "respawn_delay") if respawn else None,
    )


def _emotalk(context):
    """The node configures and activates itself: so it does after a restart, and no handler here fights its manager."""
    overrides = {"autostart": _is_true(context, "autostart")}
    for argument, parameter in (("model", "model.path"), ("device", "model.device"), ("audio_type", "audio.type")):
        value = LaunchConfiguration(argument).perform(context)
        if value:
            overrides[parameter] = _text(value)
    name = LaunchConfiguration("name").perform(context)
    parameters = [*_existing(context, "params_file"), overrides]
    return _node(context, LifecycleNode, "emotalk_node", name, parameters, _is_true(context, "respawn"))


def _source(context):
    """The node that brings the audio; None where a topic does."""
    source = LaunchConfiguration("source").perform(context)
    if source == "topic":
        return None
    given = _existing(context, "source_params_file")
    if source == "mic":
        device = LaunchConfiguration("microphone").perform(context)
        overrides = {"device": _text(device)} if device else {}
        return _node(context, Node, "microphone_node", "microphone", [*given, overrides], _is_true(context, "respawn"))
    files = _existing(context, "file")
    if not files:
        raise RuntimeError("source:=file needs file:=/path/of/speech.wav")
    overrides = {
        "file": _text(os.path.abspath(files[0])),
        "loop": _is_true(context, "loop"),
        "subscribers": _listeners(context),
        "subscriber_timeout": 120.0,
    }
    return _node(context, Node, "audio_file_node", "audio_file", [*given, overrides])


def _listeners(context) -> int:
    given = LaunchConfiguration("subscribers").perform(context)
    if not given:
        return 2 if LaunchConfiguration("record").perform(context) else 1
    if not given.isdecimal():
        raise RuntimeError(f"subscribers:={given} is not a whole number")
    return int(given)


def _recorder(context):
    folder = LaunchConfiguration("record").perform(context)
    if not folder:
        return None
    topics = [LaunchConfiguration("audio_topic").perform(context), "blendshapes", "emotion"]
    settings = {
        "output": _text(os.path.abspath(folder)),
        "topics": topics,
        "source_last": LaunchConfiguration("source").perform(context) == "file",
        "overwrite": _is_true(context, "record_overwrite"),
    }
    return _node(context, Node, "recorder_node", "recorder", [settings])


def _when_it_ends(node, ends_everything: bool, finished: str | None = None) -> RegisterEventHandler:
    """What happens when a node that is not started again has ended.

    Args:
        node: the node.
        ends_everything: whether the launch ends with it.
        finished: why it may end well; None: its end is always a failure.
    """

    def on_exit(event, context):
        if context.is_shutdown:
            return []
        if event.returncode == 0 and finished:
            if not ends_everything:
                return [LogInfo(msg=finished)]
            # Time for the last frames, then the whole is over.
            ending = OpaqueFunction(function=lambda context: [] if context.is_shutdown else [Shutdown(reason=finished)])
            return [TimerAction(period=2.0, actions=[ending])]
        reason = f"{event.process_name} ended with status {event.returncode}: the reason is in its log, above"
        if ends_everything:
            raise RuntimeError(reason)  # the only way to end `ros2 launch` with a status other than 0
        return [LogInfo(msg=reason)]

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=on_exit))


def _setup(context):
    ends, respawn = _ends_everything(context), _is_true(context, "respawn")
    node, source, recorder = _emotalk(context), _source(context), _recorder(context)
    actions = [] if respawn else [_when_it_ends(node, ends)]
    if source is not None and LaunchConfiguration("source").perform(context) == "file":
        actions.append(_when_it_ends(source, ends, "the file was played"))
    elif source is not None and not respawn:
        actions.append(_when_it_ends(source, ends))
    if recorder is not None:
        actions.append(_when_it_ends(recorder, False))  # the face never stops because a recorder did
    return [*actions, *filter(None, (recorder, node, source))]


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_setup)])
