"""The parameters of the emotalk node, and what they mean to the stream, the motion stages and the network."""

from __future__ import annotations

import re
from typing import Any

from emotalk_ros.audio import DETECTORS, ENCODINGS, VoiceSettings
from emotalk_ros.audio.channels import channel_index
from emotalk_ros.audio.messages import STAMP_OF, STAMPS, InputSettings, PcmFormat
from emotalk_ros.audio.voice import THRESHOLD_RANGE
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.seeds import face_seed
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.motion.stages.expression import ExpressionSettings
from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothingSettings
from emotalk_ros.motion.stages.gains import GainSettings
from emotalk_ros.motion.stages.gaze import GazeSettings
from emotalk_ros.motion.stages.head import HeadSettings
from emotalk_ros.motion.stages.level_jaw import LevelJawSettings
from emotalk_ros.motion.stages.rest import RestSettings
from emotalk_ros.motion.stages.smoothing import SmoothingSettings
from emotalk_ros.nodes.audio_inputs import TYPE_NAMES
from emotalk_ros.nodes.parameters import Row, Value, Values
from emotalk_ros.runtime import BACKENDS
from emotalk_ros.streaming import Controls, StreamSettings, WindowSchedule

DTYPES = ("float32", "bfloat16", "float16")


def _device(value: str) -> str | None:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps|xpu(:\d+)?", value):
        return None
    return f"{value!r} is no device; use auto, cpu, cuda or cuda:N"


def _topics(values: list[str]) -> str | None:
    if not values or len(set(values)) != len(values):
        return f"{values}: must be at least one topic, each once"
    wrong = [v for v in values if not re.fullmatch(r"/?[A-Za-z_*][A-Za-z0-9_*]*(/[A-Za-z_*][A-Za-z0-9_*]*)*", v)]
    return f"{wrong[0]!r} is no topic: letters, digits and _ between slashes" if wrong else None


def fixed_topics(values: Values) -> tuple[str, ...]:
    """The topics of `audio.topics`."""
    return tuple(topic for topic in values["audio.topics"] if "*" not in topic)


def topic_patterns(values: Values) -> tuple[str, ...]:
    """The patterns of `audio.topics`."""
    return tuple(topic for topic in values["audio.topics"] if "*" in topic)


def _channel(value: Value) -> str | None:
    try:
        channel_index(str(value))
    except ValueError as error:
        return str(error)
    return None


def _gains(values: list[str]) -> str | None:
    try:
        GainSettings(single=parse_gains(values))
    except ValueError as error:
        return str(error)
    return None


def parse_gains(values: list[str]) -> dict[str, float]:
    """["jawOpen:1.2", ...] to {"jawOpen": 1.2}. Raises ValueError that names the entry."""
    gains = {}
    for value in values:
        name, _, number = value.partition(":")
        try:
            gains[name.strip()] = float(number)
        except ValueError:
            raise ValueError(f"{value!r} is not of the form NAME:FACTOR, as in jawOpen:1.2") from None
    return gains


PARAMETERS = (
    Row("autostart", True, "configure and activate at once; false leaves that to a lifecycle manager", live=False),
    Row("exit_on_failure", False, "end the program with status 1 when it can't activate at the start", live=False),
    Row("model.path", "", "folder of the network; empty for the one that ships, or $EMOTALK_MODEL", live=False),
    Row("model.device", "cpu", "where the network runs: cpu, cuda, cuda:N, or auto", check=_device, live=False),
    Row(
        "model.backend",
        "auto",
        "what computes the network: torch; onnx: ONNX Runtime; onnx-int8: that in eight bits, faster and a little off; "
        "auto: the faster one of torch and onnx, by a short measurement",
        choices=BACKENDS,
        live=False,
    ),
    Row("model.dtype", "float32", "number format of the network", choices=DTYPES, live=False),
    Row(
        "model.lookahead",
        0.0,
        "seconds of later audio the network hears at most, for a live voice in the room; 0: as it was trained; "
        "0.05 is the least of the one that ships (docs/streaming.md has the price)",
        0.0,
        5.0,
        live=False,
    ),
    Row("model.threads", 1, "processor threads of the network; 0 leaves it to torch", 0, 256, live=False),
    Row(
        "audio.topics",
        ["audio"],
        "topics with speech, a voice each: NAME/audio (or NAME) gives NAME/blendshapes, NAME/emotion and so on; one "
        "with a * is a pattern: its topics come and go while the node works",
        check=_topics,
        live=False,
    ),
    Row("audio.type", TYPE_NAMES[0], "message type on the topic `audio`", choices=TYPE_NAMES, live=False),
    Row(
        "audio.sample_rate",
        0,
        "Hz of audio_common_msgs/AudioData; 0 waits for the topic `audio_info`",
        0,
        384000,
        live=False,
    ),
    Row("audio.channels", 1, "interleaved channels, where audio.sample_rate is set", 1, 64, live=False),
    Row("audio.encoding", "s16le", "sample format, where audio.sample_rate is set", choices=ENCODINGS, live=False),
    Row(
        "audio.stamps",
        "auto",
        "what stamps are good for: capture: they place every chunk; publish: they are times of sending: chunks follow "
        "each other, stamps tell of pauses; none: only the first one counts; auto: capture, and publish for sound "
        "that comes faster than its stamps allow",
        choices=STAMPS,
        live=False,
    ),
    Row(
        "audio.stamp_of",
        "auto",
        "what a stamp means: begin or end of its chunk; auto: what the publishers of audio.type make of it",
        choices=STAMP_OF,
        live=False,
    ),
    Row(
        "audio.voice_detector",
        VoiceSettings().detector,
        "what lets the mouth move: silero: a network that tells voices from music and noise; energy: any sound above "
        "the noise of the room; off: the mouth moves in noise and silence too",
        choices=DETECTORS,
        live=False,
    ),
    Row(
        "audio.voice_threshold",
        VoiceSettings().threshold,
        "probability of a voice from which on silero believes it: lower lets laughter and sighs move the mouth more, "
        "higher keeps singers and distant voices out",
        *THRESHOLD_RANGE,
    ),
    Row(
        "audio.channel",
        "mix",
        "which channel to listen to: mix, left, right, loudest, or a number counted from 0; mix is the mean, and the "
        "loudest where channels cancel each other",
        check=_channel,
        numbers=True,
        live=False,
    ),
    Row("audio.levelling", True, "amplify the speech of a quiet microphone slowly", live=False),
    Row("audio.max_chunk", 60.0, "seconds; longer messages are refused", 0.1, 600.0, live=False),
    Row("stream.hop", 0.1, "seconds of audio between two runs of the network; whole frames", 0.02, 2.0, live=False),
    Row("stream.context", 2.0, "seconds of past audio the network hears again with each hop", 0.1, 30.0, live=False),
    Row(
        "stream.lookahead",
        0.0,
        "seconds of later audio a frame waits for; 0: just what the network needs",
        0.0,
        5.0,
        live=False,
    ),
    Row(
        "stream.emotion_every",
        0.0,
        "seconds between two runs of the emotion encoder of a network with full attention; 0: with each hop, exactly",
        0.0,
        10.0,
        live=False,
    ),
    Row("stream.most_voices", 64, "voices that the network answers in one pass", 1, 4096, live=False),
    Row("stream.max_lag", 1.0, "seconds the work may be behind before whole hops are skipped", 0.05, 30.0, live=False),
    Row(
        "stream.idle_timeout",
        0.2,
        "seconds without audio after which the stream ends and the mouth comes to rest",
        0.05,
        30.0,
        live=False,
    ),
    Row("output.fps", 0.0, "frames per second that come out, 10 to 120; 0: the network's own", 0.0, 120.0, live=False),
    Row(
        "output.pacing",
        "paced",
        "paced: frames at an even rate; burst: each as soon as it is made",
        choices=("paced", "burst"),
        live=False,
    ),
    Row("output.idle", True, "frames without audio too: blinks, the emotion asked for, rest", live=False),
    Row("output.frame_id", "face", "frame_id of the messages", live=False),
    Row("output.level_jaw", 0.6, "share of the mouth's opening that follows the loudness; 0 for none", 0.0, 1.0),
    Row("output.expression", 1.0, "how much of the emotion's own expression is added; 0 for none", 0.0, 1.0),
    Row("output.gain", 1.0, "factor of all coefficients", 0.0, 4.0),
    Row("output.mouth_gain", 1.0, "further factor of jaw, mouth, tongue, puffed cheeks", 0.0, 4.0),
    Row("output.upper_gain", 1.0, "further factor of brows, eyes, cheek squints, nose", 0.0, 4.0),
    Row("output.gains", ["jawOpen:1.0"], "factors of single coefficients, each as NAME:FACTOR", check=_gains),
    Row("output.smoothing", 0.02, "time constant in seconds for slow movements; 0 for none", 0.0, 0.5),
    Row("output.expression_smoothing", 0.1, "time constant of the upper face in seconds; 0 for none", 0.0, 2.0),
    Row("output.rest", True, "bring the mouth to rest in silence"),
    Row("output.rest_time", 0.18, "seconds from speaking to a resting mouth", 0.0, 2.0),
    Row("output.wake_time", 0.1, "seconds from rest to full movement", 0.0, 2.0),
    Row("output.fade_rate", 0.25, "how fast the upper face's expression fades in silence, units a second", 0.0, 10.0),
    Row(
        "output.head",
        0.0,
        "how much the head moves with the voice, in the message's field head; 0: not at all",
        0.0,
        3.0,
    ),
    Row("output.gaze", False, "eyes that hold the viewer and wander now and then: the eyeLook coefficients"),
    Row("output.blinks", True, "blink now and then"),
    Row("output.blink_interval_min", 2.0, "shortest time between blinks in seconds", 0.3, 60.0),
    Row("output.blink_interval_max", 7.0, "longest time between blinks in seconds", 0.3, 60.0),
    Row(
        "output.seed",
        -1,
        "of blinks, head and gaze; -1: one that follows from the machine's name and the full name of `blendshapes`",
        -1,
        2**31 - 1,
    ),
    Row("style.person", 0, "personal style: index of a speaker the network was trained on", 0, 1000),
    Row("style.level", 1.0, "how strongly emotion is performed: 0 normal, 1 strong", 0.0, 1.0),
    Row(
        "emotion.source",
        "heard",
        "heard: from the voice; label: as emotion.label says; command: set by the node while a command is in force",
        choices=("heard", "label", "command"),
    ),
    Row(
        "emotion.ear",
        "free",
        "what hears the emotion: free, research, a folder of `emotalk train ear`; empty: the network itself",
        live=False,
    ),
    Row(
        "emotion.watch_speaker",
        True,
        "notice that another person speaks, and begin the ear's picture of the speaker anew",
        live=False,
    ),
    Row("emotion.label", "neutral", "the emotion to perform where emotion.source is label", choices=EMOTIONS),
    Row("emotion.intensity", 1.0, "0 neutral, 1 as in the training data, up to 2", 0.0, 2.0),
    Row("emotion.blend", 1.0, "share of emotion.label against the emotion heard", 0.0, 1.0),
)
"""Parameters of the emotalk node."""


def seed(values: Values, face: str) -> int:
    """`output.seed`, or the one that belongs to the topic `face`."""
    given = int(values["output.seed"])
    return given if given >= 0 else face_seed(face)


def motion_settings(values: Values, face: str = "") -> MotionSettings:
    """What `output.*` asks of the motion stages; `face`: full name of the face's topic. Raises ValueError."""
    drawn = seed(values, face)
    return MotionSettings(
        level_jaw=LevelJawSettings(values["output.level_jaw"]),
        expression=ExpressionSettings(values["output.expression"]),
        gains=GainSettings(
            values["output.gain"],
            values["output.mouth_gain"],
            values["output.upper_gain"],
            parse_gains(values["output.gains"]),
        ),
        smoothing=SmoothingSettings(values["output.smoothing"]),
        expression_smoothing=ExpressionSmoothingSettings(values["output.expression_smoothing"]),
        rest=RestSettings(
            values["output.rest"], values["output.rest_time"], values["output.wake_time"], values["output.fade_rate"]
        ),
        head=HeadSettings(on=values["output.head"] > 0.0, amount=values["output.head"], seed=drawn),
        gaze=GazeSettings(on=values["output.gaze"], seed=drawn),
        blinks=BlinkSettings(
            values["output.blinks"],
            (values["output.blink_interval_min"], values["output.blink_interval_max"]),
            seed=drawn,
        ),
    )


def input_settings(values: Values) -> InputSettings:
    """What `audio.*` says about the messages; the format of bare bytes where `audio.sample_rate` is set."""
    rate = values["audio.sample_rate"]
    form = PcmFormat(values["audio.encoding"], values["audio.channels"], rate) if rate else None
    return InputSettings(values["audio.stamp_of"], values["audio.stamps"], form)


def voice_settings(values: Values) -> VoiceSettings:
    """What counts as speech."""
    return VoiceSettings(values["audio.voice_detector"], values["audio.voice_threshold"])


def cross_check(values: Values, model: Any | None) -> str | None:
    """What the single rows can't see: the reason for a rejection, or None.

    Args:
        values: all of them, as they would be.
        model: the network, if one is loaded: then geometry and style are held against it.
    """
    if 0.0 < values["output.fps"] < 10.0:
        return f"output.fps: {values['output.fps']:g} is neither 0 nor 10 to 120"
    if values["stream.hop"] > values["stream.context"]:
        hop, context = values["stream.hop"], values["stream.context"]
        return f"stream.hop ({hop:g} s) must not be longer than stream.context ({context:g} s)"
    try:
        motion_settings(values)
        if model is not None:
            _against_model(values, model)
    except ValueError as error:
        return str(error)
    return None


def _against_model(values: Values, model: Any) -> None:
    WindowSchedule.build(stream_settings(values), model.config)
    controls(values).check(model)


def stream_settings(values: Values) -> StreamSettings:
    """`stream.*` and `output.fps` as the engine's `StreamSettings`."""
    return StreamSettings(
        hop=values["stream.hop"],
        context=values["stream.context"],
        lookahead=values["stream.lookahead"] or None,
        fps=values["output.fps"] or None,
        emotion_every=values["stream.emotion_every"],
    )


def controls(values: Values) -> Controls:
    """`style.*` and `emotion.*` as the engine's `Controls`."""
    from emotalk_ros.model import EmotionControl  # imports torch

    emotion = None
    if values["emotion.source"] == "label":
        emotion = EmotionControl.of(values["emotion.label"], values["emotion.intensity"], values["emotion.blend"])
    elif values["emotion.intensity"] != 1.0:
        emotion = EmotionControl.heard(values["emotion.intensity"])
    return Controls(person=values["style.person"], level=values["style.level"], emotion=emotion)
