#!/usr/bin/env python3
"""Draws what a face asks of servos against what they are told: docs/images/servos.png.

scripts/plot_servos.py                              the demo's speech, the jaw and a brow of head_3.yaml
scripts/plot_servos.py --map my_map.yaml --joints jaw brow_left -o mine.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from emotalk_ros.audio import load_audio
from emotalk_ros.files import replacing
from emotalk_ros.model import load_model
from emotalk_ros.model.checkpoints import default_model_path
from emotalk_ros.motion.playback import Playback
from emotalk_ros.servos import load_servo_map
from emotalk_ros.streaming import Controls, FaceStream, StreamSettings

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("rad", "rad/s", "rad/s²")


def motion(servo_map, faces, fps=30.0):
    """Times (n,), targets (n, joints) and commands (n, joints) at the map's rate."""
    playback, motions = Playback(fps), servo_map.motions()
    for index, face in enumerate(faces):
        playback.add(round(index * 1e9 / fps), index, face, index / fps)
    times = np.arange(round(len(faces) / fps * servo_map.rate)) / servo_map.rate
    targets = np.array([servo_map.targets(playback.at(now)) for now in times])
    step = 1.0 / servo_map.rate
    commands = [[m.step(float(t), step) for m, t in zip(motions, row, strict=True)] for row in targets]
    return times, targets, np.array(commands)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", type=Path, default=ROOT / "config" / "servos" / "head_3.yaml", help="servo map")
    parser.add_argument("--joints", nargs="+", default=["jaw"], help="joints of the map")
    parser.add_argument("--speech", type=Path, default=ROOT / "examples" / "speech" / "demo.ogg", help="audio file")
    parser.add_argument("--seconds", type=float, nargs=2, default=(0.5, 4.0), help="what is drawn")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images" / "servos.png")
    words = parser.parse_args()
    servo_map = load_servo_map(words.map)
    audio = load_audio(words.speech)[: round(16000 * words.seconds[1])]
    stream = FaceStream(load_model(default_model_path()), StreamSettings(), Controls())
    faces = [frame.coefficients for frame in [*stream.push(audio, 0), *stream.end()]]
    times, targets, commands = motion(servo_map, faces)
    shown = (times >= words.seconds[0]) & (times <= words.seconds[1])
    names = list(servo_map.joints)
    figure, axes = pyplot.subplots(3, len(words.joints), figsize=(9, 6), sharex=True, squeeze=False)
    for column, name in enumerate(words.joints):
        joint, index = servo_map.joints[name], names.index(name)
        limits = (joint.limits, (-joint.speed, joint.speed), (-joint.acceleration, joint.acceleration))
        curves = [(targets[:, index], "asked for", "tab:orange"), (commands[:, index], "commanded", "tab:blue")]
        for row, (label, (low, high)) in enumerate(zip(LABELS, limits, strict=True)):
            axis = axes[row, column]
            for curve, what, colour in curves:
                values = np.concatenate([[curve[0]] * row, curve]) if row else curve
                values = np.diff(values, n=row) * servo_map.rate**row
                axis.plot(times[shown], values[shown], color=colour, label=what, linewidth=1.2)
            for limit in (low, high):
                axis.axhline(limit, color="grey", linestyle="--", linewidth=0.8)
            axis.set_ylabel(label)
        axes[0, column].set_title(f"{name}: position, speed, acceleration; dashed: limits")
        axes[0, column].legend(loc="upper right")
        axes[2, column].set_xlabel("seconds")
        asked = np.diff(targets[:, index], n=2) * servo_map.rate**2
        told = np.diff(commands[:, index], n=2) * servo_map.rate**2
        behind = np.sqrt(np.mean((targets[:, index] - commands[:, index]) ** 2))
        print(
            f"{name}: asked for up to {np.abs(asked).max():.0f} rad/s², commanded up to {np.abs(told).max():.0f} "
            f"(limit {joint.acceleration:g}); {behind:.4f} rad rms between them"
        )
    figure.tight_layout()
    with replacing(words.output) as part:
        figure.savefig(part, dpi=80)
    return 0


if __name__ == "__main__":
    sys.exit(main())
