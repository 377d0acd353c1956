"""Motions are read back as they were written, in every form and order."""

from dataclasses import replace

import numpy as np
import pytest

from emotalk_ros.face import ARKIT_NAMES, COUNT, LIVE_LINK_NAMES
from emotalk_ros.motion.files import Motion, MotionError, read_motion, write_motion


@pytest.fixture
def motion():
    values = np.random.default_rng(0).random((40, COUNT)).astype(np.float32)
    time = np.arange(40) / 30
    return Motion(time, values, np.ones(40, np.float32), np.ones((40, 1), np.float32), ("neutral",), 30.0)


@pytest.mark.parametrize(
    ("form", "suffix", "order"),
    [
        ("csv", "csv", "arkit"),
        ("csv", "csv", "livelink"),
        ("npz", "npz", "livelink"),
        ("json", "json", "livelink"),
        ("livelink-csv", "csv", "arkit"),
    ],
)
def test_what_animate_writes_is_read_back(tmp_path, motion, form, suffix, order):
    path = tmp_path / f"motion.{suffix}"
    write_motion(path, motion, form, order)
    values, fps = read_motion(path)
    assert fps == pytest.approx(30)
    np.testing.assert_allclose(values, motion.coefficients, atol=2e-3 if form == "livelink-csv" else 1e-5)


@pytest.mark.parametrize("form", ["csv", "npz", "json", "livelink-csv"])
@pytest.mark.parametrize("field", ["coefficients", "time", "activity", "emotion", "angles"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_no_file_ever_holds_what_is_no_number(tmp_path, motion, form, field, value):
    motion = replace(motion, angles=np.zeros((40, 9), np.float32))
    (tmp_path / "old.csv").write_text("old")
    values = getattr(motion, field).copy()
    values.reshape(40, -1)[7, -1] = value
    with pytest.raises(MotionError, match=rf"old.csv: {field} of frame 7 are not all numbers: nothing was written"):
        write_motion(tmp_path / "old.csv", replace(motion, **{field: values}), form)
    assert (tmp_path / "old.csv").read_text() == "old"


def test_plain_array_is_in_home_order(tmp_path, motion):
    np.save(tmp_path / "a.npy", motion.coefficients)
    values, fps = read_motion(tmp_path / "a.npy")
    np.testing.assert_array_equal(values, motion.coefficients)
    assert fps == 30


def test_mediapipe_has_no_tongue(tmp_path, motion):
    names = ["_neutral", *ARKIT_NAMES[:-1]]
    table = np.concatenate([np.full((40, 1), 9.0), motion.coefficients[:, :-1]], axis=1)
    np.savez(tmp_path / "a.npz", coefficients=table, names=names, fps=25.0)
    values, fps = read_motion(tmp_path / "a.npz")
    assert fps == 25 and not values[:, -1].any()
    np.testing.assert_allclose(values[:, :-1], motion.coefficients[:, :-1])


def test_resampling_and_lost_frames(tmp_path):
    slope = np.arange(60)[:, None] / 60 * np.ones(COUNT)
    np.savez(tmp_path / "a.npz", coefficients=slope, time=np.arange(60) / 60)
    values, fps = read_motion(tmp_path / "a.npz", fps=30)
    assert fps == 30 and len(values) == 30
    np.testing.assert_allclose(values[:, 0], np.arange(30) / 30, atol=1e-6)
    kept = np.r_[0:20, 25:60]
    np.savez(tmp_path / "b.npz", coefficients=slope[kept], time=kept / 60)
    values, fps = read_motion(tmp_path / "b.npz")
    assert fps == pytest.approx(60) and len(values) == 60
    np.testing.assert_allclose(values[:, 0], slope[:, 0], atol=1e-6)


def test_faults_are_named(tmp_path, motion):
    heading = ",".join(["time", *LIVE_LINK_NAMES[1:]])
    (tmp_path / "a.csv").write_text(heading + "\n" + ",".join(["0"] * 52))
    with pytest.raises(MotionError, match="eyeBlinkLeft"):
        read_motion(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("jawOpen\n0.1\n")
    with pytest.raises(MotionError, match="no column `time`"):
        read_motion(tmp_path / "b.csv")
    broken = motion.coefficients.copy()
    broken[7, 3] = np.nan
    np.save(tmp_path / "c.npy", broken)
    with pytest.raises(MotionError, match="frame 7 is not all numbers"):
        read_motion(tmp_path / "c.npy")
    np.savez(tmp_path / "d.npz", coefficients=motion.coefficients, time=np.zeros(40))
    with pytest.raises(MotionError, match="time does not grow at frame 1"):
        read_motion(tmp_path / "d.npz")
    np.save(tmp_path / "e.npy", np.zeros((3, 51)))
    with pytest.raises(MotionError, match=r"\(3, 51\)"):
        read_motion(tmp_path / "e.npy")
    with pytest.raises(MotionError, match="no such file"):
        read_motion(tmp_path / "nowhere.csv")
    with pytest.raises(MotionError, match=r"\.wav"):
        read_motion(tmp_path / "speech.wav")


LIVE_LINK_HEADER = (
    "Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,"
    "EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,"
    "EyeWideRight,JawForward,JawRight,JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,"
    "MouthSmileLeft,MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,"
    "MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,"
    "MouthLowerDownLeft,MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,"
    "BrowOuterUpLeft,BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut,"
    "HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)
"""The first line of a take that the app saved."""


def test_live_link_columns_stand_in_the_app_s_order(tmp_path, motion):
    path = tmp_path / "take.csv"
    write_motion(path, motion, "livelink-csv")
    header, first, *_ = path.read_text().splitlines()
    assert header == LIVE_LINK_HEADER
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    for name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        expected = motion.coefficients[0, ARKIT_NAMES.index(name)]
        assert float(cells[name[0].upper() + name[1:]]) == pytest.approx(expected, abs=1e-6)


def test_a_hole_of_months_is_no_motion(tmp_path, motion):
    time = np.arange(40) / 30
    time[20:] += 1e7
    np.savez(tmp_path / "a.npz", coefficients=motion.coefficients, time=time)
    with pytest.raises(MotionError, match=r"1e\+07 s without a frame after frame 19"):
        read_motion(tmp_path / "a.npz")
