"""What a node published while its audio was recorded is what a replay of the recording gives: frames and stamps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import frames_of
from foreign_messages import environment
from graph import START, wait_until

from emotalk_ros.audio.messages import (
    AUDIO_CHUNK,
    AUDIO_DATA,
    AUDIO_DATA_STAMPED,
    AUDIO_STAMPED,
    RAW_AUDIO,
    InputSettings,
)
from emotalk_ros.bags import open_bag
from emotalk_ros.bags.tracks import read_coefficients
from emotalk_ros.evaluation.replay import Topics, replay
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.streaming.worker import WorkerSettings
from emotalk_ros.units import NS

START_NS = 1_700_000_000_000_000_000
IDLE_TIMEOUT = 1.5
SETTLED = 3.0
"""Seconds without a frame after which the stream is over: longer than the node waits for audio."""
TYPES = {
    AUDIO_CHUNK: None,
    RAW_AUDIO: "foxglove",
    AUDIO_STAMPED: "mgonzs13",
    AUDIO_DATA_STAMPED: "ros-drivers",
    AUDIO_DATA: "ros-drivers",
}


@pytest.mark.parametrize("msgtype", TYPES)
def test_replay_of_each_message_type_gives_the_frames_of_the_node(graph, model_path, speech, tmp_path, msgtype):
    project = TYPES[msgtype]
    # Without stamps, the time of arrival dates the first chunk; those that follow shall not depend on the transport.
    stamps = "none" if msgtype == AUDIO_DATA else "capture"
    variables = environment(project) if project else {}
    namespace = f"/{msgtype.split('/')[2].lower()}"
    np.save(tmp_path / "clip.npy", speech)
    frames = []
    listening = graph.node.create_subscription(
        BlendshapeCoefficients, f"{namespace}/blendshapes", lambda message: frames.append(time.monotonic()), 1000
    )
    options = {"arguments": ["-r", f"__ns:={namespace}"], "environment": variables}
    node = graph.start(
        "emotalk_node",
        {
            "model.path": str(model_path),
            "audio.type": msgtype.replace("/msg/", "/"),
            "audio.stamps": stamps,
            "output.blinks": False,
            "stream.max_lag": 30.0,
            "stream.idle_timeout": IDLE_TIMEOUT,
            "output.idle": False,  # nobody knows how long the node was idle before the recording
        },
        **options,
    )
    topics = ["audio", "audio_info", "blendshapes", "emotion"]
    recorder = graph.start("recorder_node", {"output": str(tmp_path / "bag"), "topics": topics}, **options)

    def ready():
        assert node.alive and recorder.alive, node.log + recorder.log
        return (
            graph.node.count_subscribers(f"{namespace}/audio") >= 1
            and graph.node.count_subscribers(f"{namespace}/blendshapes") >= 2
        )

    wait_until(ready, START, "a node and a recorder")
    program = Path(__file__).with_name("publish_audio.py")
    words = [sys.executable, str(program), msgtype, str(tmp_path / "clip.npy"), str(START_NS), namespace]
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: frames and time.monotonic() - frames[-1] > SETTLED, 60, "the end of the stream")
    assert (recorder.stop(), node.stop()) == (0, 0)
    graph.node.destroy_subscription(listening)

    with open_bag(tmp_path / "bag") as bag:
        replayed = _replay(bag, model_path, InputSettings(stamps=stamps))
        recorded = read_coefficients(bag, bag.topics[f"{namespace}/blendshapes"])
        assert bag.problems == []
    assert recorded.kind.tolist() == replayed.kind.tolist()  # speech, then the closing of the mouth
    difference = recorded.stamp_ns - replayed.stamp_ns
    if msgtype == AUDIO_DATA:  # node and recorder received the first chunk at their own instants
        assert np.ptp(difference) <= 1 and abs(difference[0]) < NS
    else:
        assert not difference.any()
    if msgtype in (AUDIO_CHUNK, RAW_AUDIO):
        spoken = int((replayed.kind == FrameKind.SPEECH).sum())
        assert (replayed.stamp_ns[0], spoken) == (START_NS, frames_of(len(speech)))
    np.testing.assert_allclose(recorded.coefficients, replayed.coefficients, atol=1e-5)


def _replay(bag, model_path, settings):
    subject = Subject(model_path, motion=MotionSettings(blinks=BlinkSettings(on=False)))
    voice = subject.voice(subject.load(), settings.stamps)
    return replay(
        bag, voice, topics=Topics(input=settings), pauses=WorkerSettings(idle_timeout=IDLE_TIMEOUT, idle=False)
    ).frames
