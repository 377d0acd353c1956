#!/usr/bin/env python3
"""What the voice detectors are worth: how far noise moves the mouth, and whether speech loses anything.

Usage: measure_voice_detector.py [--speech FOLDER...] [--other FOLDER...] [--measured DATASET...] [--seconds 10]

--speech and --other: recordings, one row for each folder; sounds made by rule come besides. --measured: a data set of
measured lips as `emotalk evaluate` reads it: alone, and with music, drums and noise under it. The network runs in the
node's windows with all stages but blinks, once for each detector. Needs no GPU.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "support"))
from sounds import SOUNDS

from emotalk_ros.audio import DETECTORS, VoiceSettings, load_audio
from emotalk_ros.audio.silero import VOICE_BLOCK, VoiceProbability
from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.evaluation.datasets import open_dataset
from emotalk_ros.evaluation.measure import Prediction, score
from emotalk_ros.face import default_face
from emotalk_ros.face.names import INDEX
from emotalk_ros.model import load_model
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.streaming import FaceStream

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
MOTION = MotionSettings(blinks=BlinkSettings(on=False))
RATE = 16000
TRUSTED = 45
"""Frames at the beginning of each clip that do not count: the detector trusts the first second of a stream."""


def recordings(folder: Path, limit: int, seconds: float) -> list[np.ndarray]:
    """Up to `limit` recordings, evenly spread over the sorted names, the first `seconds` of each."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"no recordings in {folder}")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(limit, len(paths))).round().astype(int))
    return [load_audio(paths[k])[: round(seconds * RATE)] for k in chosen]


def frames_of(model, audio, voice):
    """Coefficients (T, 52) and activity (T,)."""
    stream = FaceStream(model, motion=MOTION, voice=voice)
    frames = [*stream.push(audio), *stream.end()]
    return np.stack([f.coefficients for f in frames]), np.array([f.activity for f in frames])


def row(model, clips, voice, basis):
    """Share of frames with an open jaw, how fast the lips move, share taken for speech, from 1.5 s on."""
    faces, active, moved = [], [], []
    for clip in clips:
        coefficients, activity = (part[TRUSTED:] for part in frames_of(model, clip, voice))
        faces.append(coefficients[:, INDEX["jawOpen"]])
        active.append(activity)
        moved.append(np.abs(np.diff(basis.lip_gap(coefficients))) * 30)
    jaw = np.concatenate(faces)
    return (jaw > 0.05).mean(), np.concatenate(moved).mean(), (np.concatenate(active) >= 0.5).mean()


def mixed(speech: np.ndarray, other: np.ndarray, ratio: float) -> np.ndarray:
    """Speech with something under it, so many dB below it (rms over the clip)."""
    other = np.resize(other, len(speech))
    gain = np.sqrt((speech**2).mean() / (other**2).mean()) * 10 ** (-ratio / 20)
    both = speech + gain * other
    return (both / max(1.0, np.abs(both).max())).astype(np.float32)


def measured_row(model, samples, voice, basis, under=None, ratio=0.0):
    """Correlation of the lip gap, closures, share of frames within phones that count as speech, and outside them."""
    gaps, closed, all_closures, inside, outside = [], 0.0, 0.0, [], []
    for sample in samples:
        audio = sample.audio if under is None else mixed(sample.audio, under, ratio)
        coefficients, activity = frames_of(model, audio, voice)
        scores = score(Prediction(coefficients, 30.0), sample, basis)
        gaps.append(scores.get("lip_gap_correlation", np.nan))
        closed, all_closures = closed + scores.get("closures", 0), all_closures + scores.get("bilabials", 0)
        spoken = np.zeros(len(activity), bool)
        for name, start, end in sample.phones:
            if not is_silence(name):
                spoken[int(np.ceil(start * 30)) : int(end * 30) + 1] = True
        inside.append(activity[spoken] >= 0.5)
        outside.append(activity[~spoken] >= 0.5)
    share = [np.concatenate(part).mean() for part in (inside, outside)]
    lips = f"r {np.mean(gaps):.3f}  closures {closed:.0f}/{all_closures:.0f}"
    return f"{lips}  in phones {share[0]:.3f}  outside {share[1]:.3f}"


def cost(seconds: float = 60.0) -> float:
    """ms per second of audio that the detector's network takes."""
    audio = SOUNDS["music"](seconds)
    network = VoiceProbability()
    network.push(audio[: 100 * VOICE_BLOCK])
    begin = time.perf_counter()
    network.push(audio)
    return (time.perf_counter() - begin) * 1000 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", nargs="*", type=Path, default=[])
    parser.add_argument("--other", nargs="*", type=Path, default=[])
    parser.add_argument("--measured", nargs="*", type=Path, default=[])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--limit", type=int, default=8, help="recordings of a folder")
    parser.add_argument("--threshold", type=float, default=VoiceSettings().threshold)
    parser.add_argument("--detectors", nargs="*", default=["energy", "silero"], choices=DETECTORS)
    words = parser.parse_args()
    torch.set_num_threads(1)
    model, basis = load_model(), default_face()
    voices = {name: VoiceSettings(name, words.threshold) for name in words.detectors}
    print(f"the network of silero takes {cost():.1f} ms per second of sound")
    print(f"{'jawOpen > .05, lip speed mm/s, taken for speech':36}", *(f"{name:>24}" for name in voices))
    groups = {name: [make(words.seconds)] for name, make in SOUNDS.items()}
    groups |= {f"{f.name} (recorded)": recordings(f, words.limit, words.seconds) for f in words.other}
    groups |= {f"speech: {f.name}": recordings(f, words.limit, words.seconds) for f in words.speech}
    for name, clips in groups.items():
        cells = ["{:6.1%} {:6.1f} {:6.1%}".format(*row(model, clips, voice, basis)) for voice in voices.values()]
        print(f"{name + f', {len(clips)}':36}", *(f"{cell:>24}" for cell in cells), flush=True)
    for folder in words.measured:
        data = open_dataset(folder)
        samples = [data.load(k) for k in range(len(data))]
        print(f"{folder.name}, {len(samples)} clips with measured lips")
        for detector, voice in voices.items():
            print(f"  {detector:8} {'alone':20}", measured_row(model, samples, voice, basis), flush=True)
            for under in ("music", "drums", "pink noise"):
                for ratio in (10.0, 0.0):
                    text = measured_row(model, samples, voice, basis, SOUNDS[under](words.seconds), ratio)
                    print(f"  {detector:8} {f'{under}, {ratio:.0f} dB below':20}", text, flush=True)


if __name__ == "__main__":
    main()
