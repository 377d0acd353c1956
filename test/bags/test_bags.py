"""Bags of every storage and compression, and what is left of damaged ones."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from bag_writing import START_NS, audio_messages, speech_like, write_bag

from emotalk_ros.audio.messages import AUDIO_CHUNK, from_time
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import BagError, open_bag
from emotalk_ros.bags.writing import Result, write_merged

SECONDS = 0.5


def audio_bag(path: Path, seconds: float = SECONDS, **options: str) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 16000)).astype(np.float32)
    return write_bag(path, {"/audio": (AUDIO_CHUNK, audio_messages(samples))}, **options)


def contents(path: Path) -> tuple[list[int], list[str]]:
    with open_bag(path) as bag:
        topic = bag.topics["/audio"]
        messages = [(m, bag.decoder.decode(topic, m)) for m in bag.messages({"/audio"})]
        stamps = [from_time(decoded.header.stamp) for _, decoded in messages]
        assert all(decoded.encoding == "s16le" for _, decoded in messages)
        return stamps, bag.problems


@pytest.mark.parametrize(
    ("storage", "compression"),
    [(s, c) for s in ("mcap", "sqlite3") for c in ("none", "file", "message")] + [("mcap", "storage")],
)
def test_whole_bags_of_every_storage_and_compression(tmp_path: Path, storage: str, compression: str) -> None:
    path = audio_bag(tmp_path / "bag", storage=storage, compression=compression)
    stamps, problems = contents(path)
    assert stamps == [START_NS + n * 20_000_000 for n in range(25)]
    assert problems == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "file", "message"])
def test_missing_metadata_is_named_and_the_rest_is_read(tmp_path: Path, storage: str, compression: str) -> None:
    path = audio_bag(tmp_path / "bag", storage=storage, compression=compression)
    (path / "metadata.yaml").unlink()
    stamps, problems = contents(path)
    assert len(stamps) == 25
    assert len(problems) == 1 and "metadata.yaml is missing" in problems[0]


def test_storage_file_alone(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag")
    stamps, problems = contents(path / "bag.mcap")
    assert len(stamps) == 25 and problems == []


@pytest.mark.parametrize("keep", [0.6, 0.9, 0.999])
@pytest.mark.parametrize("compression", ["none", "storage"])
def test_mcap_cut_short_gives_what_lies_before_the_cut(tmp_path: Path, keep: float, compression: str) -> None:
    path = audio_bag(tmp_path / "bag", seconds=30.0, compression=compression)
    file = path / "bag.mcap"
    data = file.read_bytes()
    file.write_bytes(data[: round(len(data) * keep)])
    stamps, problems = contents(path)
    assert 0.4 * keep * 1500 < len(stamps) <= 1500
    assert stamps == [START_NS + n * 20_000_000 for n in range(len(stamps))]
    assert any("damaged or unfinished" in problem for problem in problems)
    if len(stamps) < 1500:
        assert any(f"promises 1500 messages, {len(stamps)} are there" in problem for problem in problems)


def test_mcap_without_footer_and_metadata(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag")
    (path / "metadata.yaml").unlink()
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-37])
    stamps, problems = contents(path)
    assert len(stamps) == 25
    assert len(problems) == 2


def test_sqlite_cut_short(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag", seconds=10.0, storage="sqlite3")
    file = path / "bag.db3"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with open_bag(path) as bag:
        readable = []
        for message in bag.messages({"/audio"}):
            try:
                readable.append(bag.decoder.decode(bag.topics["/audio"], message))
            except types.MessageError:
                continue  # the rows on the page of the cut
        problems = bag.problems
    assert 100 < len(readable) < 500
    assert any("damaged" in problem for problem in problems)


def test_sqlite_damaged_in_the_middle(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag", seconds=10.0, storage="sqlite3")
    file = path / "bag.db3"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    file.write_bytes(bytes(data))
    stamps, problems = contents(path)
    assert 400 < len(stamps) < 500  # pages behind the damaged one are still read
    assert problems


def test_write_ahead_log_is_not_lost(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag", storage="sqlite3")
    source = path / "bag.db3"
    database = sqlite3.connect(source)
    database.execute("PRAGMA journal_mode=WAL")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
    database.commit()
    half_written = tmp_path / "half"
    shutil.copytree(path, half_written)  # while the writer still holds its log
    database.close()
    (half_written / "metadata.yaml").unlink()
    before = (half_written / "bag.db3").read_bytes()
    stamps, problems = contents(half_written)
    assert len(stamps) == 50
    assert any("did not close it" in problem for problem in problems)
    assert (half_written / "bag.db3").read_bytes() == before  # the recording itself is never written to


def test_compressed_file_cut_short(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag", seconds=20.0, compression="file")
    file = path / "bag.mcap.zstd"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    stamps, problems = contents(path)
    assert 0 < len(stamps) < 1000
    assert any("ends early" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.mcap", b"", "is empty"),
        ("a.db3", b"hello world, not a database", "neither MCAP nor SQLite"),
        ("a.mcap", b"#ROSBAG V2.0\n", "ROS 1 bag"),
        ("a.mcap", b"\x89MCAP0\r\n", "no message could be read"),
        ("a.mcap", b"\x89MCAP0\r\n" + bytes(40), "no message could be read"),
        ("a.mcap.zstd", b"\x28\xb5\x2f\xfd\x00", "nothing could be decompressed"),
    ],
)
def test_foreign_and_empty_files_say_so(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(BagError, match=expected):
            open_bag(path)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="does not exist"):
        open_bag(tmp_path / "nowhere")
    with pytest.raises(BagError, match=r"no \.mcap or \.db3"):
        open_bag(tmp_path)


def test_one_of_two_files_missing(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag")
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text.replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap", 1))
    stamps, problems = contents(path)
    assert len(stamps) == 25
    assert any("bag_1.mcap" in problem for problem in problems)


def test_nonsense_metadata(tmp_path: Path) -> None:
    path = audio_bag(tmp_path / "bag")
    (path / "metadata.yaml").write_text("- [unclosed")
    stamps, problems = contents(path)
    assert len(stamps) == 25
    assert any("can't be understood" in problem for problem in problems)


def test_merged_bag_keeps_everything_on_one_clock(tmp_path: Path) -> None:
    samples = speech_like(0.2)
    store = types.package_types()
    clock = store.types["builtin_interfaces/msg/Time"]
    source = write_bag(
        tmp_path / "bag",
        {
            "/audio": (AUDIO_CHUNK, audio_messages(samples)),
            "/clock": ("builtin_interfaces/msg/Time", [(START_NS, clock(sec=1, nanosec=2))]),
        },
        storage="sqlite3",
        compression="message",
    )
    added = Result("/replay/stamp", "builtin_interfaces/msg/Time", START_NS + 5, clock(sec=3, nanosec=4))
    with open_bag(source) as bag:
        written = write_merged(bag, [added], tmp_path / "merged")
        original = {(m.topic, m.log_ns, m.data) for m in bag.messages()}
    assert written == len(original) + 1
    with open_bag(tmp_path / "merged") as merged:
        assert merged.problems == []
        found = {(m.topic, m.log_ns, m.data) for m in merged.messages()}
        assert original < found
        new = list(merged.messages({"/replay/stamp"}))
        assert merged.decoder.decode(merged.topics["/replay/stamp"], new[0]).nanosec == 4
        assert new[0].log_ns == START_NS + 5
    with open_bag(tmp_path / "merged") as bag, pytest.raises(FileExistsError, match="exists"):
        write_merged(bag, [], tmp_path / "merged")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "merged"]  # nothing half-written left behind


def test_a_merged_bag_takes_the_place_of_an_older_bag_only(tmp_path: Path) -> None:
    with open_bag(audio_bag(tmp_path / "bag", seconds=0.1)) as bag:
        write_merged(bag, [], tmp_path / "merged")
        (tmp_path / "merged" / "old").touch()
        write_merged(bag, [], tmp_path / "merged", overwrite=True)
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "precious.txt").touch()
        with pytest.raises(FileExistsError, match="letters exists and is no rosbag2 folder; not replaced"):
            write_merged(bag, [], tmp_path / "letters", overwrite=True)
    assert sorted(p.name for p in (tmp_path / "merged").iterdir()) == ["merged.mcap", "metadata.yaml"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "letters", "merged"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_whatever_is_damaged_ends_in_words(tmp_path: Path, storage: str) -> None:
    path = audio_bag(tmp_path / "bag", seconds=3.0, storage=storage)
    file = next(p for p in path.iterdir() if p.name != "metadata.yaml")
    whole = file.read_bytes()
    rng = np.random.default_rng(4)
    outcomes = {"read": 0, "refused": 0}
    for trial in range(24):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: rng.integers(0, len(data))]
        elif trial % 3 == 1:
            for place in rng.integers(0, len(data), 12):
                data[place] = rng.integers(0, 256)
        else:
            start = int(rng.integers(0, len(data)))
            data[start : start + 3000] = bytes(len(data[start : start + 3000]))
        file.write_bytes(bytes(data))
        try:
            with open_bag(path) as bag:
                count = sum(1 for _ in bag.messages())
            assert count <= 150
            assert count == 150 or bag.problems
            outcomes["read"] += 1
        except BagError as error:
            assert file.name in str(error)
            outcomes["refused"] += 1
    assert outcomes["read"] > 0
