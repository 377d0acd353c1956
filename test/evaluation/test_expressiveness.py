"""How far emotions move the face: measured on a made-up network whose speech is known."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from sounds import vowels

from emotalk_ros.commands.expressiveness import _table
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.evaluation.expressiveness import expressiveness
from emotalk_ros.face import INDEX, default_face
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.expression import ExpressionSettings
from emotalk_ros.motion.stages.level_jaw import LevelJawSettings

RATE = 16000


class Talker:
    """A network that opens and closes the mouth with the clock and expresses nothing itself."""

    device = "cpu"
    prototypes_set = True
    splits_expression = True
    config = SimpleNamespace(
        fps=30, lookahead_samples=0, resampling="grid", min_samples=1, num_persons=24, emotion_labels=EMOTIONS
    )
    emotion_prototypes = None

    def analyse(self, audio, person=0, level=1.0, emotion=None, **window):
        count = -(-len(audio) * 30 // RATE)
        beat = np.clip(np.sin(np.arange(count) * 0.4), 0, None)
        speech = np.zeros((count, 52), np.float32)
        speech[:, INDEX["jawOpen"]] = 0.05 + 0.3 * beat
        speech[:, INDEX["mouthClose"]] = 0.05 * (beat == 0)
        logits = np.zeros((count, len(EMOTIONS)), np.float32)
        return SimpleNamespace(
            coefficients=speech, frame_emotion_logits=logits, speech=speech, expression=np.zeros_like(speech)
        )

    def embed_emotion(self, values):
        raise AssertionError("no clip is asked for")


@pytest.fixture(autouse=True)
def no_prototypes(monkeypatch):
    """The made-up network hears no emotion: whatever is asked for is the stage's to show."""
    monkeypatch.setattr("emotalk_ros.model.controls.EmotionControl.model_inputs", lambda self, model: {})


@pytest.fixture(scope="module")
def voice():
    return vowels(3.0)


def test_the_stage_is_linear_and_keeps_the_lips(voice):
    motion = dataclasses.replace(MotionSettings(), level_jaw=LevelJawSettings(0.0))
    rows = expressiveness(Talker(), [voice], default_face(), motion, emotions=["sad", "disgust"])
    by = {(row.emotion, row.intensity): row for row in rows}
    assert len(rows) == 6
    for emotion in ("sad", "disgust"):
        half, full, twice = (by[emotion, k] for k in (0.5, 1.0, 2.0))
        assert 0.4 < half.upper_mm / full.upper_mm < 0.6 and twice.upper_mm / full.upper_mm > 1.7
        assert 0.4 < half.corners_mm / full.corners_mm < 0.6 and twice.corners_mm / full.corners_mm > 1.7
        for row in (half, full, twice):
            assert row.gap_ratio == pytest.approx(1, abs=0.05)
            assert row.gap_kept > 0.9 and row.closures_kept > 0.9
    text = json.dumps([dataclasses.asdict(row) for row in rows])
    assert len(json.loads(text)) == 6
    assert _table(rows).row_count == 2


def test_without_the_stage_this_network_shows_nothing(voice):
    motion = dataclasses.replace(MotionSettings(), expression=ExpressionSettings(share=0.0))
    rows = expressiveness(Talker(), [voice], default_face(), motion, emotions=["angry"], intensities=[1.0])
    assert rows[0].upper_mm < 0.01 and rows[0].gap_ratio == pytest.approx(1, abs=1e-3)
