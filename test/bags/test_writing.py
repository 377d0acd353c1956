"""The writer of bags: hidden until complete, what it may replace, and checksums that tell a flipped bit."""

from pathlib import Path

import pytest
from mcap.reader import make_reader

from emotalk_ros.bags.bag import open_bag
from emotalk_ros.bags.messages import installed_types, type_description
from emotalk_ros.bags.writing import BagWriter

EMPTY_TIME = bytes([0, 1, 0, 0] + 8 * [0])
TIME = "builtin_interfaces/msg/Time"
STRING = "std_msgs/msg/String"


def record(path: Path, count: int, **options: object) -> BagWriter:
    writer = BagWriter(path, **options)  # type: ignore[arg-type]
    writer.add_topic("/clock", TIME, *type_description(installed_types(TIME), TIME))
    for n in range(count):
        writer.write("/clock", n, EMPTY_TIME)
    return writer


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_appears_whole_and_replaces_only_a_bag_and_only_if_told(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "deep" / "bag"
    writer = record(path, 3, storage=storage)
    assert not path.exists()
    writer.close()
    with pytest.raises(FileExistsError, match="set overwrite"):
        BagWriter(path)
    writer = record(path, 5, overwrite=True)
    with open_bag(path) as old:
        assert len(list(old.messages())) == 3
    writer.close()
    with open_bag(path) as new:
        assert len(list(new.messages())) == 5 and new.problems == []
    assert [p.name for p in path.parent.iterdir()] == ["bag"]
    with pytest.raises(FileExistsError, match="no rosbag2 folder"):
        BagWriter(path.parent, overwrite=True)


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), record(tmp_path / "bag", 3):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def text_bag(path: Path) -> Path:
    """Three chunks of a mebibyte: messages 0 to 2, 3 to 5, 6 to 8, each full of its own digit."""
    with BagWriter(path) as writer:
        writer.add_topic("/text", STRING, *type_description(installed_types(STRING), STRING))
        for n in range(9):
            text = str(n).encode() * 400_000 + b"\0"
            writer.write("/text", n * 1_000_000_000, bytes([0, 1, 0, 0]) + len(text).to_bytes(4, "little") + text)
    return path / f"{path.name}.mcap"


def test_chunks_carry_checksums_that_mcap_s_own_reader_confirms(tmp_path: Path) -> None:
    with text_bag(tmp_path / "bag").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert [message.log_time for _, _, message in reader.iter_messages()] == [n * 1_000_000_000 for n in range(9)]
        summary = reader.get_summary()
    assert summary is not None and len(summary.chunk_indexes) == 3


def test_a_flipped_bit_costs_its_chunk_and_is_told(tmp_path: Path) -> None:
    file = text_bag(tmp_path / "bag")
    data = bytearray(file.read_bytes())
    data[data.index(b"4444") + 1000] ^= 1
    file.write_bytes(bytes(data))
    with open_bag(file.parent) as bag:
        found = [message.log_ns // 1_000_000_000 for message in bag.messages()]
        problems = bag.problems
    assert found == [0, 1, 2, 6, 7, 8]
    assert any("a damaged chunk was left out (3.000 to 5.000 s" in problem for problem in problems)
    assert any("9 messages are counted, 6 could be read" in problem for problem in problems)
