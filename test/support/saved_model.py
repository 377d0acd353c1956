"""The smallest EmoTalk that streams, and a toy corpus: what tests of evaluation run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from bag_writing import speech_like
from small_models import SMALLEST

from emotalk_ros.corpus.store import Clip, CorpusWriter
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.evaluation.references import energy_jaw
from emotalk_ros.face import INDEX
from emotalk_ros.model import EmoTalk, EmoTalkConfig


def save_model(folder: Path, seed: int = 0) -> Path:
    """A model folder with random weights whose output moves (the output layer starts at zero otherwise)."""
    torch.manual_seed(seed)
    config = EmoTalkConfig.preset("tiny", **SMALLEST)
    model = EmoTalk(config)
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.abs().any():
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def toy_corpus(folder: Path, actors: int = 3, emotions: int = 2, seconds: float = 1.0) -> Path:
    """Clips whose jaw follows the loudness; actor and emotion in the names."""
    with CorpusWriter(folder) as writer:
        for actor in range(actors):
            for emotion in range(emotions):
                audio = speech_like(seconds, seed=actor) * (0.4 + 0.3 * emotion)
                motion = energy_jaw(audio)
                motion[:, INDEX["browInnerUp"]] = 0.1 * emotion
                writer.add(
                    Clip(
                        id=f"a{actor}_e{emotion}",
                        audio=audio.astype(np.float32),
                        coefficients=motion,
                        actor=actor,
                        emotion=EMOTIONS[emotion],
                        phones=(("SIL", 0.0, 0.1), ("B", 0.3, 0.36), ("AA", 0.36, 0.9)),
                        source="toy",
                    )
                )
    return folder
