"""Frames over real sockets: evenly, to places that are there and to places that are not."""

import socket
import threading
import time

import numpy as np
import pytest

from emotalk_ros.bridges import LiveLinkReceiver, TargetError, make_output, pattern_motion
from emotalk_ros.bridges.drive import Driver, frames_of
from emotalk_ros.bridges.pattern import moving
from emotalk_ros.bridges.take import Take
from emotalk_ros.bridges.udp import UdpTarget, parse_address
from emotalk_ros.face.names import INDEX
from emotalk_ros.motion.files import read_motion


def received(receiver, count, into):
    for frame in receiver.frames(timeout=3.0, ending=lambda: len(into) >= count):
        if frame is None:
            return
        into.append((time.perf_counter(), frame))


def test_every_frame_once_in_order_and_even():
    receiver = LiveLinkReceiver(0, "127.0.0.1")
    got: list = []
    thread = threading.Thread(target=received, args=(receiver, 91, got))
    thread.start()
    motion = np.random.default_rng(1).random((90, 52)).astype(np.float32)
    output = make_output("livelink", f"127.0.0.1:{receiver.port}")
    with Driver(output, 30.0) as driver:
        driver.put(frames_of(motion, 30.0))
        driver.finish()
    thread.join(5)
    receiver.close()
    assert (driver.figures.frames, driver.figures.lost) == (90, 0)
    np.testing.assert_allclose([frame.coefficients for _, frame in got[:90]], motion, atol=1e-6)
    assert not got[90][1].coefficients.any()  # the avatar is left at rest
    times = np.array([at for at, _ in got[:90]])
    assert times[-1] - times[0] == pytest.approx(89 / 30, abs=0.1)
    # The machine that tests is busy: most frames must be even, scripts/measure_bridges.py measures the rest.
    assert np.quantile(np.abs(np.diff(times) - 1 / 30), 0.5) < 0.01


def test_nobody_listens():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    target = UdpTarget("127.0.0.1", port)
    assert target.problem == ""
    for _ in range(4):
        target.send(b"frame")
        time.sleep(0.01)
    assert target.lost >= 1
    assert f"127.0.0.1:{port}" in target.problem and "no program listens there" in target.problem
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:  # it is started at last
        listener.bind(("127.0.0.1", port))
        listener.settimeout(2)
        target.send(b"a")
        target.send(b"b")
        assert listener.recv(10) in (b"a", b"b")
    target.close()


@pytest.mark.parametrize(
    "address, words",
    [("nowhere.invalid", "cannot be reached"), ("127.0.0.1:99999", "1 to 65535"), (":1", "no address")],
)
def test_addresses_that_are_none(address, words):
    with pytest.raises(TargetError, match=words):
        make_output("vmc", address)


def test_addresses():
    assert parse_address("10.0.0.2", 7) == ("10.0.0.2", 7)
    assert parse_address("10.0.0.2:8", 7) == ("10.0.0.2", 8)
    assert parse_address("[::1]:8", 7) == ("::1", 8)
    assert parse_address("::1", 7) == ("::1", 7)


def test_a_taken_port_is_told():
    receiver = LiveLinkReceiver(0, "127.0.0.1")
    with pytest.raises(TargetError, match=f"port {receiver.port} cannot be listened at"):
        LiveLinkReceiver(receiver.port, "127.0.0.1")
    receiver.close()


def test_a_take_is_what_the_app_would_have_saved(tmp_path):
    receiver = LiveLinkReceiver(0, "127.0.0.1")
    take = Take(tmp_path / "take.csv")
    told: list = []
    thread = threading.Thread(target=take.record, args=(receiver, 1.0, told.append))
    thread.start()
    motion = np.random.default_rng(2).random((40, 52)).astype(np.float32)
    stranger = UdpTarget("127.0.0.1", receiver.port)
    stranger.send(b"something else")
    output = make_output("livelink", f"127.0.0.1:{receiver.port}", subject="Ada")
    with Driver(output, 30.0) as driver:
        driver.put(frames_of(motion, 30.0))
        driver.finish()
    thread.join(5)
    receiver.close()
    assert "recording Ada at 30 frames" in told[0] and receiver.refused == 1
    assert f"{len(take.frames)} frames of Ada" in take.write()
    found, fps = read_motion(tmp_path / "take.csv")
    assert fps == 30 and 25 <= len(found) <= 35
    np.testing.assert_allclose(found[:20], motion[:20], atol=1e-5)


def test_a_take_of_nothing_writes_no_file(tmp_path):
    with pytest.raises(ValueError, match="nothing came"):
        Take(tmp_path / "take.csv").write()
    assert not list(tmp_path.iterdir())


def test_the_pattern_moves_one_thing_after_another():
    motion = pattern_motion(30.0)
    assert motion.shape == (135, 52)
    peaks = [motion[k * 45 : (k + 1) * 45].max(axis=0) for k in range(3)]
    for peak, names in zip(peaks, (("eyeBlinkLeft",), ("jawOpen",), ("mouthSmileLeft",)), strict=True):
        assert all(peak[INDEX[name]] == pytest.approx(1.0) for name in names)
    assert all((peak > 0).sum() <= 2 for peak in peaks)
    assert [moving(k) for k in (0, 50, 100, 135)] == ["blink", "jaw", "smile", "blink"]
