"""Faces for many voices on several processes or machines, with Ray Serve: one WebSocket is one voice.

    pip install "./emotalk_ros[onnx]" "ray[serve]"
    serve run serve_voices:app                           # in this folder; ws://127.0.0.1:8000/voice

Each replica holds one network and computes its voices together. A WebSocket stays on its replica, so a voice's state
lies in one process and nowhere else. Where a replica dies its sockets close; `client.py` shows what a speaker does
then.

A binary message to the server: int64 little-endian stamp in nanoseconds of its first sample, then int16 samples, mono,
16 kHz. A binary message back, for each frame: int64 stamp, 52 float32 coefficients (alphabetical ARKit order). The
first message is text: JSON with the replica's process number and frames per second.
"""

import asyncio
import json
import os

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from ray import serve

from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.runtime import load_network
from emotalk_ros.streaming import FaceStream, StreamSettings
from emotalk_ros.streaming.hub import Collect, PassThread, stepped

api = FastAPI()
REPLICAS = int(os.environ.get("EMOTALK_REPLICAS", "2"))
VOICES = int(os.environ.get("EMOTALK_VOICES", "16"))
"""Voices that a replica takes: what a core serves with room to spare (docs/scaling.md)."""


def packed(frame: FaceFrame) -> bytes:
    """One frame of a message."""
    return np.array(frame.stamp_ns, "<i8").tobytes() + frame.coefficients.astype("<f4").tobytes()


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=VOICES,
    ray_actor_options={"num_cpus": float(os.environ.get("EMOTALK_CPUS", "1"))},
    health_check_period_s=5,
    graceful_shutdown_timeout_s=2,
)
@serve.ingress(api)
class Voices:
    """One replica: a network, a thread that runs passes of it, and the voices of its sockets."""

    def __init__(self) -> None:
        self.network = load_network(backend=os.environ.get("EMOTALK_BACKEND", "onnx"), threads=1).network
        self.passes = PassThread()

    @api.websocket("/voice")
    async def voice(self, socket: WebSocket) -> None:
        """Audio in, frames out, until the socket closes."""
        await socket.accept()
        stream = FaceStream(self.network, StreamSettings(), live=True)
        await socket.send_text(json.dumps({"process": os.getpid(), "fps": stream.fps}))
        try:
            while True:
                message = await socket.receive_bytes()
                stamp = int(np.frombuffer(message, "<i8", 1)[0])
                samples = np.frombuffer(message, "<i2", offset=8).astype(np.float32) / 32768
                frames = Collect([])
                done = self.passes.work(self.network, stepped(stream.work(samples, stamp), frames))
                await asyncio.wrap_future(done)
                if frames.frames:
                    await socket.send_bytes(b"".join(packed(frame) for frame in frames.frames))
        except WebSocketDisconnect:
            pass


app = Voices.bind()
