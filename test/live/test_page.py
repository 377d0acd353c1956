"""The page in a real browser: a voice moves the face, sliders change it, avatars are worn or refused in words.

One Chromium without a graphics card draws slowly on a busy machine: nothing here depends on how fast.
"""

import io
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import chromium, find_chromium, opened, picture, press, wait
from live_visitors import running
from PIL import Image

from emotalk_ros.audio import load_audio
from emotalk_ros.live import Feed, LiveServer, LiveSettings, Voice
from emotalk_ros.model import load_model
from emotalk_ros.share import candidate_paths

if find_chromium() is None:
    pytest.skip(
        "no Chromium here (apt install chromium, or set EMOTALK_CHROMIUM): the page is not tested",
        allow_module_level=True,
    )
sync_playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (the test extra has it): the page is not tested"
).sync_playwright

JAW = "emotalk.current.coefficients[24]"


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    """The demo's speech as Chromium's fake microphone wants it."""
    path = next(p for p in candidate_paths("examples/speech/demo.ogg") if p.exists())
    target = tmp_path_factory.mktemp("sound") / "speech.wav"
    soundfile.write(target, load_audio(path), 16000, subtype="PCM_16")
    return target


@pytest.fixture(scope="module")
def live(glb):
    """A server with the network that ships."""
    model = load_model()
    feeds = [Feed("a robot")]
    server = LiveServer(lambda: Voice(model), glb, LiveSettings(port=0), feeds, persons=model.config.num_persons)
    with running(server) as address:
        yield server, address


@pytest.fixture(scope="module")
def play():
    with sync_playwright() as play:
        yield play


@pytest.fixture(scope="module")
def page(live, wav, play):
    with chromium(play, wav) as page:
        yield opened(page, live[1])
        assert page.errors == []


def notice(page, words, seconds=30.0):
    """Wait for a message to the visitor that contains `words`; closes it."""
    wait(page, f"(document.querySelector('#notice p').textContent.includes({json.dumps(words)}))", seconds)
    page.evaluate(
        "document.querySelector('#notice button').click(); document.querySelector('#notice p').textContent = ''"
    )


def test_it_opens_with_a_face(page):
    assert page.evaluate("document.querySelector('#avatar-report').textContent").startswith(
        "52 morph targets follow 52 of 52"
    )
    assert page.evaluate("document.querySelectorAll('#pictures img').length") == 8
    link = page.evaluate("[document.querySelector('#feeds a').textContent, document.querySelector('#feeds a').search]")
    assert link == ["Show a robot", "?feed=a%20robot"]
    pictures = page.evaluate("[...document.querySelectorAll('#pictures img')].map((i) => i.src)")
    assert len(set(pictures)) == 8 and all(p.startswith("data:image/png") and len(p) > 3000 for p in pictures)


def test_a_voice_moves_the_face(page, live):
    press(page, "#microphone")
    wait(page, "emotalk.stages[0].player.received > 60")
    jaw = [page.evaluate(JAW)]
    for _ in range(200):
        jaw.append(page.evaluate(JAW))
        if max(jaw) > 0.05 and len(jaw) > 30:
            break
        page.wait_for_timeout(50)
    assert max(jaw) > 0.05 > min(jaw)
    heights = page.evaluate("emotalk.stages[0].face.morphers.map((m) => Math.min(...m.parts[0].attribute.array))")
    assert len(heights) == 4  # eyes, teeth, tongue, skin: what is drawn has moved
    wait(page, "emotalk.status.latency_ms && emotalk.status.latency_ms.length === 2")
    wait(page, "document.querySelector('#delay').textContent.includes('ms')")
    assert len(live[0].sessions) == 1
    shown = picture(page)
    if os.environ.get("EMOTALK_SCREENSHOT"):
        Path(os.environ["EMOTALK_SCREENSHOT"]).write_bytes(shown)
    skin = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB"), dtype=float)[150:350, 200:450]  # where the face is
    assert (skin[..., 0] > skin[..., 2] + 15).mean() > 0.3  # warm, before a cold ground
    emotion = page.evaluate("[...emotalk.current.emotion]")
    assert len(emotion) == 8 and sum(emotion) == pytest.approx(1.0, abs=0.01)


def test_sliders_and_pictures_change_the_stream(page):
    page.evaluate("const s = document.querySelector('#mouth_gain'); s.value = 0; s.dispatchEvent(new Event('input'))")
    before = page.evaluate("emotalk.stages[0].player.received")
    wait(page, f"emotalk.stages[0].player.received > {before} + 60")
    quiet = max(page.evaluate(JAW) for _ in range(20))
    assert quiet < 0.01
    page.evaluate("const s = document.querySelector('#mouth_gain'); s.value = 1; s.dispatchEvent(new Event('input'))")
    press(page, "#pictures button[data-label=happy]")
    assert page.evaluate("document.querySelector('#mode .on').textContent") == "Chosen"
    smile = "Math.max(emotalk.current.coefficients[43], emotalk.current.coefficients[44])"
    wait(page, f"{smile} > 0.12")
    press(page, "#mode button[data-mode=heard]")


def test_recording(page):
    press(page, "#record")
    wait(page, "document.querySelector('#record').textContent.includes('Finish')")
    before = page.evaluate("emotalk.stages[0].player.received")
    wait(page, f"emotalk.stages[0].player.received > {before} + 40")
    press(page, "#record")
    wait(page, "document.querySelectorAll('#downloads a').length === 4")
    with page.expect_download() as download:
        press(page, "#downloads a")
    table = open(download.value.path()).read().splitlines()  # noqa: SIM115
    assert table[0].startswith("time,browDownLeft") and len(table) > 35


def test_stop_and_a_file(page, wav):
    press(page, "#stop")
    assert page.evaluate("document.querySelector('#stop').disabled")
    page.set_input_files("#file", str(wav))
    wait(page, "emotalk.sound.playing && emotalk.stages[0].player.received > 45")
    assert page.evaluate("emotalk.sound.delay.delayTime.value") == pytest.approx(
        page.evaluate("emotalk.stages[0].delay"), abs=0.1
    )
    press(page, "#stop")


def test_a_file_that_is_no_sound(page, tmp_path):
    path = tmp_path / "noise.wav"
    path.write_bytes(b"RIFFnonsense")
    page.set_input_files("#file", str(path))
    notice(page, "no sound that the browser can read")


# -- avatars ---------------------------------------------------------------------------------------------------------


def renamed(glb, change):
    """The GLB with its JSON changed."""
    size = struct.unpack_from("<I", glb, 12)[0]
    document = json.loads(glb[20 : 20 + size])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = glb[20 + size :]
    return (
        struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + rest
    )


def names_of(document, change):
    names = document["meshes"][0]["extras"]["targetNames"]
    document["meshes"][0]["extras"]["targetNames"] = [change(name) for name in names]


def drop_last(document):
    mesh = document["meshes"][0]
    mesh["extras"]["targetNames"].pop()
    mesh["weights"].pop()
    for primitive in mesh["primitives"]:
        primitive["targets"].pop()


def no_targets(document):
    mesh = document["meshes"][0]
    for key in ("extras", "weights"):
        del mesh[key]
    for primitive in mesh["primitives"]:
        del primitive["targets"]


def underscored(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


@pytest.mark.parametrize(
    "change, words, moving",
    [
        (drop_last, "51 morph targets follow 51 of 52 coefficients\nmissing: tongueOut", 51),
        (lambda d: names_of(d, underscored), "52 morph targets follow 52 of 52", 52),
        (lambda d: names_of(d, lambda n: "A25_" + underscored(n).title()), "52 morph targets follow 52 of 52", 52),
        (lambda d: names_of(d, lambda n: {"jawOpen": "Mouth_Open"}.get(n, n)), "52 morph targets follow 52 of 52", 52),
        (lambda d: names_of(d, lambda n: "Shape" + str(hash(n) % 1000) + "x"), "is known", 0),
        (no_targets, "no morph targets", 0),
    ],
    ids=["51 of 52", "jaw_open", "A25_Jaw_Open", "Mouth_Open", "unknown names", "no morph targets"],
)
def test_avatars_with_other_names(page, glb, tmp_path, change, words, moving):
    path = tmp_path / "avatar.glb"
    path.write_bytes(renamed(glb, change))
    page.set_input_files("#avatar-file", str(path))
    notice(page, words)
    assert page.evaluate("Number(document.querySelector('#avatar-report').dataset.moving)") == moving


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda glb: glb[: len(glb) // 2], "broken or cut short"),
        (lambda glb: b"glTF\2\0\0\0" + bytes(40), "broken or cut short"),
        (lambda glb: b"PK\3\4 a zip file", "no GLB file"),
        (lambda glb: b"", "no GLB file"),
    ],
    ids=["half", "zeros", "zip", "empty"],
)
def test_broken_avatars_are_refused_and_the_one_before_stays(page, glb, tmp_path, content, words):
    press(page, "#avatar-own")
    wait(page, "document.querySelector('#avatar-report').dataset.moving === '52'")
    path = tmp_path / "avatar.glb"
    path.write_bytes(content(glb))
    page.set_input_files("#avatar-file", str(path))
    notice(page, words)
    assert page.evaluate("document.querySelector('#avatar-report').dataset.moving") == "52"


def test_a_huge_avatar_is_refused_unread(page):
    file = "{ name: 'huge.glb', type: '', size: 4e9, arrayBuffer: () => { throw new Error('read'); } }"
    page.evaluate(f"emotalk.openAvatar([{file}])")
    notice(page, "4000 MB: at most 300")


def test_a_mapping_is_dropped_with_the_avatar(page, glb, tmp_path):
    avatar, mapping = tmp_path / "mine.glb", tmp_path / "mine.yaml"
    avatar.write_bytes(renamed(glb, lambda d: names_of(d, lambda n: "Zzz" if n == "jawOpen" else n)))
    mapping.write_text("targets: {Zzz: jawOpen}\ngains: {jawOpen: 1.5}\n")
    page.set_input_files("#avatar-file", [str(avatar), str(mapping)])
    notice(page, "52 morph targets follow 52 of 52")
    mapping.write_text("targets: {Zzz: nose}\n")
    page.set_input_files("#avatar-file", [str(avatar), str(mapping)])
    notice(page, "'nose' is no ARKit coefficient")


# -- other browsers --------------------------------------------------------------------------------------------------


def test_a_microphone_that_is_refused(live, play):
    with chromium(play, refuse=True, size=(700, 500)) as page:
        opened(page, live[1])
        press(page, "#microphone")
        notice(page, "The microphone was refused")
        assert page.evaluate("document.querySelector('#stop').disabled")


def test_several_robots_side_by_side(glb, play):
    from emotalk_ros.live import LiveFrame

    feeds = [Feed("alice"), Feed("bob")]
    server = LiveServer(None, glb, LiveSettings(port=0), feeds=feeds)
    with running(server) as address, chromium(play, size=(700, 500)) as page:
        opened(page, address)
        assert page.evaluate("[...document.querySelectorAll('figcaption')].map((c) => c.textContent)") == [
            "alice",
            "bob",
        ]
        wait(page, "emotalk.link.connected")
        for number in range(900):
            for k, feed in enumerate(feeds):
                values = np.full(52, 0.2 + 0.4 * k, np.float32)
                feed.publish([LiveFrame(number, 1.7e9 + number / 30, values, 1.0)])
            page.wait_for_timeout(30)
            shown = page.evaluate("emotalk.stages.map((s) => s.player.shown && s.player.shown.coefficients[24])")
            if None not in shown:
                break
        assert shown == pytest.approx([0.2, 0.6])
        assert page.errors == []
