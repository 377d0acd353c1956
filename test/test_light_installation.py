"""The light installation: without torch, transformers and what only reports need, recordings, page and bridges work."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = ("torch", "transformers", "scipy", "matplotlib", "jinja2", "PIL", "onnx")
GUARD = f"""
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Guard())
"""


def light(code, *arguments):
    """Runs code in a process where the blocked packages cannot be imported; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", GUARD + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    time = np.arange(32000) / 16000
    samples = 0.2 * np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) * np.sin(2 * np.pi * 150 * time)
    path = tmp_path_factory.mktemp("light") / "speech.wav"
    soundfile.write(path, samples.astype(np.float32), 16000)
    return path


def test_animate_gives_what_torch_gives(recording, tmp_path):
    command = "from emotalk_ros.cli import app; sys.argv[0] = 'emotalk'; app()"
    out = tmp_path / "light.npz"
    light(command, "animate", recording, "-o", out, "--emotion", "happy", "--intensity", "1.3")
    heavy = tmp_path / "torch.npz"
    whole = "import sys; " + command
    arguments = ["animate", recording, "-o", heavy, "--emotion", "happy", "--intensity", "1.3", "--backend", "torch"]
    subprocess.run([sys.executable, "-c", whole, *map(str, arguments)], check=True, capture_output=True, cwd=ROOT)
    with np.load(out) as ours, np.load(heavy) as theirs:
        assert len(ours["coefficients"]) == len(theirs["coefficients"]) >= 60
        np.testing.assert_allclose(ours["coefficients"], theirs["coefficients"], atol=2e-5)
        np.testing.assert_allclose(ours["emotion"], theirs["emotion"], atol=2e-5)


def test_page_and_bridges_work(recording):
    code = """
import json, socket, numpy as np, soundfile
from emotalk_ros.commands.live import read_avatar
from emotalk_ros.live import LiveServer, Voice
from emotalk_ros.bridges import make_output
from emotalk_ros.runtime import load_network
from emotalk_ros.streaming import StreamSettings, animate
chosen = load_network()
voice = Voice(chosen.network, StreamSettings(hop=0.1))
voice.warm_up()
server = LiveServer(lambda: Voice(chosen.network), read_avatar(None))
server.bind()
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0)); receiver.settimeout(5)
audio, _ = soundfile.read(sys.argv[1], dtype="float32")
sent = {}
for protocol in ("livelink", "vmc", "ifacialmocap"):
    output = make_output(protocol, f"127.0.0.1:{receiver.getsockname()[1]}")
    for frame in list(animate(chosen.network, audio[:16000]))[:3]:
        output.send(frame)
    sent[protocol] = len(receiver.recv(65536))
    receiver.setblocking(False)
    try:
        while True: receiver.recv(65536)
    except BlockingIOError:
        pass
    receiver.settimeout(5)
    output.close()
print(json.dumps({"backend": chosen.backend, "reason": chosen.reason, "sent": sent, "torch": "torch" in sys.modules}))
"""
    said = json.loads(light(code, recording).splitlines()[-1])
    assert said["backend"] == "onnx" and said["reason"] == "torch is not installed" and said["torch"] is False
    assert min(said["sent"].values()) > 100


def test_a_backend_that_is_not_there_is_said(recording, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", GUARD + "from emotalk_ros.cli import app; app()", "animate", str(recording), "-o",
         str(tmp_path / "x.csv"), "--backend", "torch"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1 and "[torch]" in " ".join(done.stderr.split())
