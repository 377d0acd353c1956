"""Bags that lie: each is read as far as it goes, says what it left out, and takes no more memory than it should."""

import resource
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
from bag_writing import audio_messages, write_bag

from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags.bag import BagError, open_bag
from emotalk_ros.bags.messages import package_types, type_description
from emotalk_ros.bags.storage import zstd
from emotalk_ros.bags.tracks import find_audio, read_audio
from emotalk_ros.bags.writing import BagWriter


def audio_bag(path: Path, seconds: float = 1.0, **options: str) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 16000)).astype(np.float32)
    return write_bag(path, {"/audio": (AUDIO_CHUNK, audio_messages(samples))}, **options)


def heard(path: Path) -> tuple[int, str]:
    """How many chunks were read, and the problems."""
    with open_bag(path) as bag:
        return len(read_audio(bag, find_audio(bag)).chunks), "; ".join(bag.problems)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_a_truncated_db3_is_read_as_far_as_it_goes_or_refused_in_words(tmp_path: Path, share: float) -> None:
    path = audio_bag(tmp_path / "bag", 4.0, storage="sqlite3") / "bag.db3"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        count, problems = heard(path.parent)
    except BagError as error:
        assert "bag.db3" in str(error)
    else:
        assert 0 < count < 200 and "bag.db3" in problems


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("timestamp", "'yesterday'", "the time 'yesterday'"),
        ("timestamp", "-5", "the time -5"),
        ("timestamp", "1.5", "the time 1.5"),
        ("data", "'text'", "text where bytes are expected"),
    ],
)
def test_rows_with_odd_values_are_left_out_and_said(tmp_path: Path, column: str, value: str, said: str) -> None:
    path = audio_bag(tmp_path / "bag", storage="sqlite3")
    with sqlite3.connect(path / "bag.db3") as database:
        database.execute(f"UPDATE messages SET {column} = {value} WHERE id % 5 = 0")
    count, problems = heard(path)
    assert count == 40 and said in problems and "/audio" in problems


@pytest.mark.parametrize(
    "content",
    [
        "",
        "5",
        "rosbag2_bagfile_information: 7",
        "rosbag2_bagfile_information: {relative_file_paths: 5}",
        "rosbag2_bagfile_information: {relative_file_paths: [1, {a: b}]}",
        "rosbag2_bagfile_information: {topics_with_message_count: {a: 1}}",
        "rosbag2_bagfile_information: {topics_with_message_count: [7]}",
        "rosbag2_bagfile_information: &a [*a]",
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]",
        "[" * 5000,
        "{unclosed: [",
    ],
    ids=range(11),
)
def test_odd_metadata_is_said_and_the_files_are_read(tmp_path: Path, content: str) -> None:
    path = audio_bag(tmp_path / "bag")
    (path / "metadata.yaml").write_text(content)
    count, problems = heard(path)
    assert count == 50 and "metadata.yaml can't be understood" in problems


def chunk(records: bytes, stated: int, checksum: int) -> bytes:
    body = struct.pack("<QQQII", 0, 1, stated, checksum, 4) + b"zstd" + struct.pack("<Q", len(records)) + records
    return struct.pack("<BQ", 6, len(body)) + body


@pytest.mark.parametrize("stated", [1 << 30, 1 << 20, 1 << 62])
def test_a_chunk_that_unpacks_to_a_gigabyte_takes_no_gigabyte(tmp_path: Path, stated: int) -> None:
    path = audio_bag(tmp_path / "bag")
    bomb = zstd.compress(bytes(1 << 20)) * 1024  # frames one behind the other
    file = path / "bag.mcap"
    data = file.read_bytes()
    file.write_bytes(data[:8] + chunk(bomb, stated, 0) + chunk(zstd.compress(bytes(1 << 28)), stated, 0) + data[8:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, problems = heard(path)
    assert count == 50 and "damaged" in problems
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # kB


def test_a_message_that_unpacks_to_a_gigabyte_is_left_out(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag", storage="sqlite3")
    with sqlite3.connect(path / "bag.db3") as database:
        bomb = zstd.compress(bytes((256 << 20) + 1))
        assert len(bomb) < 100_000
        database.execute("UPDATE messages SET data = ? WHERE id = 7", (bomb,))
    count, problems = heard(path)
    assert count == 49 and "unpack to more than" in problems


def recorded(path: Path, seconds: float = 20.0) -> Path:
    """A bag as the recorder writes it."""
    store = package_types()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 16000)).astype(np.float32)
    with BagWriter(path) as writer:
        writer.add_topic("/audio", AUDIO_CHUNK, *type_description(store, AUDIO_CHUNK))
        for log_ns, message in audio_messages(samples):
            writer.write("/audio", log_ns, store.serialize_cdr(message, AUDIO_CHUNK))
    return path


def test_recorded_bags_carry_checksums_and_a_flipped_bit_is_said(tmp_path: Path) -> None:
    path = recorded(tmp_path / "bag")
    file = path / "bag.mcap"
    data = bytearray(file.read_bytes())
    place, chunks = 8, []
    while place < len(data) - 20:
        opcode, length = struct.unpack_from("<BQ", data, place)
        if opcode == 6:
            (checksum,) = struct.unpack_from("<I", data, place + 9 + 24)
            assert checksum
            chunks.append((place, length))
        place += 9 + length
    assert chunks and heard(path)[0] == 1000
    assert heard(path)[1] == ""
    data[chunks[0][0] + 2000] ^= 4  # a bit of sound
    file.write_bytes(bytes(data))
    count, problems = heard(path) if len(chunks) > 1 else (0, "")
    if len(chunks) > 1:
        assert 0 < count < 1000 and "a damaged chunk was left out" in problems and "checksum" in problems
    else:
        with pytest.raises(BagError, match="checksum"):
            heard(path)
