#!/usr/bin/env python3
"""What each motion stage is worth: lips and jaw against measured ones, with all stages and without each.

Usage: measure_stages.py DATASET... [--model FOLDER]

A data set is a folder of measured lips, as `emotalk evaluate` reads them. The network runs once on each clip, in the
node's windows; blinks are off. Needs no GPU.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from emotalk_ros.evaluation.datasets import open_dataset
from emotalk_ros.evaluation.measure import Prediction, score
from emotalk_ros.face import default_face
from emotalk_ros.face.names import INDEX, LOWER_FACE
from emotalk_ros.model import load_model
from emotalk_ros.motion import MotionPipeline, MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.motion.stages.expression import ExpressionSettings
from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothingSettings
from emotalk_ros.motion.stages.level_jaw import LevelJawSettings
from emotalk_ros.motion.stages.rest import RestSettings
from emotalk_ros.motion.stages.smoothing import SmoothingSettings
from emotalk_ros.streaming import FaceStream

ALL = MotionSettings(blinks=BlinkSettings(on=False))
OFF = {
    "level_jaw": LevelJawSettings(share=0.0),
    "smoothing": SmoothingSettings(time=0.0),
    "expression_smoothing": ExpressionSmoothingSettings(time=0.0),
    "rest": RestSettings(on=False),
    "expression": ExpressionSettings(share=0.0),
}
BROWS = [INDEX[name] for name in ("browInnerUp", "browDownLeft", "browDownRight")]
FIGURES = ("lip_gap_correlation", "jaw_correlation", "lip_jitter_m_s3")


def figures(clips, settings, basis):
    """Means over clips; closures are sums; steps of the brows; the lower face where nobody speaks."""
    scores, steps, silent = [], [], []
    for sample, frames in clips:
        pipeline = None if settings is None else MotionPipeline(settings)
        made = np.stack([(pipeline.step(f) if pipeline else f).coefficients for f in frames])
        scores.append(score(Prediction(made, 30.0), sample, basis))
        steps.append(np.abs(np.diff(made[:, BROWS], axis=0)).max(1))
        quiet = np.array([f.activity < 0.5 for f in frames])
        silent.append(made[quiet][:, LOWER_FACE].max(1))
    row = {name: np.mean([s[name] for s in scores if name in s] or [np.nan]) for name in FIGURES}
    row["closures"] = f"{sum(s['closures'] for s in scores):.0f}/{sum(s['bilabials'] for s in scores):.0f}"
    return row | {
        "brow_step_p99": np.percentile(np.concatenate(steps), 99),
        "in_silence": np.concatenate(silent).mean(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--model", help="folder; default: the network that ships")
    words = parser.parse_args()
    torch.set_num_threads(1)
    model, basis = load_model(words.model), default_face()
    cases = {"network alone": None, "all stages": ALL}
    cases |= {f"without {name}": dataclasses.replace(ALL, **{name: off}) for name, off in OFF.items()}
    for folder in words.datasets:
        data, clips = open_dataset(folder), []
        for number in range(len(data)):
            sample, voice = data.load(number), FaceStream(model, motion=None)
            clips.append((sample, [*voice.push(sample.audio), *voice.end()]))
        print(f"{folder.name}, {len(clips)} clips")
        for name, settings in cases.items():
            row = figures(clips, settings, basis)
            shown = (f"{key} {value}" if isinstance(value, str) else f"{key} {value:.3f}" for key, value in row.items())
            print(f"  {name:30}", "  ".join(shown))


if __name__ == "__main__":
    main()
