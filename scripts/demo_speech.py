#!/usr/bin/env python3
"""Makes examples/speech/demo.ogg again: four sentences by flite, three of them made emotional by the WORLD vocoder.

Needs flite and the extra `corpus` (pyworld). Usage: scripts/demo_speech.py [OUTPUT]
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

from emotalk_ros.corpus.emotional_speech import recolour
from emotalk_ros.corpus.speech_engines import speak_flite

RATE = 16000
SENTENCES = (
    ("neutral", 0.5, "Hello. I am a robot with a face, and these are my lips."),
    ("happy", 0.6, "What a wonderful morning! I am so glad that you came by."),
    ("sad", 0.4, "My best friend moved away, and now the house is empty."),
    ("angry", 0.7, "Stop pushing that button! It makes me mad every time."),
)
"""Emotion, peak, text."""


def main(output: Path) -> None:
    pieces = [np.zeros(round(0.3 * RATE))]
    for emotion, peak, text in SENTENCES:
        voice = speak_flite(text, "slt").audio
        if emotion != "neutral":
            voice = recolour(voice, RATE, emotion, level=1.0, spread=0.0)
        pieces += [voice / np.abs(voice).max() * peak, np.zeros(round(0.45 * RATE))]
    speech = np.concatenate(pieces)
    speech += np.random.default_rng(0).normal(0.0, 2e-4, len(speech))  # a room is never digitally silent
    soundfile.write(output, speech, RATE, format="OGG", subtype="VORBIS")
    print(f"{output}: {len(speech) / RATE:.2f} s, {output.stat().st_size} bytes")


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[1] / "examples" / "speech" / "demo.ogg"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
