#!/usr/bin/env python3
"""A long run with faults: node, player and live page together, and something breaks every minute.

    scripts/soak.py --hours 1                  a fault a minute, each kind in turn, in an order given by --seed
    scripts/soak.py --hours 0.05 --every 10    a try of three minutes

Real processes on real topics, in a ROS domain of their own. A publisher speaks without pause; its diary tells what went
out, so every 1/30 s of published audio that has no frame is found. Such a frame may only be missing where the node was
killed, stopped or without a network, or where the node itself counts it in its diagnostics (hops skipped, samples
dropped).

Ends with a table and a verdict. Exit status 1: a frame was lost in silence, doubled or out of range, a process died
that nobody killed, a fault was not followed by frames again, a traceback stands in a log, memory or log grew too much.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from emotalk_ros.audio import encode_pcm, load_audio
from emotalk_ros.files import write_text
from emotalk_ros.nodes.processes import PARENT_VARIABLE, NodeSpec, free_domain, interrupt_on_signals
from emotalk_ros.share import candidate_paths
from emotalk_ros.units import NS

ROOT = Path(__file__).resolve().parents[1]
RATE, FPS, CHUNK = 16000, 30, 320
ENTRY = struct.Struct("<qdi")
"""Of the publisher's diary: stamp in ns, monotonic seconds when it was sent, samples."""
BACK = 20.0
"""Seconds within which frames must come again after a fault on this machine; a node that starts may take START."""
START = 120.0
LOG_RATE = 60.0
"""Lines a minute that all logs together may grow by, on average."""


# -- counting ----------------------------------------------------------------------------------------------------------


@dataclass
class Piece:
    """Audio published in one go: stamps without a gap."""

    begin_ns: int
    end_ns: int
    sent: list[tuple[int, float]] = field(default_factory=list)  # end of a chunk, when it went out

    def when(self, stamp_ns: int) -> float:
        """When the audio of this instant was published."""
        return next((at for end, at in self.sent if end > stamp_ns), self.sent[-1][1])


def pieces_of(diary: list[tuple[int, float, int]]) -> list[Piece]:
    """The diary's chunks, joined where their stamps follow each other."""
    pieces: list[Piece] = []
    for stamp, at, count in diary:
        end = stamp + count * NS // RATE
        if not pieces or abs(stamp - pieces[-1].end_ns) > NS // 1000:
            pieces.append(Piece(stamp, end))
        pieces[-1].end_ns = end
        pieces[-1].sent.append((end, at))
    return pieces


@dataclass
class Count:
    """Frames of all pieces: expected, seen, twice, and the publishing times of the missing ones."""

    expected: int = 0
    seen: int = 0
    doubled: int = 0
    missing: list[float] = field(default_factory=list)


def count_frames(pieces: list[Piece], stamps_ns: list[int]) -> Count:
    """What came of `pieces`, from the stamps of the frames made from audio, in the order in which they came.

    A frame belongs to the first piece from the last one's on that holds its stamp: frames come in order, also when the
    clock of the stamps was set back.
    """
    count, found, at = Count(), [[] for _ in pieces], 0
    half = NS // FPS // 2
    for stamp in stamps_ns:
        if found and found[at] and stamp < found[at][-1] - half:
            later = next((k for k in range(at + 1, len(pieces)) if _holds(pieces[k], stamp)), None)
        else:
            later = next((k for k in range(at, len(pieces)) if _holds(pieces[k], stamp)), None)
        if later is not None:
            at = later
            found[at].append(stamp)
        elif found and found[at] and stamp == found[at][-1]:
            count.doubled += 1
    for piece, stamps in zip(pieces, found, strict=True):
        step = NS / FPS
        edges = [piece.begin_ns - step, *stamps, piece.end_ns]
        for k, (a, b) in enumerate(pairwise(edges)):
            distance = (b - a) / step
            if 0 < k < len(stamps):
                count.doubled += distance < 1e-3  # where a stream ends and the next begins, any other is right
                lost = round(distance) - 1
            else:  # the grid is the node's own: up to a step before the first frame and after the last one is no loss
                lost = int(distance + 1e-3) - 1 if stamps and k == 0 else int(distance - 1e-3)
            count.missing += [piece.when(int(a + (n + 1) * step)) for n in range(max(0, lost))]
        count.seen += len(stamps)
    count.expected = count.seen - count.doubled + len(count.missing)
    return count


def _holds(piece: Piece, stamp: int) -> bool:
    return piece.begin_ns - NS // FPS <= stamp < piece.end_ns


@dataclass
class Memory:
    """Resident memory of one process over time."""

    samples: list[tuple[float, float]] = field(default_factory=list)  # monotonic seconds, MB

    def summary(self) -> tuple[float, float, float]:
        """MB after the first fifth of its life, MB at the end, MB an hour between (least squares)."""
        if len(self.samples) < 10:
            last = self.samples[-1][1] if self.samples else 0.0
            return last, last, 0.0
        at, size = np.array(self.samples).T
        at, size = at[len(at) // 5 :], size[len(size) // 5 :]
        third = max(1, len(at) // 4)
        return float(size[:third].mean()), float(size[-third:].mean()), float(np.polyfit(at, size, 1)[0] * 3600)


# -- the publisher, a program of its own -------------------------------------------------------------------------------


def publish(diary: Path, speech: Path) -> None:
    """Speak on `audio` in real time until the end of the process; commands are JSON lines on stdin.

    {"clock": s} sets the clock of the stamps; {"burst": s} sends so much speech at once, and then waits for so long;
    {"garbage": n} sends so many messages that are no audio. After a stop it sends what it would have sent meanwhile,
    as a sound card's buffer does.
    """
    import rclpy
    from rclpy.qos import QoSProfile

    from emotalk_ros.msg import AudioChunk
    from emotalk_ros.nodes.messages import audio_chunk

    samples = encode_pcm(load_audio(speech), "s16le")
    samples = samples[: len(samples) // (2 * CHUNK) * (2 * CHUNK)]
    rclpy.init(args=[])
    node = rclpy.create_node("soak_publisher")
    publisher = node.create_publisher(AudioChunk, "audio", QoSProfile(depth=1000))
    commands: queue.SimpleQueue[dict[str, float]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        os._exit(0)  # whoever started it is gone

    threading.Thread(target=listen, daemon=True).start()
    patience = time.monotonic() + 20
    while publisher.get_subscription_count() < 3 and time.monotonic() < patience:  # node, player, page
        time.sleep(0.05)
    time.sleep(0.5)
    noise = random.Random(0)
    begin, origin, at, offset = time.monotonic(), time.time_ns(), 0, 0
    with diary.open("ab", buffering=0) as written:

        def send(stamp: int) -> None:
            nonlocal at
            place = 2 * at % len(samples)
            data = samples[place : place + 2 * CHUNK]
            publisher.publish(audio_chunk(data, stamp_ns=stamp, sample_rate=RATE, channels=1, encoding="s16le"))
            written.write(ENTRY.pack(stamp, time.monotonic(), CHUNK))
            at += CHUNK

        while True:
            while not commands.empty():
                for kind, value in commands.get().items():
                    if kind == "clock":
                        offset += round(value * NS)
                    elif kind == "burst":
                        time.sleep(1.0)
                        now = time.time_ns() + offset
                        first = at
                        while at - first < value * RATE:
                            send(now + (at - first) * NS // RATE)
                        time.sleep(value + 1.0)
                        begin, origin = time.monotonic() - at / RATE, time.time_ns() - at * NS // RATE
                    elif kind == "garbage":
                        for _ in range(int(value)):
                            publisher.publish(_garbage(noise, AudioChunk))
                            time.sleep(0.002)
            time.sleep(max(0.0, begin + (at + CHUNK) / RATE - time.monotonic()))
            send(origin + at * NS // RATE + offset)


def _garbage(noise: random.Random, kind: type) -> object:
    """A message that no listener can take for audio."""
    message = kind(sample_rate=noise.choice((0, 1, 16000, 2**32 - 1)), channels=noise.choice((0, 1, 65, 65535)))
    message.header.stamp.sec = noise.randrange(-(2**31), 2**31)
    message.header.stamp.nanosec = noise.randrange(0, 2**32)
    message.encoding = "".join(chr(noise.randrange(33, 0x2FFF)) for _ in range(noise.randrange(12)))
    message.data.frombytes(noise.randbytes(noise.randrange(700)))
    return message


# -- the processes -----------------------------------------------------------------------------------------------------


class Process:
    """A program that is started again when a fault has killed it; what it says goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name, self.command, self.log, self.environment = name, command, log, environment
        self.starts, self.memory = 0, Memory()
        self.lives: list[Memory] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, limit: int = 0) -> None:
        """Start; `limit`: bytes that a file of it may have."""

        def limits() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=limits,
            )
        self.starts += 1
        self.memory = Memory()
        self.lives.append(self.memory)

    def send(self, signum: int) -> None:
        """Send a signal."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signum)

    def tell(self, **command: float) -> None:
        """A command for the publisher."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it at once and wait for that."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        """All that it wrote."""
        return self.log.read_text(errors="replace")

    def measure(self) -> None:
        """Note its memory."""
        with suppress(psutil.Error):
            assert self.process is not None
            self.memory.samples.append((time.monotonic(), psutil.Process(self.process.pid).memory_info().rss / 1e6))

    def stop(self) -> int | None:
        """SIGINT; its exit status, None when it had to be killed."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGINT)
        assert self.process is not None
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


# -- the listener ------------------------------------------------------------------------------------------------------


class Listener:
    """A node of this process: takes every frame, the diagnostics, and drives the node's lifecycle."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        from emotalk_ros.msg import BlendshapeCoefficients

        rclpy.init(args=[])
        self.node = rclpy.create_node("soak")
        self.frames: list[tuple[float, int]] = []  # made from audio: arrival, stamp
        self.last_frame = 0.0
        self.others = self.bad = self.lost_on_the_way = 0
        self._sequence: int | None = None
        self.skips: list[tuple[float, float]] = []  # when diagnostics told of skipped hops, and of how many so far
        self.totals: dict[str, dict[str, float]] = {}  # of counters, over all lives of a node
        self._last: dict[str, dict[str, float]] = {}
        self.statuses: dict[str, tuple[float, int, str]] = {}
        self.node.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, QoSProfile(depth=5000))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        import rclpy
        from rclpy.executors import ExternalShutdownException

        with suppress(ExternalShutdownException):
            while rclpy.ok():
                self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """End the thread."""
        import rclpy

        rclpy.try_shutdown()
        self._thread.join(5.0)

    def _on_face(self, face: object) -> None:
        values = np.asarray(face.coefficients)
        self.bad += not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1)
        if self._sequence is not None and face.sequence > self._sequence + 1:
            self.lost_on_the_way += face.sequence - self._sequence - 1
        self._sequence = face.sequence
        now = time.monotonic()
        if face.kind == face.SPEECH:
            self.last_frame = now
            self.frames.append((now, face.header.stamp.sec * NS + face.header.stamp.nanosec))
        else:
            self.others += 1

    def _on_diagnostics(self, message: object) -> None:
        for status in message.status:
            name = status.name.rpartition("/")[2]
            self.statuses[name] = (time.monotonic(), ord(status.level), status.message)
            totals, last = self.totals.setdefault(name, {}), self._last.setdefault(name, {})
            for pair in status.values:
                with suppress(ValueError):
                    value = float(pair.value)
                    # A smaller figure: a new life of the node, or of its worker.
                    before = last.get(pair.key, 0.0)
                    totals[pair.key] = totals.get(pair.key, 0.0) + (value - before if value >= before else value)
                    last[pair.key] = value
            hops = totals.get("skipped_hops", 0.0)
            if name == "emotalk" and hops and (not self.skips or self.skips[-1][1] != hops):
                self.skips.append((time.monotonic(), hops))

    def total(self, name: str, key: str) -> float:
        """A counter of a node's diagnostics, summed over its lives."""
        return self.totals.get(name, {}).get(key, 0.0)

    def call(self, kind: type, name: str, request: object, seconds: float = START) -> object:
        """A service's answer. Raises TimeoutError."""
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(seconds):
                raise TimeoutError(f"no service {name}")
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            if not done.wait(seconds):
                raise TimeoutError(f"{name} did not answer within {seconds:g} s")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, label: str) -> bool:
        """Ask the node for a lifecycle transition; whether it was made."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.label = label
        return bool(self.call(ChangeState, "emotalk/change_state", request).success)

    def state(self, seconds: float = BACK) -> str:
        """Of the node's lifecycle; a killed node stays in the graph for a while, and does not answer."""
        from lifecycle_msgs.srv import GetState

        with suppress(TimeoutError):
            return str(self.call(GetState, "emotalk/get_state", GetState.Request(), seconds).current_state.label)
        return "not answering"

    def set_model(self, folder: str) -> None:
        """Set `model.path`."""
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
        from rcl_interfaces.srv import SetParameters

        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=folder)
        request = SetParameters.Request(parameters=[Parameter(name="model.path", value=value)])
        result = self.call(SetParameters, "emotalk/set_parameters", request).results[0]
        if not result.successful:
            raise RuntimeError(f"model.path was refused: {result.reason}")


class Visitor(threading.Thread):
    """A visitor of the live page, without a browser: watches the robot's face, and speaks himself now and then."""

    def __init__(self, port: int, speech: np.ndarray, pause: float) -> None:
        super().__init__(daemon=True)
        self.port, self.pause = port, pause
        self.speech = (np.clip(speech, -1, 1) * 32767).astype(np.int16)
        self.watched = self.connections = self.expected = self.seen = self.skipped = self.hurried = 0
        self.ending = False

    def run(self) -> None:
        """Connect, again and again."""
        while not self.ending:
            try:
                self._visit()
            except Exception as error:  # the page was killed, or stopped
                self.problem = f"{type(error).__name__}: {error}"
                time.sleep(1.0)

    def _visit(self) -> None:
        from websockets.sync.client import connect

        from emotalk_ros.live.frames import write_audio

        with connect(f"ws://127.0.0.1:{self.port}/live", max_size=None, open_timeout=20) as page:
            self.connections += 1
            page.send(json.dumps({"type": "watch", "feed": "face", "on": True}))
            size, before = RATE // 10, 0
            while not self.ending:
                self._skipped = before
                self._frames: set[int] = set()
                self._seconds = seconds = 5
                page.send(json.dumps({"type": "start"}))
                begin = time.monotonic()
                for k in range(10 * seconds):
                    page.send(write_audio(k * size, RATE, self.speech[k * size : (k + 1) * size]))
                    self._listen(page, begin + (k + 1) * 0.1)
                page.send(json.dumps({"type": "stop"}))
                self._listen(page, time.monotonic() + 10.0, seconds * FPS)
                hops, before = self._skipped - before, self._skipped
                self.expected += seconds * FPS
                self.seen += len(self._frames)
                self.skipped += hops
                self.hurried += hops > 0
                self._listen(page, time.monotonic() + self.pause)

    def _listen(self, page: object, until: float, enough: int = 2**30) -> None:
        from emotalk_ros.live.frames import read_frames

        while (left := until - time.monotonic()) > 0 and len(self._frames) < enough:
            try:
                message = page.recv(timeout=left)
            except TimeoutError:
                return
            if isinstance(message, str):
                words = json.loads(message)
                if words["type"] == "status":
                    self._skipped = words["skipped_hops"]
                elif words["type"] == "error":
                    raise RuntimeError(words["text"])
            elif message[0] & 0x80:
                if message[0] & 0x7F == 2:
                    self.watched += len(read_frames(bytes([message[0] & 0x7F]) + message[1:-1]))
            else:
                self._frames |= {frame.index for frame in read_frames(message) if frame.time < self._seconds}


# -- the run -----------------------------------------------------------------------------------------------------------


@dataclass
class Happened:
    """A fault: when it began and ended, how long no frame came, when frames came again after its end."""

    kind: str
    begin: float
    end: float = 0.0
    away: bool = False
    gap: float = 0.0
    missing: int = 0
    back: float = float("nan")
    note: str = ""


class Soak:
    """The whole run; a context manager that leaves no process behind."""

    def __init__(self, words: argparse.Namespace, folder: Path) -> None:
        self.words, self.folder = words, folder
        self.random = random.Random(words.seed)
        self.problems: list[str] = []
        self.happened: list[Happened] = []
        self.diary = folder / "diary"
        self.diary.touch()
        speech = words.speech or next(path for path in candidate_paths("examples/speech/demo.ogg") if path.exists())
        self.models = make_models(folder)
        self.shipped = self.models["now"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())}
        sound = {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "test/ros/fake_portaudio"), os.environ.get("PYTHONPATH", "")]),
            "FAKE_PORTAUDIO": str(folder / "device"),
            "FAKE_LOUDSPEAKER": str(folder / "heard"),
        }
        (folder / "device").write_text("plugged")
        node = NodeSpec("emotalk_node", {"stream.max_lag": words.max_lag})
        page = ["-c", "from emotalk_ros.cli import main; main()", "live", "--robot", "/", "--no-browser"]
        commands = {
            "node": node.command(),
            "player": NodeSpec("speaker_node").command(),
            "page": [sys.executable, *page, "--port", str(self.port), "--threads", "1"],
            "publisher": [sys.executable, __file__, "--publish", str(self.diary), "--speech", str(speech)],
        }
        self.processes = {
            name: Process(name, command, folder / f"{name}.log", {**environment, **(sound if name == "player" else {})})
            for name, command in commands.items()
        }
        self.listener = Listener()
        self.visitor = Visitor(self.port, load_audio(speech), words.visit_every)

    def __enter__(self) -> Soak:
        return self

    def __exit__(self, *exception: object) -> None:
        self.visitor.ending = True
        if self.publisher.alive:
            self.publisher.kill()  # it has nothing to tidy up
        self.statuses = {name: process.stop() for name, process in self.processes.items() if process.alive}
        self.listener.close()

    def __getattr__(self, name: str) -> Process:
        return self.processes[name]

    # -- faults --------------------------------------------------------------------------------------------------------

    def publisher_killed(self, what: Happened) -> None:
        """The source of the sound dies, and is started again."""
        self.publisher.kill()
        time.sleep(2.0)
        self.publisher.start()

    def publisher_stopped(self, what: Happened) -> None:
        """The source stands still for 3 s, and then sends what it owes at once."""
        self._stop_for(self.publisher, 3.0)

    def node_stopped(self, what: Happened) -> None:
        """The node stands still for 3 s; what its inbox cannot hold meanwhile never reaches it."""
        what.away = True
        self._stop_for(self.node, 3.0)

    def node_killed(self, what: Happened) -> None:
        """The node dies, and is started again."""
        what.away = True
        self.node.kill()
        self.node.start()
        self._wait_active()

    def player_stopped(self, what: Happened) -> None:
        """The player stands still for 3 s."""
        self._stop_for(self.player, 3.0)

    def player_killed(self, what: Happened) -> None:
        """The player dies, and is started again."""
        self.player.kill()
        self.player.start()

    def page_stopped(self, what: Happened) -> None:
        """The page's server stands still for 5 s."""
        self._stop_for(self.page, 5.0)

    def page_killed(self, what: Happened) -> None:
        """The page's server dies, and is started again."""
        self.page.kill()
        self.page.start()

    def clock_ahead(self, what: Happened) -> None:
        """The clock of the stamps jumps an hour ahead."""
        self.publisher.tell(clock=3600.0 + self.random.random())

    def clock_back(self, what: Happened) -> None:
        """The clock of the stamps jumps back by more than two hours."""
        self.publisher.tell(clock=-7300.0 - self.random.random())

    def clock_half_a_second_ahead(self, what: Happened) -> None:
        """The clock of the stamps jumps ahead by 0.5 s."""
        self.publisher.tell(clock=0.5)

    def clock_a_second_back(self, what: Happened) -> None:
        """The clock of the stamps jumps back by 1 s."""
        self.publisher.tell(clock=-1.0)

    def burst(self, what: Happened) -> None:
        """8 s of speech at once, as a speech synthesiser sends it."""
        self.publisher.tell(burst=8.0)
        time.sleep(11.0)

    def garbage(self, what: Happened) -> None:
        """500 messages that are no audio, in a second, all different."""
        self.publisher.tell(garbage=500)
        time.sleep(3.0)

    def disk_full(self, what: Happened) -> None:
        """A recorder whose file may not grow beyond 200 kB: it must say where the recording lies, and end with 1."""
        output = self.folder / f"bag{len(self.happened)}"
        topics = ["/audio", "/blendshapes", "/emotion"]
        command = NodeSpec("recorder_node", {"output": str(output), "topics": topics}).command()
        recorder = Process("recorder", command, self.folder / f"{output.name}.log", self.node.environment)
        recorder.start(limit=200_000)
        deadline = time.monotonic() + 120
        while recorder.alive and "can't be written" not in recorder.said() and time.monotonic() < deadline:
            time.sleep(0.5)
        status = recorder.stop()
        said = recorder.said()
        what.note = f"the recorder ended with {status}"
        if status != 1 or "Traceback" in said or f"lies in {self.folder}" not in said:
            self._problem(what, f"the recorder must say where the recording lies and end with 1: {said[-500:]!r}")
        for left in self.folder.glob(f".{output.name}*"):
            shutil.rmtree(left, ignore_errors=True)

    def model_swapped(self, what: Happened) -> None:
        """Another network while the node runs: deactivate, clean up, configure, activate."""
        what.away = True
        self.models["now"], self.models["next"] = self.models["next"], self.models["now"]
        self._change_to(self.models["now"])

    def model_damaged(self, what: Happened) -> None:
        """A network whose file is cut short: the node must stay, without one, until it gets a whole one."""
        what.away = True
        for label in ("deactivate", "cleanup"):
            self.listener.transition(label)
        self.listener.set_model(self.models["damaged"])
        if self.listener.transition("configure"):
            self._problem(what, "a network with half its file was taken")
            self.listener.transition("cleanup")
        elif self.listener.state() != "unconfigured":
            self._problem(what, f"the node is {self.listener.state()} after it refused a network")
        time.sleep(2.0)
        what.note = self.listener.statuses.get("emotalk", (0, 0, ""))[2][:100]
        self.listener.set_model(self.models["now"])
        for label in ("configure", "activate"):
            if not self.listener.transition(label):
                self._problem(what, f"{label} failed")

    def _change_to(self, folder: str) -> None:
        self.listener.transition("deactivate")
        self.listener.transition("cleanup")
        self.listener.set_model(folder)
        for label in ("configure", "activate"):
            if not self.listener.transition(label):
                self.problems.append(f"{label} with {folder} failed")

    def _stop_for(self, process: Process, seconds: float) -> None:
        process.send(signal.SIGSTOP)
        time.sleep(seconds)
        process.send(signal.SIGCONT)

    # -- the course ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start everything, break something now and then, until the time is over."""
        for name in ("node", "player", "page"):
            self.processes[name].start()
        self._wait_active()
        self.publisher.start()
        self._wait(lambda: self.listener.last_frame, START, "the first frame")
        self.visitor.start()
        self._wait(lambda: self.visitor.watched, START, "a frame on the page")
        self.begin = time.monotonic()
        end = self.begin + 3600 * self.words.hours
        next_fault, next_print, plan = self.begin + self.words.every, self.begin, self._plan()
        while time.monotonic() < end:
            time.sleep(1.0)
            self._measure()
            for process in self.processes.values():
                if not process.alive:
                    self.problems.append(f"{self._clock()} the {process.name} ended with {process.process.returncode}")
                    process.start()
            if time.monotonic() >= next_print:
                self._print_state()
                next_print += self.words.print_every
            if time.monotonic() >= next_fault and time.monotonic() + 20 < end:
                self._break(next(plan))
                next_fault = max(next_fault + self.words.every, time.monotonic() + 5)
        self.publisher.kill()
        patience = time.monotonic() + 40
        while time.monotonic() < min(patience, self.listener.last_frame + 4):  # what is on its way
            time.sleep(0.1)

    def _plan(self) -> object:
        """All kinds in turn; processes are killed in the first round only: memory is watched over a long life."""
        kills = ["node_killed", "page_killed", "player_killed"]
        others = [
            *("publisher_killed", "publisher_stopped", "node_stopped", "player_stopped", "page_stopped"),
            *("clock_ahead", "clock_back", "clock_half_a_second_ahead", "clock_a_second_back"),
            *("burst", "garbage", "disk_full", "model_swapped", "model_damaged"),
        ]
        kills, others = [[k for k in ks if k in self.words.faults] for ks in (kills, others)]
        self.random.shuffle(kills)
        yield from kills
        while True:
            self.random.shuffle(others)
            yield from others or kills

    def _break(self, kind: str) -> None:
        what = Happened(kind, time.monotonic())
        seen = len(self.listener.frames)
        try:
            getattr(self, kind)(what)
        except (TimeoutError, RuntimeError, OSError) as error:
            self._problem(what, f"{type(error).__name__}: {error}")
        what.end = time.monotonic()
        self.happened.append(what)
        deadline = what.end + BACK
        while time.monotonic() < deadline and not self.listener.last_frame > what.end + 0.5:
            time.sleep(0.1)
            self._measure()
        if self.listener.last_frame > what.end + 0.5:
            what.back = next(at for at, _ in self.listener.frames[seen:] if at > what.end) - what.end
            arrivals = [what.begin, *(at for at, _ in self.listener.frames[seen:])]
            what.gap = max(b - a for a, b in pairwise(arrivals))
        else:
            self._problem(what, f"no frame within {BACK:g} s after it")
            if self.listener.state() != "active":
                self.problems.append(f"the node is {self.listener.state()}: it is started anew")
                self.node.kill()
                self.node.start()
                self._wait_active()
        words = kind.replace("_", " ")
        print(f"{self._clock()} {words}: {what.gap:.2f} s without a frame; {what.note}".rstrip("; "), flush=True)

    def _measure(self) -> None:
        """Memory; the node's only with the network that ships, as another one needs more or less."""
        for process in self.processes.values():
            if process is not self.node or self.models["now"] == self.shipped:
                process.measure()

    def _problem(self, what: Happened, text: str) -> None:
        self.problems.append(f"{self._clock()} {what.kind.replace('_', ' ')}: {text}")
        print("PROBLEM", self.problems[-1], flush=True)

    def _wait_active(self) -> None:
        self._wait(lambda: self._is_active(), START, "an active node")

    def _is_active(self) -> bool:
        return self.node.alive and self.listener.state(3.0) == "active"

    def _wait(self, condition: object, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what} did not come within {seconds:g} s; see {self.folder}")
            time.sleep(0.1)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - getattr(self, "begin", time.monotonic()))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def _print_state(self) -> None:
        sizes = ", ".join(
            f"{name} {process.memory.samples[-1][1]:.0f}"
            for name, process in self.processes.items()
            if process.memory.samples
        )
        print(
            f"{self._clock()} {len(self.listener.frames)} frames from speech, {self.visitor.watched} on the page, "
            f"{self.listener.total('emotalk', 'skipped_hops'):.0f} hops skipped; MB: {sizes}; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )

    # -- the end -------------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, object]:
        """Everything that was counted, and the verdict in `problems`."""
        diary = list(ENTRY.iter_unpack(self.diary.read_bytes()))
        arrivals, stamps = zip(*self.listener.frames, strict=True)
        np.savez(self.folder / "frames.npz", arrivals=arrivals, stamps=stamps, skips=self.listener.skips)
        pieces = pieces_of(diary)
        count = count_frames(pieces, [stamp for _, stamp in self.listener.frames])
        lag = 1.5 + self.words.max_lag  # what the node has heard, and not shown yet
        windows = [(what.begin - lag, what.end + 1.0) for what in self.happened if what.away]
        away = [at for at in count.missing if any(a <= at <= b for a, b in windows)]
        lost = len(count.missing) - len(away)
        for at in count.missing:
            before = [what for what in self.happened if what.begin - 1.5 <= at]
            if before:
                before[-1].missing += 1
        total = self.listener.total
        hops = total("emotalk", "skipped_hops")
        hop = self._hop()
        said = hops * round(hop * FPS) + total("emotalk", "audio_dropped_samples") / RATE * FPS
        problems = list(self.problems)
        if lost > said + 3 * len(pieces):
            problems.append(f"{lost} frames lost, and only {said:.0f} of them are told by diagnostics")
        if count.doubled or self.listener.bad:
            problems.append(f"{count.doubled} frames doubled, {self.listener.bad} out of range")
        if self.listener.lost_on_the_way:
            problems.append(f"{self.listener.lost_on_the_way} messages lost between node and listener")
        # A hop that is skipped at the end of a sentence takes the frames of the look-ahead with it.
        if self.visitor.expected - self.visitor.seen > 3 * (self.visitor.skipped + 2 * self.visitor.hurried):
            problems.append(f"{self.visitor.expected - self.visitor.seen} frames of the page's own voice are missing")
        problems += [
            f"the {name} ended with {status}" for name, status in self.statuses.items() if status not in (0, 130, -2)
        ]
        hours = (time.monotonic() - self.begin) / 3600
        memory, logs = {}, {}
        for name, process in self.processes.items():
            longest = max(process.lives, key=lambda life: len(life.samples))
            start, end, slope = longest.summary()
            memory[name] = {"start_mb": round(start, 1), "end_mb": round(end, 1), "slope_mb_per_hour": round(slope, 1)}
            if end - start > max(30.0, 0.1 * start):
                problems.append(f"the {name}'s memory grew from {start:.0f} to {end:.0f} MB")
            text = process.said()
            logs[name] = {"bytes": len(text.encode()), "lines": text.count("\n")}
            if "Traceback" in text:
                problems.append(f"a traceback in the log of the {name}: {process.log}")
        lines = sum(log["lines"] for log in logs.values())
        if lines > 200 + LOG_RATE * 60 * hours:
            problems.append(f"{lines} lines of log, more than {LOG_RATE:g} a minute")
        return {
            "hours": round(hours, 3),
            "seed": self.words.seed,
            "frames": {
                "expected": count.expected,
                "seen": count.seen,
                "missing_while_the_node_was_away": len(away),
                "missing_otherwise": lost,
                "told_by_diagnostics": round(said),
                "doubled": count.doubled,
                "out_of_range": self.listener.bad,
                "lost_between_node_and_listener": self.listener.lost_on_the_way,
                "closing_and_idle": self.listener.others,
            },
            "page": {
                "frames_watched": self.visitor.watched,
                "frames_published": len(self.listener.frames) + self.listener.others,
                "own_voice_expected": self.visitor.expected,
                "own_voice_seen": self.visitor.seen,
                "own_voice_skipped_hops": self.visitor.skipped,
                "connections": self.visitor.connections,
            },
            "player": {
                "published_s": round(sum(c for _, _, c in diary) / RATE, 1),
                **{key: round(total("speaker", key), 1) for key in ("played_s", "underruns", "moves", "without_face")},
            },
            "skipped_hops": round(hops),
            "starts": {name: process.starts for name, process in self.processes.items()},
            "faults": [
                {
                    "kind": what.kind,
                    "at_s": round(what.begin - self.begin, 1),
                    "without_frames_s": round(what.gap, 2),
                    "frames_missing": what.missing,
                    "back_after_s": round(what.back, 2),
                    "note": what.note,
                }
                for what in self.happened
            ],
            "memory": memory,
            "logs": logs,
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "problems": problems,
        }

    def _hop(self) -> float:
        return self.listener._last.get("emotalk", {}).get("hop_s", 0.1)


def make_models(folder: Path) -> dict[str, str]:
    """The network that ships, another one (tiny, with random weights), and a damaged copy. Paths as texts."""
    shipped = next(path for path in candidate_paths("models/emotalk-streaming") if path.exists())
    other = folder / "other"
    make = (
        "import sys, torch; from emotalk_ros.model import EmoTalk, EmoTalkConfig; torch.manual_seed(0); "
        "EmoTalk(EmoTalkConfig.preset('tiny')).save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", make, str(other)], check=True)
    damaged = folder / "damaged"
    shutil.copytree(shipped, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return {"now": str(shipped), "next": str(other), "damaged": str(damaged)}


def report(figures: dict[str, object]) -> str:
    """The figures as a table for people."""
    frames, page, player = figures["frames"], figures["page"], figures["player"]
    kinds: dict[str, list[dict[str, float]]] = {}
    for fault in figures["faults"]:
        kinds.setdefault(fault["kind"], []).append(fault)
    lines = [
        f"hours                {figures['hours']}",
        f"frames from speech   {frames['seen']} of {frames['expected']} expected; "
        f"{frames['missing_while_the_node_was_away']} missing while the node was away or stood still, "
        f"{frames['missing_otherwise']} otherwise "
        f"({frames['told_by_diagnostics']} told by diagnostics); {frames['doubled']} doubled, "
        f"{frames['out_of_range']} out of range",
        f"frames on the page   {page['frames_watched']} of {page['frames_published']} published; its own voice "
        f"{page['own_voice_seen']} of {page['own_voice_expected']} ({page['own_voice_skipped_hops']} hops skipped); "
        f"{page['connections']} connections",
        f"sound played         {player['played_s']} of {player['published_s']} s; {player['underruns']} underruns, "
        f"{player['moves']} moves",
        f"hops skipped         {figures['skipped_hops']}",
        "starts               " + ", ".join(f"{name} {n}" for name, n in figures["starts"].items()),
        "",
        f"{'fault':28}{'times':>6}{'longest without frames, s':>28}{'frames missing':>16}",
    ]
    for kind, faults in sorted(kinds.items()):
        longest = max(fault["without_frames_s"] for fault in faults)
        missing = sum(fault["frames_missing"] for fault in faults)
        lines.append(f"{kind.replace('_', ' '):28}{len(faults):6}{longest:28.2f}{missing:16}")
    lines += ["", f"{'process':12}{'start MB':>10}{'end MB':>10}{'MB/h':>8}{'log kB':>10}{'lines':>8}"]
    for name, memory in figures["memory"].items():
        log = figures["logs"][name]
        lines.append(
            f"{name:12}{memory['start_mb']:10.1f}{memory['end_mb']:10.1f}{memory['slope_mb_per_hour']:8.1f}"
            f"{log['bytes'] / 1000:10.1f}{log['lines']:8}"
        )
    lines += ["", "verdict: " + ("all as it must be" if not figures["problems"] else "not as it must be")]
    lines += [f"- {problem}" for problem in figures["problems"]]
    return "\n".join(lines)


FAULTS = tuple(
    name
    for name, member in vars(Soak).items()
    if not name.startswith("_") and name not in ("run", "figures") and callable(member)
)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="of the order of the faults (default 0)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from fault to fault (default 60)")
    parser.add_argument(
        "--faults", nargs="+", default=FAULTS, choices=FAULTS, metavar="FAULT", help="only these: " + ", ".join(FAULTS)
    )
    parser.add_argument(
        "--max-lag", type=float, default=1.0, help="the node's stream.max_lag, for a machine that does other work too"
    )
    parser.add_argument(
        "--visit-every", type=float, default=30.0, help="seconds between two sentences of the page's visitor"
    )
    parser.add_argument("--print-every", type=float, default=30.0, help="seconds between two lines of progress")
    parser.add_argument("--speech", type=Path, help="audio file, repeated without end (default: the demo's)")
    parser.add_argument("--folder", type=Path, help="where logs and diary stay (default: removed at the end)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--publish", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.publish:
        publish(words.publish, words.speech)
        return 0
    interrupt_on_signals()
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    folder = words.folder or Path(tempfile.mkdtemp(prefix="emotalk-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Soak(words, folder) as soak, suppress(KeyboardInterrupt):
            soak.run()
        figures = soak.figures()
        print("\n" + report(figures))
        if words.json:
            write_text(words.json, json.dumps(figures, indent=2) + "\n")
    finally:
        if not words.folder:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if figures["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
