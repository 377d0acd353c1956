"""One node with several audio topics: a face each, equal to that of a node with one; topics come and go."""

import time

import numpy as np
import pytest
import torch
from conftest import frames_of
from graph import DEEP, NS, START, check_grid, chunk_message, wait_until

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.srv import SetEmotion
from emotalk_ros.streaming import FaceStream

SIZES = {
    "trunk_width": 32, "trunk_heads": 4, "trunk_ff": 48, "content_dim": 32, "level_dim": 8, "person_dim": 8,
    "emotion_dim": 16, "emotion_channels": 12, "decoder_ff": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = StreamingEmoTalk(StreamingEmoTalkConfig(**SIZES)).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(0, 0.2 if parameter.dim() > 1 else 0.05)
    model.set_prototypes(torch.randn(len(EMOTIONS), SIZES["emotion_dim"]))
    return model


class Speaker:
    """One voice's end of the graph."""

    def __init__(self, graph, topic, base):
        self.base, self.faces, self.feelings = base, [], []
        self.node = graph.node
        self.audio = self.node.create_publisher(AudioChunk, topic, DEEP)
        self.node.create_subscription(BlendshapeCoefficients, f"{base}blendshapes", self._on_face, DEEP)
        self.node.create_subscription(EmotionState, f"{base}emotion", self.feelings.append, DEEP)

    def _on_face(self, face):
        if face.kind == face.SPEECH:
            self.faces.append(face)

    def heard(self):
        return self.audio.get_subscription_count() and self.node.count_publishers(f"{self.base}blendshapes")


@pytest.fixture(scope="module")
def voices(graph, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    network.save_pretrained(folder)
    node = graph.start(
        "emotalk_node",
        {
            "model.path": str(folder),
            "emotion.ear": "",
            "output.blinks": False,
            "output.pacing": "burst",
            "output.idle": False,
            "audio.topics": ["anna/audio", "ben", "guests/*/audio"],
        },
    )
    speakers = [Speaker(graph, "anna/audio", "anna/"), Speaker(graph, "ben", "ben/")]
    wait_until(lambda: node.alive and all(s.heard() for s in speakers), START, f"an active node:\n{node.log}")
    guest = Speaker(graph, "guests/one/audio", "guests/one/")
    wait_until(guest.heard, 20.0, "a voice for a topic that matches the pattern")
    everybody = [*speakers, guest]
    deadline = time.monotonic() + 60.0
    while not all(voice.faces for voice in everybody):  # both ends of each match know of it
        assert time.monotonic() < deadline, f"no faces; the node's log:\n{node.log}"
        for voice in everybody:
            voice.audio.publish(chunk_message(np.zeros(8000, np.float32), time.time_ns(), encoding="f32le"))
        time.sleep(1.0)
    time.sleep(1.0)
    for voice in everybody:
        voice.faces.clear()
    return everybody


def speak(voices, sounds):
    """Each voice its own sound, all at the same time. The stamp of the first chunks."""
    stamp, size = time.time_ns(), 320
    for at in range(0, max(map(len, sounds)), size):
        for voice, sound in zip(voices, sounds, strict=True):
            piece = sound[at : at + size]
            if len(piece):
                voice.audio.publish(chunk_message(piece, stamp + at * NS // 16000, encoding="f32le"))
        time.sleep(0.01)
    return stamp


def test_each_topic_has_a_face_of_its_own(graph, voices, network, speech):
    sounds = [speech, 0.5 * speech[::-1].copy(), np.concatenate([speech[5000:], speech])]
    stamp = speak(voices, sounds)
    for voice, sound in zip(voices, sounds, strict=True):
        wait_until(lambda v=voice, s=sound: len(v.faces) >= frames_of(len(s)), 60.0, f"the frames of {voice.base}")
    time.sleep(0.3)
    for voice, sound in zip(voices, sounds, strict=True):
        values = check_grid(voice.faces, stamp, frames_of(len(sound)))
        alone = FaceStream(network, motion=MotionSettings(blinks=BlinkSettings(on=False)), live=True, ear="")
        wanted = np.array([f.coefficients for f in alone.push(sound) + alone.end()])
        assert np.abs(values - wanted).max() < 1e-5 and values.std() > 0.01
        assert voice.feelings
    _, message, figures = wait_until(lambda: graph.status(), 5.0, "diagnostics")
    assert figures["voices"] == "3" and float(figures["voices_per_pass"]) >= 1.0, message
    assert int(figures["anna/audio: frames"]) >= len(voices[0].faces)


def test_a_command_is_for_one_voice(graph, voices, speech):
    for voice in voices:
        voice.faces.clear()
        voice.feelings.clear()
    request = SetEmotion.Request(command=EmotionCommand(label="happy", intensity=1.0, blend=1.0))
    assert graph.call(SetEmotion, "emotalk/ben/set_emotion", request).success
    speak(voices, [speech] * 3)
    wait_until(lambda: all(len(v.faces) >= frames_of(len(speech)) and v.feelings for v in voices), 60.0, "the frames")
    anna, ben, _ = (np.array([f.coefficients for f in voice.faces]) for voice in voices)
    assert np.abs(anna[-1] - ben[-1]).max() > 0.01
    sources = [voice.feelings[-1].source for voice in voices]
    assert sources == [EmotionState.HEARD, EmotionState.COMMANDED, EmotionState.HEARD]
