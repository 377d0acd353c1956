"""Replay of bags through an engine: every frame, stamps, other packages' audio, damage, findings, merged bag."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bag_writing import START_NS, audio_messages, frame_messages, speech_like, write_bag
from saved_model import save_model

from emotalk_ros.audio.messages import (
    AUDIO_CHUNK,
    AUDIO_DATA,
    AUDIO_DATA_STAMPED,
    AUDIO_INFO,
    AUDIO_STAMPED,
    RAW_AUDIO,
    InputSettings,
    PcmFormat,
    from_time,
)
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import BagError, open_bag
from emotalk_ros.bags.tracks import read_audio
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.evaluation.references import loudness
from emotalk_ros.evaluation.replay import Topics, replay
from emotalk_ros.evaluation.replay_findings import findings
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import INDEX, FaceBasis, default_face
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.reports.replay_run import Outputs, replay_bag
from emotalk_ros.streaming import FaceStream, StreamSettings

SECONDS = 2.0
FPS = 30.0


@pytest.fixture(scope="module")
def basis() -> FaceBasis:
    return default_face()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "small")


def jaw(audio: np.ndarray, frames: int | None = None) -> np.ndarray:
    """Coefficients whose jaw follows the loudness of each frame and of nothing else."""
    level = loudness(audio, frames, FPS)
    motion = np.zeros((len(level), 52), np.float32)
    motion[:, INDEX["jawOpen"]] = np.clip((level + 60.0) / 60.0, 0.0, 1.0) * 0.4
    return motion


class LoudnessModel:
    """`jaw` as a model, each frame when 100 ms behind it are there: a voice whose truth is known."""

    config = SimpleNamespace(fps=30, lookahead_samples=1600, resampling="grid", emotion_labels=EMOTIONS)

    def analyse(self, audio: np.ndarray, person: int = 0, level: float = 1.0, emotion: Any = None) -> Any:
        motion = jaw(audio)
        return SimpleNamespace(coefficients=motion, frame_emotion_logits=np.zeros((len(motion), 8), np.float32))


def voice() -> FaceStream:
    return FaceStream(LoudnessModel(), StreamSettings(hop=1 / 30, context=4.0), motion=None)


def make_bag(path: Path, **topics: Any) -> Path:
    audio = speech_like(SECONDS)
    reference = jaw(audio)
    content = {
        "/audio": (AUDIO_CHUNK, audio_messages(audio)),
        "/face/reference": (types.BLENDSHAPES, frame_messages(reference)),
        "/blendshapes": (types.BLENDSHAPES, [m for n, m in enumerate(frame_messages(reference)) if n not in (10, 11)]),
    }
    return write_bag(path, {**content, **topics})


def judged(path: Path, basis: FaceBasis, topics: Topics | None = None) -> dict[str, Any]:
    with open_bag(path) as bag:
        replayed = replay(bag, voice(), topics=topics)
        return findings(bag, replayed, basis, {"name": "loudness"})


def test_every_frame_once_on_the_recorded_stamps(tmp_path: Path, basis: FaceBasis) -> None:
    found = judged(make_bag(tmp_path / "bag"), basis)
    ours = found["replayed"]
    assert ours["frames"] == ours["expected"] == ours["expected_by_audio"] == round(SECONDS * FPS)
    assert (ours["missing"], ours["doubled"], ours["off_grid"], ours["out_of_order"]) == (0, 0, 0, 0)
    # 100 ms look-ahead, chunks of 20 ms received 25 ms after their first sample.
    assert 0.1 < ours["latency"]["p50_s"] < 0.15
    assert found["problems"] == []


def test_recorded_frames_are_judged_apart(tmp_path: Path, basis: FaceBasis) -> None:
    found = judged(make_bag(tmp_path / "bag"), basis)
    assert (found["recorded"]["missing"], found["recorded"]["frames"]) == (2, 58)
    assert found["recorded"]["latency"]["p95_s"] == pytest.approx(0.18)
    assert found["recorded"]["gaps"] == [{"start_s": pytest.approx(9 / FPS, abs=1e-5), "frames": 2}]
    # The engine hears s16 audio, the recorded frames were made of float: equal but for rounding.
    assert found["agreement"]["frames"] == 58
    assert found["agreement"]["largest_difference"] < 0.05


def test_metrics_against_the_reference_and_the_rows_beside(tmp_path: Path, basis: FaceBasis) -> None:
    rows = judged(make_bag(tmp_path / "bag"), basis)["metrics"]["rows"]
    assert set(rows) == {"replayed", "recorded", "motionless (reference's mean)", "energy jaw (loudness only)"}
    assert rows["replayed"]["lve_mm"] < 0.5 < rows["motionless (reference's mean)"]["lve_mm"]
    assert rows["replayed"]["lip_gap_correlation"] > 0.99


def test_a_late_reference_is_found_as_offset(tmp_path: Path, basis: FaceBasis) -> None:
    late = frame_messages(jaw(speech_like(SECONDS)), start_ns=START_NS + 100_000_000)
    path = make_bag(tmp_path / "bag", **{"/face/reference": (types.BLENDSHAPES, late)})
    sync = judged(path, basis)["synchronisation"]
    assert sync["replayed_to_reference"]["offset_s"] == pytest.approx(-0.1, abs=0.02)
    assert sync["replayed_to_audio"]["offset_s"] == pytest.approx(0.0, abs=0.04)


def test_topics_by_name_and_wrong_names(tmp_path: Path, basis: FaceBasis) -> None:
    path = make_bag(tmp_path / "bag")
    found = judged(path, basis, Topics(audio="/audio", reference="/blendshapes"))
    assert found["metrics"]["frames"] < 60
    with pytest.raises(BagError, match=r"no topic '/voice'.*/audio \[emotalk_ros/msg/AudioChunk\] x100"):
        judged(path, basis, Topics(audio="/voice"))
    with pytest.raises(BagError, match="audio types are"):
        judged(path, basis, Topics(audio="/blendshapes"))


def test_bag_without_audio_says_what_it_holds(tmp_path: Path, basis: FaceBasis) -> None:
    clock = types.package_types().types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    path = write_bag(tmp_path / "bag", {"/clock": ("builtin_interfaces/msg/Time", [(1, clock)])})
    with pytest.raises(BagError, match=r"no audio in .*/clock \[builtin_interfaces/msg/Time\] x1"):
        judged(path, basis)


def test_a_gap_in_the_audio_starts_a_new_stream(tmp_path: Path, basis: FaceBasis) -> None:
    first = audio_messages(speech_like(1.0))
    second = audio_messages(speech_like(1.0, seed=1), start_ns=START_NS + 60_000_000_000)
    path = write_bag(tmp_path / "bag", {"/audio": (AUDIO_CHUNK, first + second)})
    found = judged(path, basis)
    assert found["audio"]["streams"] == found["replayed"]["streams"] == 2
    assert found["replayed"]["frames"] == found["replayed"]["expected_by_audio"] == 60
    assert found["replayed"]["missing"] == 0


def test_broken_chunks_are_counted_and_the_rest_is_used(tmp_path: Path, basis: FaceBasis) -> None:
    messages = audio_messages(speech_like(SECONDS))
    messages[3][1].encoding = "mp3"
    messages[5][1].channels = 0
    path = write_bag(tmp_path / "bag", {"/audio": (AUDIO_CHUNK, messages)})
    found = judged(path, basis)
    assert len([p for p in found["problems"] if "1 chunks left out" in p]) == 2
    assert found["replayed"]["frames"] == 60  # two gaps of 20 ms were filled


# --- other packages' audio ------------------------------------------------------------------------------------------


def pcm(samples: np.ndarray) -> np.ndarray:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2")


def foreign_bag(path: Path, flavour: str) -> Path:
    audio = speech_like(1.0)
    store = types.mgonzs13_types() if flavour == "mgonzs13" else types.package_types()
    messages: list[tuple[int, Any]] = []
    kinds = {
        "plain": ("/audio/audio", AUDIO_DATA),
        "stamped": ("/audio/audio_stamped", AUDIO_DATA_STAMPED),
        "mgonzs13": ("/audio", AUDIO_STAMPED),
        "foxglove": ("/mic", RAW_AUDIO),
    }
    name, kind = kinds[flavour]
    for first in range(0, 16000, 512):
        stamp, data = START_NS + first * 62_500, pcm(audio[first : first + 512])
        raw = np.frombuffer(data.tobytes(), np.uint8)
        header = types.make_header(store, stamp + 32_000_000 if flavour == "stamped" else stamp)  # as they stamp
        part = store.types.get(AUDIO_DATA)
        if flavour == "mgonzs13":
            empty = {"float32_data": np.zeros(0, np.float32), "int32_data": np.zeros(0, np.int32)}
            empty |= {"int8_data": np.zeros(0, np.int8), "uint8_data": np.zeros(0, np.uint8)}
            info = store.types[AUDIO_INFO](format=8, channels=1, rate=16000, chunk=512)
            inner = store.types["audio_common_msgs/msg/Audio"](audio_data=part(int16_data=data, **empty), info=info)
            message = store.types[kind](header=header, audio=inner)
        elif flavour == "foxglove":
            clock = types.make_time(store, stamp)
            message = store.types[kind](
                timestamp=clock, data=raw, format="pcm-s16", sample_rate=16000, number_of_channels=1
            )
        else:
            message = part(data=raw) if flavour == "plain" else store.types[kind](header=header, audio=part(data=raw))
        messages.append((stamp + 32_000_000, message))
    topics = {name: (kind, messages)}
    if flavour in ("plain", "stamped"):
        info = store.types[AUDIO_INFO](
            channels=1, sample_rate=16000, sample_format="S16LE", bitrate=0, coding_format="wave"
        )
        topics["/audio/audio_info"] = (AUDIO_INFO, [(START_NS, info)])
    return write_bag(path, topics, store=store)


@pytest.mark.parametrize("flavour", ["plain", "stamped", "mgonzs13", "foxglove"])
@pytest.mark.parametrize("definitions", ["recorded", "absent"])
def test_audio_of_other_packages(
    tmp_path: Path, basis: FaceBasis, flavour: str, definitions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = foreign_bag(tmp_path / "bag", flavour)
    with open_bag(path) as bag:
        if definitions == "absent":  # as in sqlite3 bags of Humble and older
            for topic in bag.topics.values():
                topic.definition = ""
        replayed = replay(bag, voice())
        assert bag.problems == []
    assert len(replayed.frames) == 30
    assert replayed.frames.stamp_ns[0] == pytest.approx(START_NS, abs=20_000_000)
    expected = jaw(speech_like(1.0))[:, INDEX["jawOpen"]]
    assert np.abs(replayed.frames.coefficients[:, INDEX["jawOpen"]] - expected).max() < 0.05


def test_bare_bytes_without_info_are_guessed_and_said_so(tmp_path: Path) -> None:
    path = foreign_bag(tmp_path / "bag", "plain")
    with open_bag(path) as bag:
        bag.topics.pop("/audio/audio_info")
        track = read_audio(bag, bag.topics["/audio/audio"])
        assert track.chunks[0].sample_rate == 16000
        assert any("no AudioInfo" in problem for problem in bag.problems)
    with open_bag(path) as bag:
        track = read_audio(bag, bag.topics["/audio/audio"], InputSettings(format=PcmFormat("f32le", 2, 48000)))
        assert (track.chunks[0].encoding, track.chunks[0].channels, track.chunks[0].sample_rate) == ("f32le", 2, 48000)
        assert bag.problems == []


def bare_bag(path: Path, first: bytes, info: str | None) -> Path:
    """AudioData whose every message begins with `first`, and an AudioInfo with the coding `info`."""
    store = types.package_types()
    part = store.types[AUDIO_DATA]
    data = np.frombuffer(first + bytes(640 - len(first)), np.uint8)
    topics: dict[str, Any] = {"/audio": (AUDIO_DATA, [(START_NS + n * 20_000_000, part(data=data)) for n in range(50)])}
    if info is not None:
        declared = store.types[AUDIO_INFO](
            channels=1, sample_rate=16000, sample_format="S16LE", bitrate=0, coding_format=info
        )
        topics["/audio_info"] = (AUDIO_INFO, [(START_NS + 500_000_000, declared)])
    return write_bag(path, topics)


@pytest.mark.parametrize("first", [b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"ID3"])
def test_the_format_of_bare_bytes_is_what_was_declared_and_never_searched_for(tmp_path: Path, first: bytes) -> None:
    with open_bag(bare_bag(tmp_path / "wave", first, "wave")) as bag:
        track = read_audio(bag, bag.topics["/audio"])
        assert len(track.chunks) == 50 and bag.problems == []
    undeclared = bare_bag(tmp_path / "undeclared", first, None)
    with open_bag(undeclared) as bag:
        assert len(read_audio(bag, bag.topics["/audio"], InputSettings(format=PcmFormat())).chunks) == 50
    with open_bag(undeclared) as bag, pytest.raises(BagError, match=r"holds MP3; record with format:=wave"):
        read_audio(bag, bag.topics["/audio"])
    with open_bag(bare_bag(tmp_path / "mp3", first, "mp3")) as bag, pytest.raises(BagError, match="coded as mp3"):
        read_audio(bag, bag.topics["/audio"])


def test_a_format_of_the_settings_outranks_the_recorded_one(tmp_path: Path) -> None:
    with open_bag(bare_bag(tmp_path / "bag", b"", "mp3")) as bag:
        track = read_audio(bag, bag.topics["/audio"], InputSettings(format=PcmFormat("s16le", 2, 48000)))
        assert {chunk.sample_rate for chunk in track.chunks} == {48000} and bag.problems == []


def test_which_end_a_stamp_means_can_be_chosen(tmp_path: Path) -> None:
    begins = {}
    for stamp_of in ("auto", "begin", "end"):
        with open_bag(foreign_bag(tmp_path / stamp_of, "stamped")) as bag:
            track = read_audio(bag, bag.topics["/audio/audio_stamped"], InputSettings(stamp_of))
            begins[stamp_of] = track.chunks[0].stamp_ns - START_NS
    assert begins == {"auto": 0, "begin": 32_000_000, "end": 0}


@pytest.mark.parametrize("kind", [types.JOINT_STATE, types.MULTI_ARRAY])
def test_reference_as_joint_state_or_array(tmp_path: Path, basis: FaceBasis, kind: str) -> None:
    from emotalk_ros.face import LIVE_LINK_NAMES

    store = types.package_types()
    rows = []
    for n, row in enumerate(jaw(speech_like(SECONDS))):
        stamp = START_NS + round(n * 1e9 / FPS)
        if kind == types.JOINT_STATE:
            turned = np.array([row[INDEX[name]] for name in LIVE_LINK_NAMES], np.float64)
            none = np.zeros(0)
            message = store.types[kind](types.make_header(store, stamp), list(LIVE_LINK_NAMES), turned, none, none)
        else:
            layout = store.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
            message = store.types[kind](layout=layout, data=row.astype(np.float64))
        rows.append((stamp, message))
    path = make_bag(tmp_path / "bag", **{"/face/reference": (kind, rows)})
    assert judged(path, basis)["metrics"]["rows"]["replayed"]["lip_gap_correlation"] > 0.99


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, model: Path, basis: FaceBasis) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("whole")
    bag = make_bag(folder / "bag")
    replay_bag(bag, Subject(model), basis, Outputs(folder / "out", film=False))
    yield bag, folder / "out"


def test_report_is_byte_equal_wherever_the_bag_lies(
    outcome: tuple[Path, Path], tmp_path: Path, model: Path, basis: FaceBasis
) -> None:
    out = outcome[1]
    moved = make_bag(tmp_path / "elsewhere_under_another_name")
    again = replay_bag(moved, Subject(model), basis, Outputs(tmp_path / "out", html=False, merged=False))
    assert again.exit_code == 0
    assert (tmp_path / "out" / "report.json").read_bytes() == (out / "report.json").read_bytes()


def test_report_json_is_plain_and_complete(outcome: tuple[Path, Path]) -> None:
    found = json.loads((outcome[1] / "report.json").read_text())
    assert {"bag", "audio", "replayed", "recorded", "synchronisation", "metrics", "emotion", "motion"} <= set(found)
    assert found["replayed"]["frames"] == 60
    assert found["replayed"]["late"] == 0
    wanted = found["settings"]["lookahead_s"] + found["settings"]["hop_s"] + 0.05 + 1 / found["settings"]["fps"]
    assert found["recorded"]["late_limit_s"] == pytest.approx(
        wanted, abs=1e-5
    )  # a node that paces takes a frame longer
    assert str(outcome[0].parent) not in (outcome[1] / "report.json").read_text()


def test_merged_bag_holds_results_on_the_same_clock(outcome: tuple[Path, Path]) -> None:
    with open_bag(outcome[1] / "merged") as merged:
        assert merged.problems == []
        assert merged.topics["/replay/blendshapes"].count == 60
        assert merged.topics["/replay/emotion"].count == 60
        assert merged.topics["/audio"].count == 100
        topic = merged.topics["/replay/blendshapes"]
        first = next(iter(merged.messages({topic.name})))
        decoded = merged.decoder.decode(topic, first)
        assert from_time(decoded.header.stamp) == START_NS
        assert START_NS < first.log_ns < START_NS + 1_000_000_000


def test_page_is_self_contained(outcome: tuple[Path, Path]) -> None:
    text = (outcome[1] / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")
    assert "http://" not in text and "https://" not in text and "<script" not in text
    for heading in ("Coefficients on the waveform", "Emotion over time", "Against the reference", "Synchronisation"):
        assert heading in text


def test_damaged_bag_gives_a_partial_report_and_exit_code_2(tmp_path: Path, model: Path, basis: FaceBasis) -> None:
    bag = make_bag(tmp_path / "bag")
    (bag / "metadata.yaml").unlink()
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-200])
    outcome = replay_bag(bag, Subject(model), basis, Outputs(tmp_path / "out", film=False))
    assert outcome.exit_code == 2
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("metadata.yaml is missing" in problem for problem in found["problems"])
    assert found["replayed"]["frames"] > 50
    assert "Incomplete data" in (tmp_path / "out" / "report.html").read_text()


def test_another_seed_blinks_elsewhere_and_no_motion_stage_at_all(
    tmp_path: Path, model: Path, basis: FaceBasis
) -> None:
    bag = make_bag(tmp_path / "bag")
    digests = set()
    settings = (MotionSettings(blinks=BlinkSettings(seed=0)), MotionSettings(blinks=BlinkSettings(seed=3)), None)
    for number, motion in enumerate(settings):
        outputs = Outputs(tmp_path / f"out{number}", html=False, merged=False)
        found = replay_bag(bag, Subject(model, motion=motion), basis, outputs).findings
        digests.add(json.dumps(found["motion"]["mean_coefficients"], sort_keys=True))
    assert len(digests) >= 2


def test_the_seed_of_a_replay_is_that_of_the_node_that_was_recorded(tmp_path: Path) -> None:
    from emotalk_ros.commands.replay import _seed
    from emotalk_ros.motion.seeds import face_seed

    assert _seed(make_bag(tmp_path / "bag"), None) == face_seed("/blendshapes")
