#!/usr/bin/env python3
"""A face, its servos and its loudspeaker under random speech, commands, lifecycle changes, stops and kills.

    scripts/random_robot.py                          ten minutes
    scripts/random_robot.py --minutes 0.5 --seed 7   the same choices as any other run with this seed

What must hold, whatever comes: each command to the joints keeps the limits of position, speed and acceleration; the
face and the joints come to rest whenever the face ends (deactivated, killed, the end); no process ends uninvited. The
joints tell where they are, as those of a robot do: a servo node that was killed goes on from there. Microphone
and loudspeaker are stand-ins (test/ros/fake_portaudio). Exit status 1: something did not hold, the last line says what.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from emotalk_ros.files import write_text
from emotalk_ros.nodes.processes import NodeSpec, free_domain

os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import numpy as np
import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty
from std_srvs.srv import SetBool

from emotalk_ros.audio import encode_pcm, load_audio
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionCommand
from emotalk_ros.nodes.messages import audio_chunk, from_time, to_time
from emotalk_ros.servos import load_servo_map
from emotalk_ros.units import NS, SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
DEEP = QoSProfile(depth=5000)
REST = 0.02
"""A face is at rest when no coefficient but the blinks' is larger."""
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


class Joints:
    """Judges every command; plays a robot whose joints stand where they were last told to."""

    def __init__(self, servo_map):
        joints = servo_map.joints.values()
        self.names = list(servo_map.joints)
        self.zero = np.array([joint.zero for joint in joints])
        self._low, self._high = np.array([joint.limits for joint in joints]).T
        self._speed = np.array([joint.speed for joint in joints])
        self._change = np.array([joint.acceleration for joint in joints]) / servo_map.rate
        self._rate = servo_map.rate
        self.place = self.zero.copy()
        self._velocity = np.zeros(len(self.names))
        self._sequence = sys.maxsize  # the first command begins a life too
        self._stamp = 0.0
        self.problems, self.commands, self.lost, self.lives = [], 0, 0, 0
        self.worst = Counter()
        self.steps = []  # seconds between two commands

    def heard(self, state, info):
        """A command."""
        position, velocity = np.array(state.position), np.array(state.velocity)
        number = info["publication_sequence_number"]
        fresh = number <= self._sequence
        missing = 0 if fresh else number - self._sequence - 1
        self.commands += 1
        self.lost += missing
        self.lives += fresh
        self._judge("position", np.maximum(position - self._high, self._low - position), 0.0)
        self._judge("speed", np.abs(velocity), self._speed)
        change = np.abs(velocity - (0.0 if fresh else self._velocity))
        self._judge("acceleration", change, (missing + 1) * self._change)
        if not missing:
            self._judge("step", np.abs(position - self.place - velocity / self._rate), 1e-9)
        stamp = from_time(state.header.stamp) / NS
        if not fresh and not missing:
            self.steps.append(stamp - self._stamp)
        self._sequence, self._stamp, self.place, self._velocity = number, stamp, position, velocity

    def _judge(self, what, found, limit):
        over = found - limit
        self.worst[what] = max(self.worst[what], float(np.max(found / limit if np.all(limit) else found)))
        if np.max(over) > 1e-6:
            joint = int(np.argmax(over))
            self.problems.append(
                f"{self.names[joint]}: {what} {np.atleast_1d(found)[joint]:.6g} over "
                f"{np.broadcast_to(limit, found.shape)[joint]:.6g} in command {self.commands}"
            )

    @property
    def resting(self):
        return bool(np.all(np.abs(self.place - self.zero) < 1e-3) and not self._velocity.any())

    def state(self):
        return JointState(name=self.names, position=self.place.tolist())


class Part:
    """A node's process, started again after it was killed."""

    def __init__(self, spec, environment, log):
        self.spec, self._environment = spec, environment
        self._log = open(log, "ab")  # noqa: SIM115
        self.path = Path(log)
        self.stopped_until = self.back_at = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.spec.command(), env={**os.environ, **self._environment}, stdout=self._log, stderr=self._log
        )
        self.back_at = None
        self.started = time.monotonic()

    @property
    def works(self):
        return self.back_at is None and self.stopped_until is None

    def kill(self, back_in):
        self.process.kill()
        self.process.wait()
        self.stopped_until, self.back_at = None, time.monotonic() + back_in

    def stop(self, seconds):
        self.process.send_signal(signal.SIGSTOP)
        self.stopped_until = time.monotonic() + seconds

    def turn(self):
        """What is due; the status of a process that ended uninvited."""
        now = time.monotonic()
        if self.back_at is not None:
            if now >= self.back_at:
                self.start()
            return None
        if self.stopped_until is not None and now >= self.stopped_until:
            self.process.send_signal(signal.SIGCONT)
            self.stopped_until = None
        return self.process.poll()

    def end(self, signum=signal.SIGINT, timeout=30.0):
        """Its exit status."""
        if self.back_at is not None:
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signum)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Robot:
    """The nodes, and this end of their topics."""

    def __init__(self, words, folder):
        self.random = np.random.default_rng(words.seed)
        self.patience = words.patience
        self.speech = load_audio(ROOT / "examples" / "speech" / "demo.ogg")
        servo_map = ROOT / "config" / "servos" / f"{words.map}.yaml"
        self.joints = Joints(load_servo_map(servo_map))
        self.problems, self.counts, self.rests = [], Counter(), []
        self._sound = threading.Thread()
        self._hush = threading.Event()
        rclpy.init()
        self.node = rclpy.create_node("random_robot")
        self.face, self._face_at = None, 0.0
        self.frames = Counter()
        node = self.node
        node.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, DEEP)
        node.create_subscription(JointState, "joint_commands", self.joints.heard, DEEP)
        self._places = node.create_publisher(JointState, "joint_states", 10)
        node.create_timer(0.05, lambda: self._places.publish(self.joints.state()))
        self._audio = node.create_publisher(AudioChunk, "audio", DEEP)
        self._commands = node.create_publisher(EmotionCommand, "emotion_command", 10)
        self._interrupts = node.create_publisher(Empty, "interrupt", 10)
        # In this order: each end announces its services in the order in which they are made, so that a node that
        # answered get_state knows the client of change_state too.
        self._change = node.create_client(ChangeState, "emotalk/change_state")
        self._state = node.create_client(GetState, "emotalk/get_state")
        self._set = node.create_client(SetParameters, "emotalk/set_parameters")
        self._rest = node.create_client(SetBool, "servo/rest")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._spinner = threading.Thread(target=self._spin, daemon=True)
        self._spinner.start()
        (folder / "portaudio").write_text("plugged")
        fakes = os.pathsep.join([str(ROOT / "test" / "ros" / "fake_portaudio"), os.environ.get("PYTHONPATH", "")])
        sound = {"FAKE_PORTAUDIO": str(folder / "portaudio"), "FAKE_LOUDSPEAKER": "/dev/null", "PYTHONPATH": fakes}
        model = {"model.path": str(words.model)} if words.model else {}
        specs = {
            "emotalk": NodeSpec("emotalk_node", {**model, "output.head": 1.0, "output.gaze": True}),
            "servo": NodeSpec("servo_node", {"map": servo_map, "output": "joint_state", "wait_for_joints": 5.0}),
            "speaker": NodeSpec("speaker_node"),
        }
        self.parts = {name: Part(spec, sound, folder / f"{name}.log") for name, spec in specs.items()}

    def _spin(self):
        with suppress(ExternalShutdownException):
            while rclpy.ok():
                self._executor.spin_once(timeout_sec=0.1)

    def _on_face(self, face):
        self.face, self._face_at = face, time.monotonic()
        self.frames[int(face.kind)] += 1
        values = np.asarray(face.coefficients)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            self.problems.append(f"coefficients of frame {face.sequence} leave 0 to 1")

    @property
    def face_rests(self):
        values = np.array(self.face.coefficients) if self.face is not None else np.zeros(52)
        values[[BlendshapeCoefficients.EYE_BLINK_LEFT, BlendshapeCoefficients.EYE_BLINK_RIGHT]] = 0.0
        return bool(values.max() < REST)

    # -- what may happen --------------------------------------------------------------------------------------------

    def act(self):
        """One random thing."""
        acts = {
            self.speak: 8,
            self.feel: 6,
            self.set_parameter: 3,
            self.rubbish: 2,
            self.interrupt: 1,
            self.servo_rest: 1,
            self.deactivate: 2,
            self.kill_face: 1,
            self.kill_other: 2,
            self.stop: 3,
        }
        weights = np.array(list(acts.values())) / sum(acts.values())
        act = list(acts)[self.random.choice(len(acts), p=weights)]
        act()
        self.counts[act.__name__] += 1

    def speak(self):
        """Speech at real time, or a sentence in one message."""
        if self._sound.is_alive():
            return
        seconds, at_once = self.random.uniform(0.3, 4.0), self.random.random() < 0.3
        begin = self.random.integers(0, len(self.speech) - round(seconds * SAMPLE_RATE))
        samples = self.speech[begin : begin + round(seconds * SAMPLE_RATE)] * self.random.uniform(0.3, 3.0)
        chunk = len(samples) if at_once else 320
        self._hush.clear()
        self._sound = threading.Thread(target=self._play, args=(samples, chunk), daemon=True)
        self._sound.start()

    def _play(self, samples, chunk):
        begin, stamp = time.monotonic(), time.time_ns()
        for at in range(0, len(samples), chunk):
            if self._hush.wait(max(0.0, begin + at / SAMPLE_RATE - time.monotonic())):
                return
            self._say(samples[at : at + chunk], stamp + at * NS // SAMPLE_RATE)

    def _say(self, samples, stamp_ns, encoding="s16le"):
        data = encode_pcm(np.clip(samples, -1, 1), encoding)
        self._audio.publish(
            audio_chunk(data, stamp_ns=stamp_ns, sample_rate=SAMPLE_RATE, channels=1, encoding=encoding)
        )

    def feel(self):
        """An emotion command, sometimes a wrong one."""
        random = self.random
        command = EmotionCommand(
            label=str(random.choice([*EMOTIONS, *EMOTIONS, "", "bored"])),
            intensity=float(random.choice([1.0, random.uniform(0, 2), 7.0, np.nan])),
            blend=float(random.uniform(0, 1)),
            hold=float(random.choice([0.0, random.uniform(0.2, 3)])),
            transition=float(random.choice([0.0, 0.3, random.uniform(0, 2)])),
        )
        if random.random() < 0.3:
            command.header.stamp = to_time(time.time_ns() + round(random.uniform(-1, 2) * NS))
        self._commands.publish(command)

    def set_parameter(self):
        """A parameter, sometimes with a value that is refused."""
        choices = {
            "output.gain": [0.0, 1.0, 2.5, 4.0, 99.0],
            "output.mouth_gain": [0.5, 1.0, 3.0],
            "output.smoothing": [0.0, 0.02, 0.3],
            "output.head": [0.0, 3.0],
            "output.expression": [0.0, 1.0],
            "stream.hop": [0.2, -1.0],
            "style.level": [0.0, 1.0],
        }
        name = str(self.random.choice(list(choices)))
        value = float(self.random.choice(choices[name]))
        if self._set.service_is_ready():
            message: ParameterMessage = Parameter(name, value=value).to_parameter_msg()
            self._set.call_async(SetParameters.Request(parameters=[message]))

    def rubbish(self):
        """Audio that makes no sense."""
        random = self.random
        now = time.time_ns()
        noise = random.standard_normal(1600).astype(np.float32)
        wrong = int(random.integers(4))
        if wrong == 0:
            noise[::7] = np.nan
            self._say(noise, now, "f32le")
        elif wrong == 1:
            self._say(noise, int(random.choice([1, now + 10**12, now - 10**12])))
        else:
            chunk = AudioChunk(sample_rate=int(random.choice([0, 16000])), channels=1, encoding="s16le")
            chunk.header.stamp = to_time(now)
            chunk.encoding = "mp3" if wrong == 2 else "s16le"
            chunk.data.frombytes(random.bytes(int(random.integers(0, 999))))
            self._audio.publish(chunk)

    def interrupt(self):
        """Barge-in."""
        self._hush.set()
        self._interrupts.publish(Empty())

    def servo_rest(self):
        """The joints are told to rest, and to go on."""
        if self.parts["servo"].works and self._rest.service_is_ready():
            self._rest.call_async(SetBool.Request(data=True))
            self.pass_time(self.random.uniform(0.2, 1.0))
            self._rest.call_async(SetBool.Request(data=False))

    def deactivate(self):
        """Once around the lifecycle; the face rests meanwhile."""
        part = self.parts["emotalk"]
        if not (part.works and self._face_at > part.started + 1.0 and self._transition("deactivate")):
            return
        self._must_rest("deactivated", face=True)
        if self.random.random() < 0.5:
            self._transition("cleanup")
            self._transition("configure")
        self._transition("activate")

    def kill_face(self):
        """kill -9 of the emotalk node: nobody closes the mouth, the servo node must."""
        if self.parts["emotalk"].works:
            self.parts["emotalk"].kill(back_in=self.random.uniform(1.0, 2.0))
            self._must_rest("killed", face=False)

    def kill_other(self):
        """kill -9 of the servo or the speaker node."""
        part = self.parts[str(self.random.choice(["servo", "speaker"]))]
        if part.works:
            part.kill(back_in=self.random.uniform(0.1, 1.0))

    def stop(self):
        """SIGSTOP for a while: a machine that stalls."""
        part = self.parts[str(self.random.choice(list(self.parts)))]
        if part.works:
            part.stop(self.random.uniform(0.05, 2.5))

    def _transition(self, label):
        """Whether it succeeded.

        A node that was killed stays in the graph for a while, and a service counts as ready as soon as its node was
        discovered, not when it discovered its client: requests and answers get lost without a word
        (ros2/rmw_fastrtps, issue 842). So the state, which may be asked for as often as one likes, is asked for first.
        """
        if self._now_in(30.0) is None:
            self.problems.append(f"the node does not tell its state within {30 * self.patience:g} s, before {label}")
            return False
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[label]
        answer = self._answer(self._change, request, 30.0)
        if answer is None:
            state, log = self._now_in(10.0), tail(self.parts["emotalk"].path)
            self.problems.append(f"no answer to {label} within {30 * self.patience:g} s; now {state}; its log: {log}")
            return False
        return bool(answer.success)

    def _now_in(self, seconds):
        """The state of the node's lifecycle, or None where it does not tell."""
        end = time.monotonic() + seconds * self.patience
        while time.monotonic() < end:
            answer = self._answer(self._state, GetState.Request(), 1.0)
            if answer is not None:
                return answer.current_state.label
            self.counts["unanswered get_state"] += 1
        return None

    def _answer(self, client, request, seconds):
        """The answer to a request, or None where there was none in time."""
        end = time.monotonic() + seconds * self.patience
        while not client.service_is_ready():
            if time.monotonic() > end:
                return None
            self.pass_time(0.05)
        answer = client.call_async(request)
        while not answer.done():
            if time.monotonic() > end:
                client.remove_pending_request(answer)
                return None
            self.pass_time(0.01)
        return answer.result()

    def _must_rest(self, why, face):
        """The joints (and the last frame) are at rest soon."""
        begin = time.monotonic()
        servo = self.parts["servo"]
        lives = self.joints.lives
        while not (self.joints.resting and (self.face_rests or not face)):
            self.pass_time(0.02)
            if not servo.works or self.joints.lives != lives:
                begin, lives = time.monotonic(), self.joints.lives  # a servo node that starts again has its time too
            if time.monotonic() - begin > 3.0 * self.patience:
                where = dict(zip(self.joints.names, self.joints.place.round(3).tolist(), strict=True))
                what = "joints" if not self.joints.resting else "face"
                self.problems.append(f"{what} not at rest {3 * self.patience:g} s after the face was {why}: {where}")
                return
        self.rests.append(time.monotonic() - begin)

    # -- the whole --------------------------------------------------------------------------------------------------

    def pass_time(self, seconds):
        """Let time pass, and look after the processes."""
        end = time.monotonic() + seconds
        while True:
            for name, part in self.parts.items():
                status = part.turn()
                if status is not None:
                    self.problems.append(f"{name} ended uninvited with status {status}: {tail(part.path)}")
                    part.start()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def run(self, seconds):
        """Random things for so long, then a clean end."""
        begin = time.monotonic()
        while self.face is None or not self.joints.commands:
            self.pass_time(0.1)
            if time.monotonic() - begin > 120.0 * self.patience:
                raise SystemExit(f"the nodes did not start: {tail(self.parts['emotalk'].path)}")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.act()
            self.pass_time(self.random.exponential(0.4))
        self._end()

    def _end(self):
        self._hush.set()
        while not all(part.works for part in self.parts.values()):
            self.pass_time(0.05)
        if self._sound.is_alive():
            self._sound.join()
        count = self.frames.total()
        wait = time.monotonic() + 60.0 * self.patience
        while self.frames.total() == count and time.monotonic() < wait:  # a node that was killed last is back
            self.pass_time(0.1)
        status = {"emotalk": self.parts["emotalk"].end()}
        time.sleep(0.5)
        if not self.face_rests:
            self.problems.append(f"the face is not at rest at the end: {max(self.face.coefficients):.3f}")
        status |= {name: self.parts[name].end() for name in ("servo", "speaker")}
        time.sleep(0.5)
        if not self.joints.resting:
            self.problems.append(f"the joints are not at rest at the end: {self.joints.place}")
        self.problems += [f"{name} ended with status {code}" for name, code in status.items() if code != 0]

    def close(self):
        for part in self.parts.values():
            part.end(signal.SIGKILL)
        rclpy.try_shutdown()
        self._spinner.join(5.0)

    def figures(self):
        steps, joints = np.array(self.joints.steps), self.joints
        return {
            "acts": dict(self.counts),
            "frames": {name: self.frames[kind] for kind, name in enumerate(("speech", "closing", "idle"))},
            "commands": joints.commands,
            "commands_lost": joints.lost,
            "servo_lives": joints.lives,
            "worst_share_of_speed": round(joints.worst["speed"], 6),
            "worst_share_of_acceleration": round(joints.worst["acceleration"], 6),
            "worst_beyond_position_rad": joints.worst["position"],
            "command_interval_ms": {f"p{q}": round(1e3 * np.percentile(steps, q), 2) for q in (0, 1, 50, 99)},
            "times_brought_to_rest": len(self.rests),
            "seconds_to_rest_max": round(max(self.rests, default=0.0), 2),
            "problems": [*self.problems, *joints.problems],
        }


def tail(path):
    return path.read_text(errors="replace").strip()[-600:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--map", default="face_12", choices=["face_12", "head_3"], help="servo map")
    parser.add_argument("--model", help="folder of the network (default: the one that ships)")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of time limits, for a busy machine")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        robot = Robot(words, Path(folder))
        try:
            robot.run(60.0 * words.minutes)
        finally:
            robot.close()
        figures = robot.figures()
    print(json.dumps(figures, indent=2))
    if words.json:
        write_text(words.json, json.dumps(figures, indent=2) + "\n")
    problems = figures["problems"]
    print(f"{len(problems)} things did not hold; the first: {problems[0]}" if problems else "everything held")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
