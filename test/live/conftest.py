"""A server of the live page in this process, with a small network."""

import time

import pytest
from live_visitors import Visitor, running
from small_models import small_model

from emotalk_ros.face import default_face
from emotalk_ros.face.gltf_writer import default_surfaces, glb_bytes
from emotalk_ros.live import LiveServer, LiveSettings, Voice


@pytest.fixture(scope="session")
def model():
    import torch

    model = small_model("streaming_mel", seed=3).eval()
    model.set_prototypes(3.0 * torch.randn(len(model.config.emotion_labels), model.config.decoder_dim))
    return model


@pytest.fixture(scope="session")
def glb():
    return glb_bytes(default_face(), default_surfaces())


@pytest.fixture(scope="session")
def server(model, glb):
    server = LiveServer(lambda: Voice(model), glb, LiveSettings(port=0, visitors=3), persons=model.config.num_persons)
    with running(server):
        yield server


@pytest.fixture
def visit(server):
    visitors = []

    def come(**headers):
        visitors.append(Visitor(server, **headers))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()
    deadline = time.monotonic() + 10
    while server.sessions and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.sessions
