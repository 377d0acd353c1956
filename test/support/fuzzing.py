"""What comes from outside, damaged in every way hypothesis thinks of, and what must happen to it.

A target is a strategy for cases and a function that takes one. It may raise the error that its reader documents, and
nothing else; what it gives back must make sense (finite, in range). Used by a test for seconds and by
`scripts/fuzz.py` for 100 000 cases.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import yaml
from hypothesis import strategies as st

from emotalk_ros.audio import AudioFormatError, AudioIntake, load_audio
from emotalk_ros.audio import messages as audio_messages
from emotalk_ros.audio.messages import AudioDecoder, InputSettings
from emotalk_ros.audio.pcm import ENCODINGS
from emotalk_ros.face import ARKIT_NAMES, COUNT
from emotalk_ros.share import candidate_paths

NS = 1_000_000_000


@dataclass(frozen=True)
class Target:
    """One reader: cases, what takes a case, and its share of the 100 000."""

    cases: st.SearchStrategy[Any]
    take: Callable[[Any], None]
    share: int


# -- damage ------------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, -(2**31), 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, -1e308, 1e-320, 30, 1e9]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.integers(-(2**70), 2**70),
    st.floats(),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=20),
    st.sampled_from(["", "30", "1e5", "nan", "../x", "/dev/zero", "a:b", "jawOpen", "s16le", "[red]", "\x00", "=1+1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "insert", "double", "drop", "zero", "number"]),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=8),
    ),
    min_size=1,
    max_size=5,
)
"""Damage to bytes: what, where (modulo the length), with which bytes."""
CHANGES = st.lists(
    st.tuples(st.sampled_from(["set", "remove", "rename", "add"]), st.integers(0, 2**32 - 1), VALUES),
    min_size=1,
    max_size=3,
)
"""Damage to a tree of JSON or YAML: what, which node, with which value."""


def damaged(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """`data` after `edits`."""
    out = bytearray(data)
    for kind, place, piece in edits:
        at = place % (len(out) + 1)
        if kind == "flip" and at < len(out):
            out[at] ^= 1 << (place >> 20) % 8
        elif kind == "set":
            out[at : at + len(piece)] = piece
        elif kind == "cut":
            del out[at:]
        elif kind == "insert":
            out[at:at] = piece
        elif kind == "double":
            out[at:at] = out[at : at + 4096]
        elif kind == "drop":
            del out[at : at + 1 + len(piece) ** 3]
        elif kind == "zero":
            out[at : at + 64] = bytes(len(out[at : at + 64]))
        elif kind == "number":  # lengths and counts are numbers of 2, 4 or 8 bytes
            width = (2, 4, 8)[place % 3]
            number = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)[place // 3 % 10]
            out[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(out)


def changed(tree: Any, changes: list[tuple[str, int, Any]]) -> Any:
    """A copy of `tree` after `changes`."""
    root = [copy.deepcopy(tree)]
    for kind, place, value in changes:
        nodes = list(_nodes(root))
        holder, key = nodes[place % len(nodes)]
        if kind == "set" or holder is root:
            holder[key] = value
        elif kind == "remove":
            del holder[key]
        elif kind == "add":
            if isinstance(holder, list):
                holder.insert(place % (len(holder) + 1), value)
            else:
                holder[str(value)[:20]] = value
        elif isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
    return root[0]


def _nodes(holder: Any) -> Iterator[tuple[Any, Any]]:
    pairs = enumerate(holder) if isinstance(holder, list) else list(holder.items())
    for key, value in pairs:
        yield holder, key
        if isinstance(value, (list, dict)):
            yield from _nodes(value)


@cache
def scratch() -> Path:
    """A folder of this process."""
    return Path(tempfile.mkdtemp(prefix="emotalk-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def write(name: str, data: bytes | str) -> Path:
    """A file in the scratch folder."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


def finite(values: Any, low: float = -np.inf, high: float = np.inf) -> None:
    """Fails unless all are numbers from `low` to `high`."""
    array = np.asarray(values)
    assert np.isfinite(array).all(), "not all numbers are finite"
    assert not array.size or (array.min() >= low and array.max() <= high), f"{array.min()} to {array.max()}"


# -- messages of the audio topic ---------------------------------------------------------------------------------------

_AUDIO = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(audio_messages.AUDIO_TYPES),
        "encoding": st.one_of(
            st.sampled_from([*ENCODINGS, "S16LE", "float32", "mp3", "wave", ""]), st.text(max_size=10)
        ),
        "rate": st.one_of(st.sampled_from([8000, 16000, 44100, 48000, 384000]), st.integers(0, 2**32 - 1)),
        "channels": st.one_of(st.integers(0, 3), st.integers(0, 65535)),
        "format": st.one_of(st.sampled_from([1, 2, 8, 16, 32]), st.integers(-(2**31), 2**31 - 1)),
        "coding": st.sampled_from(["wave", "mp3", "", "x"]),
        "stamps": st.lists(
            st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=4
        ),
        "step": st.sampled_from([0, 1, 20_000_000, NS, 10 * NS, -NS]),
        "data": st.binary(max_size=400),
        "times": st.sampled_from([1, 1, 1, 20]),
        "stamp_of": st.sampled_from(audio_messages.STAMP_OF),
        "stamps_are": st.sampled_from(audio_messages.STAMPS),
    }
)


def take_audio(case: dict[str, Any]) -> None:
    """Through the decoder and the intake, as the node does it, by way of the real message where ROS is there."""
    decoder = AudioDecoder(case["kind"], InputSettings(case["stamp_of"], case["stamps_are"]))
    intake = AudioIntake()
    if decoder.needs_info:
        info = SimpleNamespace(
            coding_format=case["coding"],
            sample_format=case["encoding"],
            channels=case["channels"],
            sample_rate=case["rate"],
        )
        _refusable(AudioFormatError, decoder.declare, info)
    for sec, nanosec in case["stamps"]:
        for _ in range(case["times"]):
            nanosec = (nanosec + case["step"]) % 2**32
            message = _audio_message(case, SimpleNamespace(sec=sec, nanosec=nanosec))
            try:
                segments = list(intake.push(decoder.decode(message, 1_700_000_000 * NS)))
            except AudioFormatError:
                continue
            for segment in segments:
                finite(segment.samples, -1.0, 1.0)
    for segment in intake.flush():
        finite(segment.samples, -1.0, 1.0)
    assert all(len(text) < 2000 for text in intake.take_warnings())


def _audio_message(case: dict[str, Any], stamp: Any) -> Any:
    kind, data = case["kind"], case["data"] * case["times"]
    header = SimpleNamespace(stamp=stamp, frame_id="")
    if kind == audio_messages.AUDIO_CHUNK:
        return SimpleNamespace(
            header=header, sample_rate=case["rate"], channels=case["channels"], encoding=case["encoding"], data=data
        )
    if kind == audio_messages.RAW_AUDIO:
        return SimpleNamespace(
            timestamp=stamp,
            sample_rate=case["rate"],
            number_of_channels=case["channels"],
            format=case["encoding"],
            data=data,
        )
    if kind == audio_messages.AUDIO_STAMPED:
        info = SimpleNamespace(format=case["format"], channels=case["channels"], rate=case["rate"], chunk=len(data))
        whole = data[: len(data) // 4 * 4]
        samples = SimpleNamespace(
            float32_data=np.frombuffer(whole, "<f4"),
            int32_data=np.frombuffer(whole, "<i4"),
            int16_data=np.frombuffer(whole, "<i2"),
            int8_data=np.frombuffer(whole, "i1"),
            uint8_data=np.frombuffer(whole, "u1"),
        )
        return SimpleNamespace(header=header, audio=SimpleNamespace(info=info, audio_data=samples))
    bytes_ = SimpleNamespace(data=data)
    return SimpleNamespace(header=header, audio=bytes_) if kind == audio_messages.AUDIO_DATA_STAMPED else bytes_


def _refusable(error: type[Exception] | tuple[type[Exception], ...], call: Callable[..., Any], *given: Any) -> Any:
    """The call's result; None where it refused with its own error, in words that are no novel."""
    try:
        return call(*given)
    except error as refusal:
        text = str(refusal)
        assert text and len(text) < 5000, f"{len(text)} characters of refusal"
        return None


# -- messages of other topics, and packets of the network --------------------------------------------------------------

_COMMANDS = st.fixed_dictionaries(
    {
        "label": st.one_of(st.sampled_from(["", "happy", "angry", "joy"]), st.text(max_size=8)),
        "labels": st.lists(st.one_of(st.sampled_from(["happy", "sad", "calm"]), st.text(max_size=5)), max_size=3),
        "weights": st.lists(st.floats(width=32), max_size=3),
        "intensity": st.one_of(st.just(1.0), st.floats(width=32)),
        "blend": st.one_of(st.just(1.0), st.floats(width=32)),
        "hold": st.one_of(st.just(0.0), st.floats(width=32)),
        "transition": st.one_of(st.just(0.3), st.floats(width=32)),
    }
)


def take_command(case: dict[str, Any]) -> None:
    """An emotion command is refused with a ValueError, or gives a control whose numbers are in range."""
    from emotalk_ros.model.controls import EmotionControl

    labels = dict(zip(case["labels"], case["weights"], strict=False)) or {case["label"]: 1.0}

    def make() -> EmotionControl:
        return EmotionControl(labels=labels, intensity=case["intensity"], blend=case["blend"])

    control = _refusable(ValueError, make)
    if control is not None:
        finite([control.intensity, *control.labels.values()], 0.0)
        finite(control.blend, 0.0, 1.0)


def _packets() -> list[bytes]:
    from emotalk_ros.bridges import ifacialmocap, livelink
    from emotalk_ros.live.frames import write_audio

    frame = livelink.LiveLinkFrame(
        device="device", subject="subject", coefficients=np.full(COUNT, 0.5, np.float32), angles=np.zeros(9, np.float32)
    )
    return [
        livelink.encode(frame),
        ifacialmocap.encode(np.full(COUNT, 0.5, np.float32), np.zeros(9, np.float32)),
        write_audio(0, 16000, np.zeros(160, np.int16)),
    ]


def take_packet(case: tuple[int, list[tuple[str, int, bytes]]]) -> None:
    """A UDP packet of Live Link or iFacialMocap, or a message to the live page."""
    from emotalk_ros.bridges import ifacialmocap, livelink
    from emotalk_ros.live import frames

    which, edits = case
    data = damaged(_cached_packets()[which], edits)
    for decode in (livelink.decode, ifacialmocap.decode):
        found = _refusable(livelink.PacketError, decode, data)
        if found is not None:
            coefficients = found[0] if isinstance(found, tuple) else found.coefficients
            finite(coefficients)
    found = _refusable(frames.MessageError, frames.read_audio, data, 1.0)
    if found is not None:
        assert 0 <= found.seconds <= 1.0 and 0 <= found.first < 2**48


@cache
def _cached_packets() -> list[bytes]:
    return _packets()


def take_controls(case: dict[str, Any]) -> None:
    """The live page's controls: a MessageError, or controls that a stream takes."""
    from emotalk_ros.live.frames import MessageError
    from emotalk_ros.live.voice import VoiceControls

    controls = _refusable(MessageError, VoiceControls().changed, case)
    if controls is not None:
        _refusable(MessageError, lambda: (controls.stream_controls(), controls.motion()))


_CONTROLS = st.dictionaries(
    st.one_of(
        st.sampled_from(["mode", "label", "intensity", "blend", "person", "level", "mouth_gain", "blinks", "head"]),
        st.text(max_size=5),
    ),
    VALUES,
    max_size=4,
)

# -- sound files -------------------------------------------------------------------------------------------------------

_SOUNDS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "PCM_24"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "PCM_16"),
)


@cache
def _sound(which: int) -> bytes:
    form, subtype = _SOUNDS[which]
    data = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(1600) * 0.1)[:, None] * np.ones((1, 1 + which % 2))
    soundfile.write(data, samples, 16000, format=form, subtype=subtype)
    return data.getvalue()


def take_sound(case: tuple[int, list[tuple[str, int, bytes]], bool]) -> None:
    """A sound file: an AudioFormatError, or finite samples. Damage falls on its head more often than not."""
    which, edits, head = case
    data = _sound(which)
    path = write(
        "sound." + _SOUNDS[which][0].lower(), damaged(data[:64], edits) + data[64:] if head else damaged(data, edits)
    )
    samples = _refusable(AudioFormatError, load_audio, path)
    if samples is not None:
        finite(samples)
        assert samples.dtype == np.float32 and samples.ndim == 1 and len(samples) < 100 * len(data)


# -- bags --------------------------------------------------------------------------------------------------------------


@cache
def _bag(which: int) -> Path:
    import bag_writing

    from emotalk_ros.audio.messages import AUDIO_CHUNK
    from emotalk_ros.bags import messages as types

    store = types.package_types()
    sound = bag_writing.speech_like(0.2)
    chunks = [
        (bag_writing.START_NS + k * NS // 50, bag_writing.audio_chunk(store, sound[320 * k : 320 * k + 320], k))
        for k in range(10)
    ]
    folder = scratch() / f"bag{which}"
    options: list[dict[str, Any]] = [{}, {"compression": "chunk"}, {"storage": "sqlite3"}]
    return _write_bag(folder, AUDIO_CHUNK, chunks, **options[which])


def _write_bag(
    folder: Path, kind: str, chunks: list[tuple[int, Any]], storage: str = "mcap", compression: str = ""
) -> Path:
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    from emotalk_ros.bags import messages as types

    store = types.package_types()
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/audio", kind, typestore=store)
        for at, message in chunks:
            writer.write(connection, at, store.serialize_cdr(message, kind))
    return folder


def take_bag(case: tuple[int, str, list[tuple[str, int, bytes]], list[tuple[str, int, Any]]]) -> None:
    """A bag with damaged storage or metadata: a BagError, or messages; each decodes, or is refused."""
    from emotalk_ros.bags import open_bag
    from emotalk_ros.bags.messages import MessageError
    from emotalk_ros.bags.storage import BagError

    which, part, edits, changes = case
    folder = scratch() / "case_bag"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_bag(which), folder)
    storage = next(path for path in folder.iterdir() if path.name != "metadata.yaml")
    metadata = folder / "metadata.yaml"
    if part in ("storage", "both"):
        storage.write_bytes(damaged(storage.read_bytes(), edits))
    if part == "bytes":
        metadata.write_bytes(damaged(metadata.read_bytes(), edits))
    if part in ("metadata", "both"):
        metadata.write_text(as_yaml(changed(yaml.safe_load(metadata.read_text()), changes)), "utf-8", "surrogatepass")
    if part == "alone":
        metadata.unlink()
        storage.write_bytes(damaged(storage.read_bytes(), edits))
    bag = _refusable(BagError, open_bag, folder)
    if bag is None:
        return
    with bag:
        count = 0
        for message in _refusable(BagError, lambda: list(bag.messages())) or []:
            count += 1
            _refusable((BagError, MessageError), bag.decoder.decode, bag.topics[message.topic], message)
        assert count < 1000 and all(len(problem) < 5000 for problem in bag.problems)


def as_yaml(tree: Any) -> str:
    """YAML of anything that VALUES gives."""
    return yaml.safe_dump(tree, allow_unicode=False)


# -- motion files ------------------------------------------------------------------------------------------------------


@cache
def _motions() -> dict[str, bytes]:
    from emotalk_ros.motion.files import Motion, write_motion

    rows = np.linspace(0, 1, 6 * COUNT).reshape(6, COUNT).astype(np.float32)
    empty = np.zeros((6, 0), np.float32)
    motion = Motion(np.arange(6) / 30, rows, np.ones(6, np.float32), empty, (), 30.0)
    found = {}
    for form, suffix in (("csv", ".csv"), ("npz", ".npz"), ("json", ".json"), ("livelink-csv", ".take.csv")):
        path = scratch() / f"motion{suffix}"
        write_motion(path, motion, form)
        found[suffix] = path.read_bytes()
    array = io.BytesIO()
    np.save(array, rows)
    found[".npy"] = array.getvalue()
    return found


def take_motion(
    case: tuple[str, list[tuple[str, int, bytes]], list[tuple[int, int, str]], list[tuple[str, int, Any]]],
) -> None:
    """A motion file: a MotionError, or a finite (T, 52) that is no larger than the file can tell."""
    from emotalk_ros.motion.files import MotionError, read_motion

    suffix, edits, cells, changes = case
    data = _motions()[suffix]
    if suffix.endswith("csv") and cells:
        rows = [line.split(",") for line in data.decode().splitlines()]
        for row, column, text in cells:
            line = rows[row % len(rows)]
            line[column % len(line)] = text
        data = "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    elif suffix == ".json" and changes:
        data = json.dumps(changed(json.loads(data), changes)).encode()
    else:
        data = damaged(data, edits)
    found = _refusable(MotionError, read_motion, write(f"case{suffix}", data))
    if found is not None:
        values, fps = found
        finite(values)
        finite(fps, 1e-9)
        assert values.ndim == 2 and values.shape[1] == COUNT and 0 < len(values) < 1_000_000, values.shape


_CELLS = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.one_of(st.just(0), st.integers(0, 80)),
        st.one_of(
            NUMBERS.map(str), st.sampled_from(["", "time", "jawOpen", "1e30", "00:00:00:00", "99:99:99:99.9", "1_0"])
        ),
    ),
    max_size=3,
)

# -- settings: recipes, servo maps, mappings ---------------------------------------------------------------------------


@cache
def _tree(name: str) -> Any:
    path = next(path for path in candidate_paths(f"config/{name}") if path.exists())
    return yaml.safe_load(path.read_text())


_YAML_BOMBS = (
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\n"
    "f: &f [*e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f]\n",
    "&a [*a]\n",
    "a: &a {b: *a}\n",
    "joints: &j {jaw: *j}\n",
    "[" * 3000,
    "{a: " * 1500,
    "- " * 3000,
    "!!python/object/apply:os.system [echo]\n",
    "? [a]\n: b\n",
    "? {a: b}\n: b\n",
    "rate: 1\nrate: 2\n",
    "rate: 2026-01-01\n",
    "rate: 190:20:30\n",
    "\x00",
    "\ufeff",
    "%YAML 9.9\n---\na: 1\n",
    "--- 1\n--- 2\n",
)
_SETTINGS = st.one_of(
    st.tuples(st.just("changed"), CHANGES),
    st.tuples(st.just("changed"), CHANGES),
    st.tuples(st.just("bytes"), EDITS),
    st.tuples(st.just("text"), st.one_of(st.sampled_from(_YAML_BOMBS), st.text(max_size=60))),
)


def _settings_text(tree: Any, case: tuple[str, Any]) -> bytes:
    kind, how = case
    if kind == "changed":
        return as_yaml(changed(tree, how)).encode("utf-8", "surrogatepass")
    if kind == "bytes":
        return damaged(as_yaml(tree).encode(), how)
    return str(how).encode("utf-8", "surrogatepass")


def take_servo_map(case: tuple[str, Any]) -> None:
    """A servo map: a ServoMapError, or angles within limits."""
    from emotalk_ros.servos.servo_map import ServoMapError, load_servo_map

    path = write("servos.yaml", _settings_text(_tree("servos/head_3.yaml"), case))
    found = _refusable(ServoMapError, load_servo_map, path)
    if found is not None:
        angles = found.targets(np.full(COUNT, 0.7))
        assert angles.shape == (len(found.joints),)
        finite(angles)
        for motion in found.motions():
            finite(motion.step(0.3, 0.02))


def take_recipe(case: tuple[str, Any]) -> None:
    """A training recipe: a RecipeError, or a recipe."""
    from emotalk_ros.training.recipe import RecipeError, load_recipe

    path = write("recipe.yaml", _settings_text(_tree("training/tiny.yaml"), case))
    _refusable(RecipeError, load_recipe, path)


def take_mapping(case: tuple[str, Any]) -> None:
    """A mapping of an avatar's names: a MappingError, or a match."""
    from emotalk_ros.face.aliases import MappingError, match, read_mapping

    tree = {
        "targets": {"mouth_open": "jawOpen", "smile": {"mouthSmileLeft": 0.5}},
        "gains": {"jawOpen": 1.2},
        "ignore": ["x"],
    }
    path = write("mapping.yaml", _settings_text(tree, case))
    found = _refusable(MappingError, read_mapping, path)
    if found is not None:
        report = _refusable(MappingError, match, ["mouth_open", "smile", *ARKIT_NAMES[:30]], found)
        if report is not None:
            finite(report.matrix())


# -- manifests ---------------------------------------------------------------------------------------------------------


@cache
def _corpus() -> Path:
    from emotalk_ros.corpus.store import Clip, CorpusWriter

    folder = scratch() / "corpus"
    with CorpusWriter(folder) as writer:
        for k in range(2):
            writer.add(
                Clip(
                    id=f"clip{k}",
                    audio=np.zeros(1600, np.float32),
                    coefficients=np.zeros((3, COUNT), np.float32),
                    actor=k,
                    emotion="happy",
                    phones=(("SIL", 0.0, 0.1),),
                    source="toy",
                )
            )
    return folder


def take_manifest(case: tuple[str, Any]) -> None:
    """A corpus with a damaged manifest: a CorpusError, or clips that make sense."""
    from emotalk_ros.corpus.store import Corpus, CorpusError

    lines = [json.loads(line) for line in (_corpus() / "manifest.jsonl").read_text().splitlines()]
    kind, how = case
    if kind == "changed":
        text = "\n".join(json.dumps(row) for row in _rows(changed(lines, how))).encode()
    elif kind == "bytes":
        text = damaged((_corpus() / "manifest.jsonl").read_bytes(), how)
    else:
        text = str(how).encode("utf-8", "surrogatepass")
    folder = scratch() / "case_corpus"
    if not folder.exists():
        shutil.copytree(_corpus(), folder)
    (folder / "manifest.jsonl").write_bytes(text)
    corpus = _refusable(CorpusError, Corpus.open, folder)
    if corpus is not None:
        for k in range(len(corpus)):
            clip = _refusable(CorpusError, corpus.__getitem__, k)
            if clip is not None:
                finite(clip.coefficients)
                finite([clip.fps, clip.level])
                assert clip.fps > 0 and 0 <= clip.level <= 1


def _rows(tree: Any) -> list[Any]:
    return tree if isinstance(tree, list) else [tree]


# -- networks ----------------------------------------------------------------------------------------------------------


@cache
def _network() -> Path:
    import torch
    from saved_model import save_model

    torch.set_num_threads(1)
    return save_model(scratch() / "network")


def take_network(case: tuple[str, list[tuple[str, int, bytes]], list[tuple[str, int, Any]]]) -> None:
    """A model folder with damaged weights or configuration: a CheckpointError, or finite coefficients."""
    from emotalk_ros.model import CheckpointError, ModelNotFoundError, load_model

    part, edits, changes = case
    folder = scratch() / "case_network"
    if not folder.exists():
        shutil.copytree(_network(), folder)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((_network() / name).read_bytes())
    config, weights = folder / "config.json", folder / "model.safetensors"
    data = weights.read_bytes()
    if part == "config":
        config.write_text(json.dumps(changed(json.loads(config.read_text()), changes)))
    elif part == "config bytes":
        config.write_bytes(damaged(config.read_bytes(), edits))
    elif part == "head":
        size = 8 + int.from_bytes(data[:8], "little")
        weights.write_bytes(damaged(data[:size], edits) + data[size:])
    else:
        weights.write_bytes(damaged(data, edits))
    model = _refusable((CheckpointError, ModelNotFoundError), load_model, folder)
    if model is not None and part == "config":
        assert sum(p.numel() for p in model.parameters()) < 50e6


# -- avatars -----------------------------------------------------------------------------------------------------------


@cache
def _avatar() -> bytes:
    from emotalk_ros.face import default_face
    from emotalk_ros.face.gltf_writer import default_surfaces, glb_bytes

    return glb_bytes(default_face(), default_surfaces())


def take_avatar(case: tuple[bool, list[tuple[str, int, bytes]], list[tuple[str, int, Any]]]) -> None:
    """A GLB: a BasisError, or a face; and the check of the live page: an AvatarError, or none."""
    from emotalk_ros.face.basis import BasisError
    from emotalk_ros.face.readers import read_basis
    from emotalk_ros.live.avatar import AvatarError, check_avatar

    in_tree, edits, changes = case
    data = _avatar()
    size = int.from_bytes(data[12:16], "little")
    if in_tree:
        text = json.dumps(changed(json.loads(data[20 : 20 + size]), changes)).encode()
        text += b" " * (-len(text) % 4)
        rest = data[20 + size :]
        head = b"glTF" + (2).to_bytes(4, "little") + (20 + len(text) + len(rest)).to_bytes(4, "little")
        data = head + len(text).to_bytes(4, "little") + b"JSON" + text + rest
    else:
        data = damaged(data[: 20 + size], edits) + data[20 + size :]
    path = write("avatar.glb", data)
    _refusable(AvatarError, check_avatar, path)
    basis = _refusable(BasisError, read_basis, path)
    if basis is not None:
        finite(basis.template)
        finite(basis.vertices(np.full((1, COUNT), 0.5, np.float32)))


TARGETS: dict[str, Target] = {
    "audio messages": Target(_AUDIO, take_audio, 25_000),
    "emotion commands": Target(_COMMANDS, take_command, 10_000),
    "packets": Target(st.tuples(st.integers(0, 2), EDITS), take_packet, 15_000),
    "page controls": Target(_CONTROLS, take_controls, 8_000),
    "sound files": Target(st.tuples(st.integers(0, len(_SOUNDS) - 1), EDITS, st.booleans()), take_sound, 12_000),
    "bags": Target(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["storage", "bytes", "metadata", "both", "alone"]), EDITS, CHANGES
        ),
        take_bag,
        5_000,
    ),
    "motion files": Target(
        st.tuples(
            st.sampled_from([".csv", ".take.csv", ".json", ".npz", ".npy"]),
            EDITS,
            _CELLS,
            st.one_of(st.just([]), CHANGES),
        ),
        take_motion,
        9_000,
    ),
    "recipes": Target(_SETTINGS, take_recipe, 4_000),
    "servo maps": Target(_SETTINGS, take_servo_map, 5_000),
    "mappings": Target(_SETTINGS, take_mapping, 4_000),
    "manifests": Target(_SETTINGS, take_manifest, 1_500),
    "networks": Target(
        st.tuples(st.sampled_from(["config", "config", "config bytes", "head", "weights"]), EDITS, CHANGES),
        take_network,
        1_000,
    ),
    "avatars": Target(st.tuples(st.booleans(), EDITS, CHANGES), take_avatar, 500),
}
"""100 000 cases in all."""
