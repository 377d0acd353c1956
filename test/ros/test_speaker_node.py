"""The speaker node with a loudspeaker that is not there: sound meets the frames, and stops when it is told."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from graph import chunk_message, wait_until
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from emotalk_ros.motion import FaceFrame
from emotalk_ros.nodes.messages import blendshapes

FAKES = Path(__file__).parent / "fake_portaudio"
DELAY = 0.25
SILENT_AFTER = 0.25
"""Seconds; 0.03 on an idle machine, but other tests may run beside this one."""


@pytest.fixture(scope="module")
def speaker(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    (folder / "device").write_text("plugged")
    (folder / "heard").touch()
    environment = {
        "PYTHONPATH": os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]),
        "FAKE_PORTAUDIO": str(folder / "device"),
        "FAKE_LOUDSPEAKER": str(folder / "heard"),
    }
    faces = graph.node.create_publisher(type(blendshapes(frame(0, 0), 0)), "/mouth/blendshapes", 100)
    sound = graph.node.create_publisher(type(chunk_message(np.zeros(1), 0)), "/mouth/audio", 500)
    node = graph.start("speaker_node", arguments=["-r", "__ns:=/mouth"], environment=environment)

    def ready():
        assert node.alive, node.log
        return sound.get_subscription_count() and faces.get_subscription_count() and (folder / "heard").stat().st_size

    wait_until(ready, 60.0, "the speaker node")
    time.sleep(0.5)
    yield faces, sound, folder / "heard"
    assert node.stop() == 0, node.log


def frame(index, stamp_ns):
    return FaceFrame(index, stamp_ns, np.zeros(52, np.float32), 1.0, np.zeros(0))


def show(faces, begin_ns, seconds, sent):
    """The face of a stream, each frame DELAY after its stamp; `sent` gets when each one was in truth."""
    for index in range(round(seconds * 30)):
        stamp = begin_ns + round(index * 1e9 / 30)
        time.sleep(max(0.0, stamp / 1e9 + DELAY - time.time()))
        faces.publish(blendshapes(frame(index, stamp), index))
        sent.append(time.time())


def say(sound, begin_ns, seconds):
    """`seconds` of beeps at once: on for 0.3 s and off for 0.2 s."""
    at = np.arange(round(seconds * 16000)) / 16000
    samples = (0.5 * np.sin(2 * np.pi * 400 * at) * (at % 0.5 < 0.3)).astype(np.float32)
    for k in range(0, len(samples), 1600):
        sound.publish(chunk_message(samples[k : k + 1600], begin_ns + k * 1_000_000_000 // 16000))


def heard(path, since):
    lines = [line.split() for line in path.read_text().splitlines() if line.count(" ") == 1]
    return np.array([(float(a), int(b)) for a, b in lines if float(a) >= since] or np.zeros((0, 2)))


def beeps(path, since):
    """When the first four beeps were heard; None while there are fewer."""
    blocks = heard(path, since)
    loud = blocks[:, 1] > 3000
    onsets = blocks[1:, 0][loud[1:] & ~loud[:-1]]
    return onsets[:4] if len(onsets) >= 4 else None


def test_speech_sent_at_once_is_heard_with_the_face_until_it_is_interrupted(graph, speaker):
    faces, sound, path = speaker
    begin = time.time_ns()
    say(sound, begin, 8.0)
    sent = []
    face = threading.Thread(target=show, args=(faces, begin, 6.0, sent), daemon=True)
    face.start()
    wait_until(lambda: beeps(path, begin / 1e9) is not None, 20.0, "four beeps")
    onsets = beeps(path, begin / 1e9)
    shown = [sent[15 * k] for k in range(4)]  # when the frame of each beep came
    late = np.median(np.subtract(onsets, shown))
    # What feels together (ITU-R BT.1359), and what this process itself was late with its frames on a busy machine.
    stall = np.max(np.array(sent) - begin / 1e9 - DELAY - np.arange(len(sent)) / 30)
    assert -0.045 - stall < late < 0.125 + stall, (onsets, shown)
    told = []
    subscription = graph.node.create_subscription(Empty, "/mouth/interrupt", told.append, 10)
    time.sleep(0.3)
    answer = graph.call(Trigger, "/mouth/speaker/interrupt", Trigger.Request())
    end = time.time()
    assert answer.success and "s of sound are not played" in answer.message
    time.sleep(0.8)
    assert not heard(path, end + SILENT_AFTER)[:, 1].any()
    wait_until(lambda: told, 5.0, "the topic interrupt")
    graph.node.destroy_subscription(subscription)
    face.join()
    wait_until(lambda: (graph.status("speaker") or ("", "", {}))[2].get("interruptions") == "1", 5.0, "the count")
    assert graph.status("speaker")[2]["device"] == "Robot Mouth: USB"


def test_the_topic_interrupt_silences_it_too(graph, speaker):
    faces, sound, path = speaker
    interrupt = graph.node.create_publisher(Empty, "/mouth/interrupt", 10)
    begin = time.time_ns()
    say(sound, begin, 3.0)
    show(faces, begin, 0.7, [])
    assert heard(path, begin / 1e9)[:, 1].any()
    wait_until(lambda: interrupt.get_subscription_count(), 5.0, "a listener")
    interrupt.publish(Empty())
    end = time.time()
    time.sleep(0.6)
    assert not heard(path, end + SILENT_AFTER)[:, 1].any()
