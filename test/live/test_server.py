"""The server of the live page: voices that do not mix, limits, who may come, recordings."""

import io
import json
import socket
import time
import wave
import zipfile

import httpx
import numpy as np
import pytest
from live_visitors import RATE, Visitor, running, speech
from websockets.exceptions import ConnectionClosed, InvalidStatus

from emotalk_ros.live import Feed, LiveFrame, LiveServer, LiveSettings, Voice, VoiceControls
from emotalk_ros.live.frames import AudioMessage, MessageError, read_audio, read_frames, write_audio, write_frames
from emotalk_ros.live.server import PortError


def solo(model, samples, controls=None, piece=960):
    """What one voice alone gives."""
    voice, frames = Voice(model, controls=controls), []
    for at in range(0, len(samples), piece):
        frames += voice.push(AudioMessage(RATE, 1, at, samples[at : at + piece].tobytes()))
    return frames + voice.end()


def test_two_visitors_never_mix(model, visit):
    voices = [speech(2.0, seed) for seed in (0, 1)]
    controls = [{"head": True}, {"mode": "chosen", "label": "happy", "person": 3, "mouth_gain": 1.5}]
    visitors = [visit(), visit()]
    for visitor, wanted in zip(visitors, controls, strict=True):
        visitor.say("controls", **wanted)
        visitor.listen(lambda v: v.word("controls"))
        visitor.say("start")
    for at in range(0, len(voices[0]), 960):  # in turns, a piece each
        for visitor, voice in zip(visitors, voices, strict=True):
            visitor.socket.send(write_audio(at, RATE, voice[at : at + 960]))
        time.sleep(0.008)
    for visitor, voice, wanted in zip(visitors, voices, controls, strict=True):
        visitor.say("stop")
        alone = solo(model, voice, VoiceControls().changed(wanted))
        visitor.wait_for(len(alone))
        assert [f.index for f in visitor.frames] == [f.index for f in alone]
        both = [(f.coefficients, g.coefficients) for f, g in zip(visitor.frames, alone, strict=True)]
        np.testing.assert_allclose(*map(np.array, zip(*both, strict=True)), atol=1e-5)
        np.testing.assert_allclose([f.angles for f in visitor.frames], [f.angles for f in alone], atol=1e-5)
    a, b = (np.array([f.coefficients for f in v.frames]) for v in visitors)
    assert np.abs(a[20:50] - b[20:50]).max() > 0.05


def test_a_new_start_is_a_new_stream(visit):
    visitor = visit()
    for _ in range(2):
        visitor.frames.clear()
        visitor.say("start")
        visitor.speak(speech(0.7))
        visitor.say("stop")
        visitor.listen(lambda v: len(v.frames) >= 21)
        assert visitor.frames[0].index == 0 and visitor.frames[0].time == 0.0


def test_who_leaves_frees_his_voice(server, visit):
    visitor = visit()
    visitor.say("start")
    visitor.speak(speech(0.5))
    visitor.listen(lambda v: v.frames)
    (session,) = server.sessions
    assert session.voice is not None
    visitor.socket.socket.shutdown(socket.SHUT_RDWR)  # without a word, as a laptop that is closed
    deadline = time.monotonic() + 10
    while server.sessions and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.sessions and session.voice is None


def test_all_places_taken(server, visit):
    for _ in range(3):
        visit().listen(lambda v: v.word("status"))
    late = Visitor(server)
    late.listen(lambda v: v.word("error"))
    assert "all 3 places are taken" in late.word("error")["text"]
    with pytest.raises(ConnectionClosed) as closed:
        late.listen(lambda v: False)
    assert closed.value.rcvd.code == 1013


def test_audio_faster_than_real_time_is_stopped(visit):
    visitor = visit()
    with pytest.raises(ConnectionClosed) as closed:
        for at in range(400):
            visitor.socket.send(write_audio(at * 4800, RATE, np.zeros(4800, np.int16)))
        visitor.listen(lambda v: False)
    assert closed.value.rcvd.code == 1008 and "faster than real time" in closed.value.rcvd.reason


def test_a_browser_that_stood_still_may_go_on(visit):
    """Eight seconds at once, as after a tab that slept: nobody is sent away, and the stream goes on."""
    visitor = visit()
    visitor.say("start")
    samples = speech(8.0)
    for at in range(0, len(samples), 4800):
        visitor.socket.send(write_audio(at, RATE, samples[at : at + 4800]))
    visitor.say("stop")
    visitor.listen(lambda v: v.frames and v.frames[-1].index >= 239, seconds=60.0)


def test_a_huge_message_is_stopped(visit):
    visitor = visit()
    with pytest.raises(ConnectionClosed) as closed:
        visitor.socket.send(b"\1" * 1_000_000)
        visitor.listen(lambda v: False)
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    "message, words",
    [
        (b"\1", "too short"),
        (b"\7" + bytes(20), "kind 7"),
        (write_audio(0, 3, np.zeros(4, np.int16)), "3 Hz"),
        (write_audio(0, RATE, np.zeros(4, np.int16))[:-1], "whole number"),
        (write_audio(-1, RATE, np.zeros(4, np.int16)), "must be 0 or more"),
        ("{", "JSON object with a type"),
        ("[1]", "JSON object with a type"),
        ('{"type": "dance"}', "'dance' is not known"),
        ('{"type": "controls", "level": 7}', "level 7"),
        ('{"type": "controls", "level": "x"}', "must be a number"),
        ('{"type": "controls", "label": "hungry"}', "unknown emotion"),
        ('{"type": "controls", "person": 99}', "person 99"),
        ('{"type": "controls", "nose": 1}', "unknown control 'nose'"),
        ('{"type": "controls", "intensity": 1e999}', "intensity"),
        ('{"type": "watch", "feed": "robot"}', "no feed 'robot'"),
    ],
)
def test_nonsense_is_answered_and_survived(visit, message, words):
    visitor = visit()
    visitor.socket.send(message)
    visitor.listen(lambda v: v.word("error"))
    assert words in visitor.word("error")["text"]
    visitor.say("ping", sent=1)
    visitor.listen(lambda v: v.word("pong"))


def test_sliders_change_the_stream(visit):
    visitor = visit()
    visitor.say("start")
    samples = speech(3.0)
    visitor.speak(samples[: len(samples) // 2])
    visitor.say("controls", mouth_gain=0.0)
    visitor.listen(lambda v: v.word("controls"))
    assert visitor.word("controls")["mouth_gain"] == 0.0
    visitor.speak(samples[len(samples) // 2 :], first=len(samples) // 2)
    visitor.say("stop")
    visitor.listen(lambda v: len(v.frames) >= 90)
    jaw = np.array([f.coefficients[24] for f in visitor.frames])
    assert jaw[15:40].max() > 0.1 and jaw[65:].max() == pytest.approx(0.0, abs=1e-3)


def test_gaps_keep_the_time_line(visit):
    """What is lost on the way (a tab that slept) is silence; what comes after keeps its time."""
    visitor = visit()
    visitor.say("start")
    samples = speech(2.0)
    visitor.speak(samples[:48000])
    visitor.speak(samples[72000:], first=72000)
    visitor.say("stop")
    visitor.listen(lambda v: v.frames and v.frames[-1].index >= 59)
    assert [f.time for f in visitor.frames[:60]] == pytest.approx([n / 30 for n in range(60)])


def test_recordings(server, visit):
    visitor = visit()
    visitor.say("record", on=True)
    visitor.say("start")
    samples = speech(1.5)
    visitor.speak(samples)
    visitor.say("stop")
    visitor.listen(lambda v: len(v.frames) >= 45)
    visitor.say("record", on=False)
    visitor.listen(lambda v: (v.word("recording") or {}).get("name"))
    base = f"http://127.0.0.1:{server.port}/recording/{visitor.word('recording')['name']}"
    table = httpx.get(f"{base}/csv").text.splitlines()
    assert table[0].startswith("time,browDownLeft") and len(table) >= 46
    values = np.array([row.split(",")[1:] for row in table[1:46]], dtype=float)
    np.testing.assert_allclose(values, [f.coefficients for f in visitor.frames[:45]], atol=1e-5)
    assert httpx.get(f"{base}/livelink-csv").text.startswith("Timecode,BlendShapeCount,EyeBlinkLeft")
    with wave.open(io.BytesIO(httpx.get(f"{base}/wav").content)) as sound:
        heard = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert sound.getframerate() == RATE
    np.testing.assert_array_equal(heard[: len(samples)], samples)
    assert httpx.get(f"{base}/bag").headers["content-type"] == "application/zip"
    assert httpx.get(f"{base}/exe").status_code == 404
    assert httpx.get(f"http://127.0.0.1:{server.port}/recording/guess/csv").status_code == 404


def test_the_bag_of_a_recording_is_one(server, visit, tmp_path):
    from emotalk_ros.bags import open_bag

    visitor = visit()
    visitor.say("record", on=True)
    visitor.say("start")
    visitor.speak(speech(0.6))
    visitor.say("stop")
    visitor.listen(lambda v: len(v.frames) >= 18)
    visitor.say("record", on=False)
    visitor.listen(lambda v: (v.word("recording") or {}).get("name"))
    url = f"http://127.0.0.1:{server.port}/recording/{visitor.word('recording')['name']}/bag"
    with zipfile.ZipFile(io.BytesIO(httpx.get(url, timeout=30).content)) as archive:
        archive.extractall(tmp_path)
    bag = open_bag(tmp_path / "face_bag")
    kinds = {topic.name: topic.msgtype for topic in bag.topics.values()}
    assert kinds == {
        "/audio": "emotalk_ros/msg/AudioChunk",
        "/blendshapes": "emotalk_ros/msg/BlendshapeCoefficients",
        "/emotion": "emotalk_ros/msg/EmotionState",
    }
    assert not bag.problems


# -- pages -----------------------------------------------------------------------------------------------------------


def test_everything_comes_from_here(server):
    base = f"http://127.0.0.1:{server.port}"
    page = httpx.get(base)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in (
        "style.css",
        "app.js",
        "face.js",
        "sound.js",
        "link.js",
        "player.js",
        "charts.js",
        "worklet.js",
        "three.js",
    ):
        answer = httpx.get(f"{base}/static/{path}")
        assert answer.status_code == 200
        assert ("css" if path.endswith("css") else "javascript") in answer.headers["content-type"]
        text = answer.text if path != "three.js" else ""
        assert "http://" not in text.replace("http://localhost", "") and "https://" not in text
    assert "MIT" in httpx.get(f"{base}/static/three.LICENSE.txt").text
    assert httpx.get(f"{base}/avatar.glb").content[:4] == b"glTF"
    assert httpx.get(f"{base}/static/../server.py").status_code == 404


def test_names_are_matched(server):
    url = f"http://127.0.0.1:{server.port}/api/match"
    found = httpx.post(url, json={"names": ["jaw_open", "Tail"]}).json()
    assert found["targets"] == {"jaw_open": [[24, 1.0]]} and found["unmatched"] == ["Tail"]
    assert "Tail" in found["report"]
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json={"names": ["a"] * 6000}).status_code == 400
    assert httpx.post(url, content=b"x" * 2_000_000).status_code == 413
    wrong = httpx.post(url, json={"names": ["a"], "mapping": "targets: {a: nose}"})
    assert "'nose' is no ARKit coefficient" in wrong.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_other_pages_may_not_come(server, origin):
    with pytest.raises(InvalidStatus):
        Visitor(server, Origin=origin)
    assert httpx.post(f"http://127.0.0.1:{server.port}/api/match", headers={"Origin": origin}).status_code == 403


def test_a_name_that_was_made_to_point_here_is_refused(server):
    answer = httpx.get(f"http://127.0.0.1:{server.port}/", headers={"Host": "evil.example"})
    assert answer.status_code == 403 and "evil.example" in answer.text


def test_other_addresses_need_the_token(model, glb):
    server = LiveServer(lambda: Voice(model), glb, LiveSettings(host="0.0.0.0", port=0))
    with running(server) as address:
        token = address.partition("token=")[2]
        assert len(token) >= 20
        base = f"http://127.0.0.1:{server.port}"
        for path in ("/", "/avatar.glb", "/api/config", "/static/app.js", "/?token=wrong"):
            assert httpx.get(base + path).status_code == 403
        with pytest.raises(InvalidStatus):
            Visitor(server)
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(f"{base}/?token={token}").url == f"{base}/"
            assert client.get(f"{base}/avatar.glb").status_code == 200
        visitor = Visitor(server, Cookie=f"emotalk_token={token}")
        visitor.listen(lambda v: v.word("status"))
        visitor.close()


def test_a_port_in_use_is_told(server):
    with pytest.raises(PortError, match=f"port {server.port} is in use.*--port"):
        LiveServer(None, b"", LiveSettings(port=server.port)).bind()
    with pytest.raises(PortError, match="no address of this machine"):
        LiveServer(None, b"", LiveSettings(host="192.0.2.1", port=0)).bind()


@pytest.mark.parametrize(
    "values, words",
    [({"port": 70000}, "port 70000"), ({"visitors": 0}, "visitors 0"), ({"token": "short"}, "8 printable"),
     ({"certificate": "a.pem"}, "certificate and its key")],
)  # fmt: skip
def test_settings_out_of_range(values, words):
    with pytest.raises(ValueError, match=words):
        LiveSettings(**values)


# -- feeds -----------------------------------------------------------------------------------------------------------


def test_faces_from_elsewhere(glb):
    feeds = [Feed("left", ("calm",)), Feed("right", ("calm",))]
    server = LiveServer(None, glb, LiveSettings(port=0), feeds=feeds)
    with running(server):
        config = httpx.get(f"http://127.0.0.1:{server.port}/api/config").json()
        assert config["feeds"] == ["left", "right"] and not config["voice"]
        visitor = Visitor(server)
        visitor.socket.send(write_audio(0, RATE, np.zeros(4, np.int16)))
        visitor.listen(lambda v: v.word("error"))
        assert "takes no audio" in visitor.word("error")["text"]
        visitor.say("watch", feed="right")
        deadline = time.monotonic() + 5
        while not feeds[1].watchers and time.monotonic() < deadline:
            time.sleep(0.01)
        feeds[0].publish([LiveFrame(1, 0.0, np.zeros(52, np.float32))])
        feeds[1].publish([LiveFrame(7, 0.5, np.full(52, 0.25, np.float32), emotion=np.ones(1, np.float32))])
        while True:
            message = visitor.socket.recv(timeout=5)
            if isinstance(message, bytes):
                break
        assert message[0] == 0x82 and message[-1] == 1  # frames, of feed number 1
        (frame,) = read_frames(bytes([2]) + message[1:-1])
        assert frame.index == 7 and frame.coefficients[0] == 0.25
        visitor.close()


# -- messages --------------------------------------------------------------------------------------------------------


def test_frames_there_and_back():
    rng = np.random.default_rng(0)
    frames = [
        LiveFrame(k, k / 30, *(rng.random(n).astype(np.float32) if n else 0.5 for n in (52, 0, 8, 9))) for k in range(5)
    ]
    for a, b in zip(read_frames(write_frames(frames)), frames, strict=True):
        assert (a.index, a.time, a.activity) == (b.index, b.time, b.activity)
        for name in ("coefficients", "emotion", "angles"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_long_piece_of_audio_is_refused():
    with pytest.raises(MessageError, match=r"2\.00 s of audio in one message"):
        read_audio(write_audio(0, 16000, np.zeros(32000, np.int16)), 1.0)


def test_config_is_json(server):
    config = json.loads(httpx.get(f"http://127.0.0.1:{server.port}/api/config").text)
    assert len(config["names"]) == 52 and len(config["emotions"]) == 8 and config["persons"] == 24
