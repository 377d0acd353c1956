"""One storage file of a rosbag2 recording, read as far as it can be read.

Whole files are read by `rosbags`. A recorder that was killed leaves others behind: MCAP without footer or with half a
chunk, SQLite with a write-ahead log beside it or cut short, zstd streams that end early. For those this module walks
the records (MCAP) or rows (SQLite) one by one until nothing more comes. `problems` says what was wrong, and which
chunks of an MCAP were left out because their content does not fit their checksum.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

from rosbags.interfaces import Connection, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import Reader

from emotalk_ros.units import NS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\x00"
STORAGE_SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
"""Endings of the files that rosbag2 writes."""


class BagError(ValueError):
    """Nothing could be read, and why."""


class BagMessage(NamedTuple):
    """One recorded message: `log_ns` is when the recorder received it, `data` its CDR bytes (never compressed)."""

    topic: str
    msgtype: str
    log_ns: int
    data: bytes


@dataclass
class BagTopic:
    """A topic of a bag: its type, how many messages could be counted, and the recorded definition (may be empty)."""

    name: str
    msgtype: str
    count: int = 0
    definition: str = ""
    idl: bool = False
    digest: str = ""
    qos: tuple[Qos, ...] = field(default=(), repr=False)


def _from_connection(connection: Connection) -> BagTopic:
    definition = connection.msgdef
    return BagTopic(
        name=connection.topic,
        msgtype=connection.msgtype,
        count=connection.msgcount,
        definition=definition.data,
        idl=definition.format == MessageDefinitionFormat.IDL,
        digest=connection.digest,
        qos=tuple(getattr(connection.ext, "offered_qos_profiles", ())),
    )


MOST_UNPACKED = 256 << 20
"""Largest message or chunk once it is unpacked, bytes: a few kB of zstd can stand for many GiB."""


def _plain(data: bytes | memoryview) -> bytes:
    """The message without rosbag2's per-message compression; CDR itself starts with 00 00 or 00 01."""
    raw = bytes(data)
    return _unpacked(zstd.ZstdDecompressor(), raw, MOST_UNPACKED) if raw.startswith(ZSTD_MAGIC) else raw


def _unpacked(decompressor: Any, body: bytes, most: int) -> bytes:
    """Raises BagError for more than `most` bytes, before they are made."""
    content = bytes(decompressor.decompress(body, max_length=most + 1))
    if len(content) > most:
        raise BagError(f"{len(body)} bytes unpack to more than {most}")
    return content


def _is_time(log_ns: object) -> bool:
    """Whether a log time is one: nanoseconds of the last or the next centuries."""
    return isinstance(log_ns, int) and 0 <= log_ns < 1 << 63


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text or type(error).__name__


class StorageFile:
    """A storage file: `topics`, `messages()`, and `problems` in words. Opening raises BagError when it holds nothing.

    Args:
        path: the file; a `.zstd` ending is taken off into `scratch` first.
        scratch: a folder for decompressed and recovered copies; the recording itself is never written to.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.name = path.name
        self.problems: list[str] = []
        self.topics: dict[str, BagTopic] = {}
        self._salvage = False
        self._path = self._prepared(path, scratch)
        try:
            with Reader(self._path) as reader:
                self.topics = _gather([_from_connection(c) for c in reader.connections])
            if self._path.suffix == ".mcap":
                self._salvage = _is_damaged_mcap(self._path)  # what is left out is said while the messages are read
        except Exception as error:  # rosbags lets struct, sqlite and type errors through on damaged files
            self._salvage = True
            self.problems.append(f"{self.name}: damaged or unfinished ({_reason(error)}); read record by record")
            self._count_by_salvage(error)

    def _prepared(self, path: Path, scratch: Path) -> Path:
        """A plain file that rosbags can open: decompressed, and with SQLite's journal applied to a copy."""
        if not path.stat().st_size:
            raise BagError(f"{self.name} is empty (0 bytes)")
        if path.suffix == ".zstd":
            path = self._decompressed(path, scratch / path.stem)
        logs = [side for ending in ("-wal", "-journal") if (side := Path(f"{path}{ending}")).exists()]
        if path.suffix == ".db3" and any(side.stat().st_size for side in logs):
            path = self._recovered(path, logs, scratch)
        with path.open("rb") as file:
            head = file.read(16)
        known = head.startswith(MCAP_MAGIC) or head.startswith(SQLITE_MAGIC)
        if not known:
            kind = "a ROS 1 bag (convert it with rosbags-convert)" if head.startswith(b"#ROSBAG") else "unknown data"
            raise BagError(f"{self.name} is neither MCAP nor SQLite: {kind}, it begins with {head[:8]!r}")
        return self._padded(path, scratch) if head.startswith(SQLITE_MAGIC) else path

    def _padded(self, path: Path, scratch: Path) -> Path:
        """SQLite refuses a file shorter than its header promises, whole pages and all: a copy with the rest empty."""
        with path.open("rb") as file:
            header = file.read(32)
        if len(header) < 32:
            return path
        size = {1: 65536}.get(page := int.from_bytes(header[16:18], "big"), page)
        promised, present = size * int.from_bytes(header[28:32], "big"), path.stat().st_size
        if present >= promised:
            return path
        self.problems.append(f"{self.name}: cut short, {present} of {promised} bytes")
        copy = scratch / f"padded_{path.name}"
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            file.truncate(promised)
        return copy

    def _decompressed(self, path: Path, target: Path) -> Path:
        with target.open("wb") as out, zstd.open(path, "rb") as source:
            most = (64 << 20) + 1000 * path.stat().st_size
            try:
                while block := source.read(1 << 16):
                    out.write(block)
                    if out.tell() > most:
                        self.problems.append(
                            f"{self.name}: it unpacks to more than 1000 times its size; the rest is left"
                        )
                        break
            except (EOFError, zstd.ZstdError) as error:
                self.problems.append(f"{self.name}: the compressed file ends early ({_reason(error)})")
        if not target.stat().st_size:
            raise BagError(f"{self.name}: nothing could be decompressed")
        return target

    def _recovered(self, path: Path, logs: list[Path], scratch: Path) -> Path:
        """A copy with the messages that still sit in SQLite's write-ahead log or a rolled-back journal."""
        copy = scratch / path.name
        if copy != path:
            shutil.copyfile(path, copy)
        for log in logs:
            shutil.copyfile(log, f"{copy}{log.name[len(path.name) :]}")
        self.problems.append(f"{self.name}: the recorder did not close it ({logs[0].name} is left); recovered a copy")
        try:
            with sqlite3.connect(copy) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                database.execute("PRAGMA journal_mode=DELETE")
            database.close()
        except sqlite3.Error as error:
            self.problems.append(f"{self.name}: its log could not be applied ({_reason(error)})")
        return copy

    def _count_by_salvage(self, error: BaseException) -> None:
        counts: Counter[str] = Counter(message.topic for message in self._walk(None))
        for name, topic in self.topics.items():
            topic.count = counts[name]
        if not counts:
            names = ", ".join(self.topics) or "none"
            raise BagError(f"{self.name}: no message could be read ({_reason(error)}); topics named in it: {names}")

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages of `topics` (all when None) in the order of their log times, as far as the file is readable."""
        last = -1
        if not self._salvage:
            try:
                for message in self._whole(topics):
                    yield message
                    last = message.log_ns
                return
            except Exception as error:  # a damaged chunk or page in the middle of an otherwise whole file
                self._note(f"{self.name}: damaged after {last / 1e9:.3f} s ({_reason(error)}); read record by record")
        yield from (message for message in self._salvaged(topics) if message.log_ns > last)

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _whole(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        with Reader(self._path) as reader:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if wanted:
                for connection, log_ns, data in reader.messages(wanted):
                    if not _is_time(log_ns):
                        raise BagError(f"a message of {connection.topic} has the time {log_ns!r}")
                    yield BagMessage(connection.topic, connection.msgtype, log_ns, _plain(data))

    def _salvaged(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        yield from sorted(self._walk(topics), key=lambda message: message.log_ns)

    def _left_out(self, topic: str, why: object) -> None:
        self._note(f"{self.name}: messages of {topic} were left out: {why}")

    def _walk(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        if self._path.suffix == ".mcap":
            return _walk_mcap(self._path, self.topics, topics, lambda text: self._note(f"{self.name}: {text}"))
        return _walk_sqlite(self._path, self.topics, topics, self._left_out)


def _gather(topics: list[BagTopic]) -> dict[str, BagTopic]:
    """One entry a topic; several publishers with different QoS make several connections of one topic."""
    gathered: dict[str, BagTopic] = {}
    for topic in topics:
        if topic.name in gathered:
            gathered[topic.name].count += topic.count
        else:
            gathered[topic.name] = topic
    return gathered


# --- MCAP, record by record (https://mcap.dev/spec): opcode u8, length u64, content ---------------------------------


def _records(stream: IO[bytes], size: int) -> Iterator[tuple[int, bytes, int]]:
    """(opcode, content, stated length) of whole records until the stream ends; a chunk may be cut."""
    while len(head := stream.read(9)) == 9:
        opcode, length = struct.unpack("<BQ", head)
        if opcode == 0:  # none has it: zeros, which would be walked nine bytes at a time
            return
        content = stream.read(min(length, size))
        if len(content) == length or opcode == 0x06:
            yield opcode, content, length


def _chunk_records(content: bytes, length: int, skipped: Callable[[str], None]) -> bytes:
    """The records in a chunk, as many as its bytes give; none of a whole chunk that its checksum contradicts.

    Args:
        content: the bytes of the chunk record that are there.
        length: how many there should be.
        skipped: told of a chunk that is left out.
    """
    start_ns, end_ns, size, checksum, name_length = struct.unpack_from("<QQQII", content)
    compression = content[32 : 32 + name_length].decode()
    body = content[32 + name_length + 8 :]
    try:
        records = _decompressed(body, compression, min(size, MOST_UNPACKED))
    except (zstd.ZstdError, RuntimeError, EOFError, BagError) as error:
        records = b""
        damage = _reason(error)
    else:
        damage = "its checksum does not fit" if checksum and zlib.crc32(records) != checksum else ""
    if damage and len(content) == length:
        span = f"{start_ns / NS:.3f} to {end_ns / NS:.3f} s, {size} bytes"
        skipped(f"a damaged chunk was left out ({span}): {damage}")
        return b""
    return records


def _is_damaged_mcap(path: Path) -> bool:
    """Whether a chunk contradicts its checksum or unpacks too far: rosbags checks neither."""
    damages: list[str] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(MCAP_MAGIC))
        while not damages and len(head := file.read(9)) == 9:
            opcode, length = struct.unpack("<BQ", head)
            if opcode == 0x06:
                content = file.read(min(length, size))
                if len(content) > 40:
                    _chunk_records(content, length, damages.append)
            else:
                file.seek(min(length, size), 1)
    return bool(damages)


def _decompressed(body: bytes, compression: str, most: int) -> bytes:
    """`body`, which may end early, without its compression. Raises BagError for more than `most` bytes."""
    if not compression:
        return body
    if compression == "zstd":
        return _unpacked(zstd.ZstdDecompressor(), body, most)
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return _unpacked(LZ4FrameDecompressor(), body, most)
    raise BagError(f"unknown chunk compression {compression!r}")


def _walk_mcap(
    path: Path, topics: dict[str, BagTopic], wanted: Collection[str] | None, skipped: Callable[[str], None]
) -> Iterator[BagMessage]:
    from mcap.data_stream import ReadDataStream
    from mcap.exceptions import McapError
    from mcap.records import Channel, Schema

    schemas: dict[int, Schema] = {}
    channels: dict[int, BagTopic] = {}

    def walk(stream: IO[bytes], size: int) -> Iterator[BagMessage]:
        for opcode, content, length in _records(stream, size):
            if opcode == 0x03:
                schema = Schema.read(ReadDataStream(BytesIO(content)))
                schemas[schema.id] = schema
            elif opcode == 0x04:
                channel = Channel.read(ReadDataStream(BytesIO(content)))
                known = schemas.get(channel.schema_id)
                topic = BagTopic(channel.topic, known.name if known else "")
                if known:
                    topic.definition, topic.idl = known.data.decode(), known.encoding != "ros2msg"
                channels[channel.id] = topics.setdefault(topic.name, topic)
            elif opcode == 0x05 and len(content) > 22:
                channel_id, _, log_ns, _ = struct.unpack_from("<HIQQ", content)
                here = channels.get(channel_id)
                if here and (wanted is None or here.name in wanted) and _is_time(log_ns):
                    yield BagMessage(here.name, here.msgtype, log_ns, _plain(content[22:]))
            elif opcode == 0x06 and len(content) > 40:
                inner = _chunk_records(content, length, skipped)
                yield from walk(BytesIO(inner), len(inner))

    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(MCAP_MAGIC))
        try:
            yield from walk(file, size)
        except (struct.error, zstd.ZstdError, McapError, EOFError, KeyError, ValueError):
            return  # a record cut in its middle: nothing lies behind it


# --- SQLite, row by row ----------------------------------------------------------------------------------------------


def _walk_sqlite(
    path: Path,
    topics: dict[str, BagTopic],
    wanted: Collection[str] | None,
    left_out: Callable[[str, object], None],
) -> Iterator[BagMessage]:
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        database.text_factory = lambda raw: raw.decode(errors="replace")  # a damaged name is still a name
        rows = database.execute("SELECT id, name, type FROM topics").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):  # the second where SQLite's own message quotes damaged text
        return
    known = {
        key: topics.setdefault(name, BagTopic(name, msgtype))
        for key, name, msgtype in rows
        if isinstance(name, str) and isinstance(msgtype, str)
    }
    try:
        yield from _sqlite_rows(database, known, wanted, left_out)
    finally:
        database.close()


def _sqlite_rows(
    database: sqlite3.Connection,
    known: dict[int, BagTopic],
    wanted: Collection[str] | None,
    left_out: Callable[[str, object], None],
) -> Iterator[BagMessage]:
    query = "SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED WHERE id > ? ORDER BY id"
    last, step = 0, 1
    while step < 1 << 20:  # behind a damaged page there may be whole ones: try further and further on
        try:
            for row, topic_id, log_ns, data in database.execute(query, (last,)):
                if row <= last:  # a damaged tree that leads back: go on behind it
                    raise sqlite3.DatabaseError("rows out of order")
                last, step = row, 1
                topic = known.get(topic_id)
                if not topic or data is None or not (wanted is None or topic.name in wanted):
                    continue
                if not _is_time(log_ns) or not isinstance(data, bytes):
                    fault = f"the time {log_ns!r}" if not _is_time(log_ns) else "text where bytes are expected"
                    left_out(topic.name, fault)
                    continue
                try:
                    message = BagMessage(topic.name, topic.msgtype, log_ns, _plain(data))
                except (BagError, zstd.ZstdError, EOFError) as error:
                    left_out(topic.name, _reason(error))
                    continue
                yield message
            return
        except (sqlite3.Error, UnicodeDecodeError):
            last, step = last + step, step * 2
