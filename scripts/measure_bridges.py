"""How evenly and how exactly frames reach an avatar: a clip sent over UDP, read by decoders from public packages.

scripts/measure_bridges.py              60 s of motion, Live Link Face and VMC, over the loopback
scripts/measure_bridges.py --seconds 600 --protocol vmc

The receiver is a process of its own that only notes when each packet came. Needs the test extra.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from emotalk_ros.bridges import make_output
from emotalk_ros.bridges.drive import Driver, frames_of
from emotalk_ros.face.names import ARKIT_NAMES

FPS = 30.0


def listen(port, pipe):
    """Packets and their times, until a second without any after the first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        target.bind(("127.0.0.1", port))
        pipe.send(target.getsockname()[1])
        got = []
        target.settimeout(20.0)
        try:
            while True:
                packet = target.recv(65536)
                got.append((time.perf_counter(), packet))
                target.settimeout(1.0)
        except TimeoutError:
            pipe.send(got)


def live_link(packets):
    """Times and coefficients (T, 52) by pylivelinkface."""
    from pylivelinkface import FaceBlendShape, PyLiveLinkFace

    shapes = [FaceBlendShape[name[0].upper() + name[1:]] for name in ARKIT_NAMES]
    times, rows = [], []
    for at, packet in packets:
        ok, face = PyLiveLinkFace.decode(packet)
        assert ok
        times.append(at)
        rows.append([face.get_blendshape(shape) for shape in shapes])
    return np.array(times), np.array(rows)


def vmc(packets):
    """Times of `Apply` and coefficients (T, 52) by oscpy."""
    from oscpy.parser import read_packet

    times, rows, row = [], [], {}
    for at, packet in packets:
        for address, _, values, *_ in read_packet(packet):
            if address == b"/VMC/Ext/Blend/Val":
                row[values[0].decode()] = values[1]
            elif address == b"/VMC/Ext/Blend/Apply":
                times.append(at)
                rows.append([row[name[0].upper() + name[1:]] for name in ARKIT_NAMES])
    return np.array(times), np.array(rows)


def measure(protocol, motion):
    """Send `motion` (T, 52) and print what came."""
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.get_context("spawn").Process(target=listen, args=(0, theirs))
    receiver.start()
    output = make_output(protocol, f"127.0.0.1:{ours.recv()}", fps=FPS)
    with Driver(output, FPS) as driver:
        driver.put(frames_of(motion, FPS))
        driver.finish()
    output.close()
    packets = ours.recv()
    receiver.join()
    times, values = {"livelink": live_link, "vmc": vmc}[protocol](packets)
    times, values = times[: len(motion)], values[: len(motion)]
    late = times - times[0] - np.arange(len(times)) / FPS
    late = np.abs(late - np.median(late)) * 1000
    gaps = np.abs(np.diff(times) - 1 / FPS) * 1000
    rate = (len(times) - 1) / (times[-1] - times[0])
    error = np.abs(values - motion[: len(values)]).max() if len(values) == len(motion) else float("nan")
    print(
        f"{protocol}: {len(times)} of {len(motion)} frames, {rate:.3f} a second; off the grid "
        f"p50 {np.quantile(late, 0.5):.2f} ms, p99 {np.quantile(late, 0.99):.2f} ms, most {late.max():.2f} ms; "
        f"gap off 1/30 s p99 {np.quantile(gaps, 0.99):.2f} ms; largest error of a coefficient {error:.1e}"
    )


def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--protocol", choices=("livelink", "vmc"), action="append")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    motion = np.clip(rng.random((round(options.seconds * FPS), 52)), 0, 1).astype(np.float32)
    for protocol in options.protocol or ("livelink", "vmc"):
        measure(protocol, motion)


if __name__ == "__main__":
    main()
