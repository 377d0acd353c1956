"""Ten minutes of random faces through playback, map and limits in simulated time: every command keeps its limits."""

from pathlib import Path

import numpy as np
import pytest

from emotalk_ros.motion.playback import Playback
from emotalk_ros.servos import load_servo_map

CONFIG = Path(__file__).resolve().parents[2] / "config" / "servos"
SECONDS = 600


def frames(random):
    """(arrival, stamp in ns, frame number, face): leaps, noise, waves, silence; late, early, lost; new streams."""
    now, index, stamp = 0.0, 0, 0.0
    face, kind = np.zeros(52), 0
    while now < SECONDS:
        if random.random() < 0.02:
            kind = int(random.integers(5))
        if random.random() < 0.01:
            now += random.exponential(1.5)  # nobody sends
        if random.random() < 0.01:
            index, stamp = 0, now + random.choice([0.0, 0.0, -0.2, 1.0])  # a new stream
        if kind == 0:
            face = np.clip(face + 0.15 * random.standard_normal(52), 0, 1)
        elif kind == 1:
            face = random.uniform(0, 1, 52)
        elif kind == 2:
            face = np.full(52, float(index % 2))
        elif kind == 3:
            face = np.clip(0.5 + 0.5 * np.sin(0.3 * index + np.arange(52)), 0, 1)
        else:
            face = 0.8 * face
        if random.random() < 0.95:
            arrival = max(now, stamp) + random.exponential(0.01) + (random.random() < 0.01) * random.uniform(0, 1)
            yield arrival, round(stamp * 1e9), index, face.astype(np.float32)
        index, stamp, now = index + 1, stamp + 1 / 30, now + 1 / 30


@pytest.mark.parametrize(("name", "seed"), [("face_12", 1), ("head_3", 2)])
def test_no_joint_leaves_its_limits_in_ten_minutes(name, seed):
    random = np.random.default_rng(seed)
    servo_map = load_servo_map(CONFIG / f"{name}.yaml")
    motions, playback = servo_map.motions(), Playback(30.0)
    coming = sorted(frames(random), key=lambda frame: frame[0])
    rest = np.zeros(52, np.float32)
    resting, commands, at = 0.0, [], 0
    for step in range(round(SECONDS * servo_map.rate)):
        now = step / servo_map.rate
        while at < len(coming) and coming[at][0] <= now:
            _, stamp, index, face = coming[at]
            playback.add(stamp, index, face, now)
            at += 1
        if random.random() < 0.001:
            resting = now + random.exponential(0.5)  # ~/rest
        targets = servo_map.targets(rest if now < resting else playback.at(now))
        commands.append([m.step(float(t), 1 / servo_map.rate) for m, t in zip(motions, targets, strict=True)])
    joints = servo_map.joints.values()
    start = [[joint.zero for joint in joints]] * 2
    positions = np.concatenate([start, commands])
    velocity = np.diff(positions, axis=0) * servo_map.rate
    change = np.diff(velocity, axis=0) * servo_map.rate
    low, high = np.array([joint.limits for joint in joints]).T
    assert (positions >= low - 1e-9).all() and (positions <= high + 1e-9).all()
    assert (np.abs(velocity) <= np.array([joint.speed for joint in joints]) + 1e-6).all()
    assert (np.abs(change) <= np.array([joint.acceleration for joint in joints]) + 1e-3).all()
    assert (np.ptp(positions, axis=0) > 0.5 * (high - low)).all()  # it did move
