"""`emotalk replay --live`: a bag's audio through a running node gives the frames of the deterministic replay."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from emotalk_ros.audio.messages import AUDIO_CHUNK, from_time
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import open_bag
from emotalk_ros.evaluation.replay import Topics
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import default_face
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.nodes import replay_live
from emotalk_ros.reports.replay_run import Outputs, replay_bag

START_NS = 1_700_000_000_000_000_000


@pytest.fixture
def bag(tmp_path, speech):
    """Chunks of 20 ms, each received 25 ms after its first sample."""
    store = types.package_types()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/audio", AUDIO_CHUNK, typestore=store)
        for first in range(0, len(speech), 320):
            stamp = START_NS + first * 62_500
            data = (speech[first : first + 320] * 32767).astype("<i2").tobytes()
            message = store.types[AUDIO_CHUNK](
                header=types.make_header(store, stamp),
                sample_rate=16000,
                channels=1,
                encoding="s16le",
                data=np.frombuffer(data, np.uint8),
            )
            writer.write(connection, stamp + 25_000_000, store.serialize_cdr(message, AUDIO_CHUNK))
    return tmp_path / "bag"


def test_live_and_deterministic_replay_agree(graph, model_path, bag, tmp_path, expect_frames, capsys):
    graph.start_emotalk(model_path)
    subject = Subject(model_path, motion=MotionSettings(blinks=BlinkSettings(on=False)))
    face = default_face()
    calm = replay_bag(bag, subject, face, Outputs(tmp_path / "calm", html=False))
    live = replay_bag(
        bag,
        subject,
        face,
        Outputs(tmp_path / "live", film=False),
        topics=Topics(),
        live=replay_live.through_node,
    )
    assert live.problems == [] and live.findings["mode"] == "live"
    found = live.findings["replayed"]
    assert (found["frames"], found["missing"], found["doubled"]) == (expect_frames, 0, 0)
    assert 0.1 < found["latency"]["p50_s"] < 5.0
    frames = {}
    for outcome in (calm, live):
        with open_bag(outcome.files[-1]) as merged:
            topic = merged.topics["/replay/blendshapes"]
            messages = [merged.decoder.decode(topic, m) for m in merged.messages({topic.name})]
        frames[outcome.findings["mode"]] = {from_time(m.header.stamp): m.coefficients for m in messages}
    assert frames["live"].keys() == frames["deterministic"].keys()
    for stamp, coefficients in frames["live"].items():
        # The end differs: the node does not know that the stream is over, silence follows instead.
        if stamp < START_NS + 2_000_000_000:
            np.testing.assert_allclose(coefficients, frames["deterministic"][stamp], atol=1e-4)
    assert json.loads((tmp_path / "live" / "report.json").read_text())["settings"]["rate"] == 1.0


def test_no_node_is_said(bag, model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(replay_live, "DISCOVERY_S", 0.5)
    monkeypatch.setenv("ROS_DOMAIN_ID", "101")
    with pytest.raises(RuntimeError, match="no emotalk node found"):
        replay_bag(bag, Subject(model_path), default_face(), Outputs(tmp_path / "out"), live=replay_live.through_node)
