"""The speaker node: the sound of an audio topic on a loudspeaker, at the moment at which the face shows it.

It takes the delay of the face from the frames on `blendshapes` (when a frame came, against its stamp), so nothing has
to be set. Where nobody publishes a face, the sound is played at once. `interrupt` (std_msgs/Empty) silences it within
some milliseconds; the service `~/interrupt` does so too, and tells the others by that topic.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from emotalk_ros.audio import AudioFormatError, TimelineSettings
from emotalk_ros.audio.loudspeaker import (
    Loudspeaker,
    LoudspeakerError,
    LoudspeakerSettings,
    check_portaudio,
    list_outputs,
)
from emotalk_ros.audio.messages import STAMP_OF, STAMPS, AudioDecoder, InputSettings
from emotalk_ros.audio.pcm import Samples
from emotalk_ros.audio.player import Player, PlayerSettings
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.audio_inputs import TYPE_NAMES, AudioTypeError, audio_classes
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import from_time
from emotalk_ros.nodes.parameters import ParameterTable, Row, Values
from emotalk_ros.nodes.runtime import NodeError, Throttled, run_program
from emotalk_ros.units import NS

PARAMETERS = (
    Row("device", "", "name, part of a name, or index of the output device; empty for the default one", live=False),
    Row("sample_rate", 0, "Hz; 0 takes the device's own rate", 0, 384000, live=False),
    Row("volume", 1.0, "1 plays the sound as it is, 0 is silent", 0.0, 1.0),
    Row("wait_for_face", 1.5, "seconds that sound waits for its first frame; 0 plays without a face", 0.0, 30.0),
    Row("offset", 0.0, "seconds by which sound follows its frame: what joints or a screen need", -1.0, 5.0),
    Row("audio.type", TYPE_NAMES[0], "message type of `audio`", choices=TYPE_NAMES, live=False),
    Row("audio.stamp_of", "auto", "what a stamp means, as for the emotalk node", choices=STAMP_OF, live=False),
    Row("audio.stamps", "auto", "what stamps are good for, as for the emotalk node", choices=STAMPS, live=False),
    Row("retry_limit", 10.0, "longest pause in seconds between attempts to open the device", 0.5, 600.0),
)
"""Parameters of the speaker node."""


class SpeakerNode(Node):
    """See the module. A device that is lost is opened again, for ever.

    Raises NodeError when sounddevice or PortAudio is not installed, or the message type is not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("speaker", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True, changed=self._changed)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        inputs = InputSettings(stamp_of=self._table["audio.stamp_of"], stamps=self._table["audio.stamps"])
        try:
            check_portaudio()
            classes = audio_classes(self._table["audio.type"])
        except (LoudspeakerError, AudioTypeError) as error:
            raise NodeError(str(error)) from error
        self._decoder = AudioDecoder(classes.msgtype, inputs)
        self._timeline = TimelineSettings(stamps=inputs.stamps)
        self._warn = Throttled(self.get_logger().warning)
        self._player: Player | None = None
        self._device: Loudspeaker | None = None
        self._problem = "not opened yet"
        self._reported = (0, 0)
        qos = QoSOverridingOptions.with_default_policies()
        loose = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(classes.message, "audio", self._on_audio, loose, qos_overriding_options=qos)
        if classes.info is not None:
            self.create_subscription(classes.info, "audio_info", self._on_info, 10)
        self.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, loose)
        self.create_subscription(Empty, "interrupt", self._on_interrupted, 10)
        self._tell = self.create_publisher(Empty, "interrupt", 10)
        self.create_service(Trigger, "~/interrupt", self._on_interrupt)
        self.create_timer(0.1, self._tick)
        self._diagnostics = DiagnosticPublisher(self, self._report, self._table["device"] or "default output")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loudspeaker", daemon=True)
        self._thread.start()

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds) / NS

    def _changed(self, values: Values, names: frozenset[str]) -> None:
        if self._player is not None:
            self._player.settings = self._settings()

    def _settings(self) -> PlayerSettings:
        """Where nobody makes a face, nothing waits for it."""
        face = self.count_publishers(self.resolve_topic_name("blendshapes")) > 0
        return PlayerSettings(self._table["wait_for_face"] if face else 0.0, self._table["offset"])

    # -- device --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Keep a device open."""
        settings = LoudspeakerSettings(self._table["device"], self._table["sample_rate"])
        pause = 0.5
        while not self._stop.is_set():
            try:
                with Loudspeaker(settings, self._fill_of, self._now) as device:
                    self._device, self._problem, pause = device, "", 0.5
                    self.get_logger().info(f"playing on {device.device_name}: {device.sample_rate} Hz")
                    while device.alive and not self._stop.wait(0.1):
                        pass
                    if not self._stop.is_set():
                        raise LoudspeakerError(f"{device.device_name} takes no sound any more: unplugged?")
            except LoudspeakerError as error:
                if str(error) != self._problem:
                    self.get_logger().error(f"{error}; trying again in {pause:g} s and from then on")
                self._problem = str(error)
            self._device = self._player = None
            if self._stop.wait(pause):
                return
            pause = min(2.0 * pause, self._table["retry_limit"])

    def _fill_of(self, rate: int) -> Any:
        player = Player(rate, self._settings(), self._timeline)
        self._player = player

        def fill(count: int, when: float) -> Samples:
            samples: Samples = player.fill(count, when) * self._table["volume"]
            return samples

        return fill

    # -- in ------------------------------------------------------------------------------------------------------------

    def _on_audio(self, message: Any) -> None:
        player = self._player
        if player is None:
            return
        now = self.get_clock().now().nanoseconds
        try:
            player.push(self._decoder.decode(message, now), now / NS)
        except AudioFormatError as error:
            self._warn("audio", str(error))
        for warning in player.take_warnings():
            self._warn("intake", warning)

    def _on_info(self, message: Any) -> None:
        try:
            self._decoder.declare(message)
        except AudioFormatError as error:
            self._warn("info", str(error))

    def _on_face(self, face: BlendshapeCoefficients) -> None:
        if self._player is not None and face.kind == BlendshapeCoefficients.SPEECH:
            self._player.face(from_time(face.header.stamp), self._now())

    def _tick(self) -> None:
        if self._player is not None:
            self._player.settings = self._settings()
            self._player.tick(self._now())

    def _interrupt(self) -> float:
        left = self._player.interrupt(self._now()) if self._player is not None else 0.0
        if left:
            self.get_logger().info(f"interrupted: {left:.2f} s of sound are not played")
        return left

    def _on_interrupted(self, message: Empty) -> None:
        self._interrupt()

    def _on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        left = self._interrupt()
        self._tell.publish(Empty())
        response.success, response.message = True, f"{left:.2f} s of sound are not played"
        return response

    # -- telling -------------------------------------------------------------------------------------------------------

    def _report(self) -> Report:
        report = Report()
        player, device = self._player, self._device
        if self._problem:
            report.error(self._problem)
        if player is None or device is None:
            return report
        figures = player.figures
        underruns, underflows = figures.underruns - self._reported[0], device.underflows - self._reported[1]
        self._reported = (figures.underruns, device.underflows)
        if underruns > 0:
            report.warn(f"{underruns} times the audio came after it was due: the source is slower than real time")
        if underflows > 0:
            report.warn(f"{underflows} times the device was asked too late: the machine is too busy")
        report.show(
            {
                "device": device.device_name,
                "sample_rate_hz": device.sample_rate,
                "delay_s": player.delay,
                "waiting_s": player.waiting,
                "played_s": figures.played,
                "streams": figures.streams,
                "underruns": figures.underruns,
                "device_underflows": device.underflows,
                "moves": figures.moves,
                "without_face": figures.without_face,
                "interruptions": figures.interruptions,
            }
        )
        return report

    def close(self) -> None:
        """Stop playing."""
        self._stop.set()
        self._thread.join(timeout=3.0)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `speaker_node`; `--list-devices` only lists the output devices."""
    words = sys.argv[1:] if args is None else list(args)
    if "--list-devices" in words:
        try:
            print(list_outputs())
        except LoudspeakerError as error:
            sys.exit(f"speaker_node: {error}")
        return
    run_program("speaker_node", __doc__ or "", PARAMETERS, SpeakerNode, args)
