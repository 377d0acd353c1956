"""The one writer of rosbag2 recordings: hidden until complete, MCAP with checksums, or SQLite."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType
from mcap.writer import Writer as McapFile
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

from emotalk_ros.bags.bag import Bag
from emotalk_ros.bags.messages import package_types, type_description
from emotalk_ros.bags.storage import STORAGE_SUFFIXES
from emotalk_ros.files import replace_folder


class _CheckedMcap:
    """MCAP storage for rosbags' writer, by mcap's own: chunks carry a checksum of their content."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        self.path = path / f"{path.name}.mcap"
        self._file = self.path.open("xb")
        packed = CompressionType.ZSTD if compression == CompressionMode.STORAGE else CompressionType.NONE
        self._writer = McapFile(self._file, compression=packed, enable_crcs=True)
        self._writer.start(profile="ros2", library="emotalk_ros")
        self._schemas: dict[str, int] = {}
        self._channels: dict[int, int] = {}

    def add_msgtype(self, connection: Connection) -> None:
        """Write the definition of a message type."""
        encoding = "ros2msg" if connection.msgdef.format == MessageDefinitionFormat.MSG else "ros2idl"
        self._schemas[connection.msgtype] = self._writer.register_schema(
            connection.msgtype, encoding, connection.msgdef.data.encode()
        )

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """Write a topic."""
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        self._channels[connection.id] = self._writer.register_channel(
            connection.topic,
            connection.ext.serialization_format,
            self._schemas[connection.msgtype],
            {"offered_qos_profiles": offered_qos_profiles},
        )

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Write a message."""
        self._writer.add_message(self._channels[connection.id], timestamp, bytes(data), timestamp)

    def close(self, version: int, metadata: str) -> None:
        """Write index and footer."""
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._writer.finish()
        self._file.close()

    def abort(self) -> None:
        """Close without index and footer."""
        self._file.close()


class _Storage(Writer):
    """rosbags' writer with that MCAP storage."""

    STORAGE_PLUGINS: Mapping[StoragePlugin, Any] = {**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: _CheckedMcap}


class BagWriter:
    """Writes serialized messages. Until `close()` the bag lies in a hidden folder beside its place.

    As a context manager it is closed at the end, and removed when an exception ends the block.

    Args:
        output: folder of the bag.
        storage: "mcap" or "sqlite3".
        overwrite: replace a bag of that name.

    Raises:
        FileExistsError: `output` exists and may not be replaced, or is no bag.
        OSError: the folder beside it cannot be made.
    """

    def __init__(self, output: str | Path, storage: str = "mcap", overwrite: bool = False) -> None:
        self.output = Path(os.path.abspath(output))
        if self.output.exists():
            if not overwrite:
                raise FileExistsError(f"{self.output} exists; choose another output, or set overwrite")
            if not _is_bag(self.output):
                raise FileExistsError(f"{self.output} exists and is no rosbag2 folder; not replaced")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=f".{self.output.name}.", dir=self.output.parent))
        self.part = self._scratch / self.output.name  # rosbag2 names its files after their folder
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = _Storage(self.part, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self.counts: dict[str, int] = {}

    def add_topic(self, topic: str, msgtype: str, definition: str, digest: str, qos: Sequence[Qos] = ()) -> None:
        """Announce a topic with the definition of its type and that definition's hash (RIHS01)."""
        self._connections[topic] = self._writer.add_connection(
            topic, msgtype, msgdef=definition, rihs01=digest, offered_qos_profiles=qos
        )
        self.counts[topic] = 0

    def write(self, topic: str, log_ns: int, data: bytes | memoryview) -> None:
        """Append one serialized message."""
        self._writer.write(self._connections[topic], log_ns, data)
        self.counts[topic] += 1

    def close(self) -> None:
        """Finish the file and move the bag to its place."""
        self._writer.close()
        replace_folder(self.part, self.output)
        shutil.rmtree(self._scratch)

    def abandon(self) -> None:
        """Close the file without an index, and leave it in `part`: what was written can still be read."""
        with contextlib.suppress(OSError):
            self._writer.abort()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abort()
            shutil.rmtree(self._scratch)


def _is_bag(folder: Path) -> bool:
    return folder.is_dir() and any(
        path.name == "metadata.yaml" or path.name.endswith(STORAGE_SUFFIXES) for path in folder.iterdir()
    )


class Result:
    """A message to add to a bag: topic, type, log time in ns, and the message as an object of `package_types`."""

    __slots__ = ("log_ns", "message", "msgtype", "topic")

    def __init__(self, topic: str, msgtype: str, log_ns: int, message: object) -> None:
        self.topic, self.msgtype, self.log_ns, self.message = topic, msgtype, log_ns, message


def write_merged(
    bag: Bag, results: Iterable[Result], output: Path, *, storage: str = "mcap", overwrite: bool = False
) -> int:
    """Write a new bag with everything in `bag` and `results` on the same clock; returns the number of messages.

    Raises:
        FileExistsError: see `BagWriter`.
    """
    store = package_types()
    with BagWriter(output, storage, overwrite) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, *bag.decoder.definition(topic), topic.qos)
        for message in bag.messages():
            writer.write(message.topic, message.log_ns, message.data)
        for result in results:
            if result.topic not in writer.counts:
                writer.add_topic(result.topic, result.msgtype, *type_description(store, result.msgtype))
            writer.write(result.topic, result.log_ns, store.serialize_cdr(result.message, result.msgtype))
        return sum(writer.counts.values())
