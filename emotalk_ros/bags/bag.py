"""rosbag2 recordings from any source: opening, finding topics, copying and adding to them.

sqlite3 and MCAP storage, plain or zstd-compressed by file or by message, one file or many, with or without
`metadata.yaml`. Whatever is wrong with a recording ends up in `Bag.problems`, in words; what can be read is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import yaml
from rosbags.rosbag2 import StoragePlugin, Writer

from emotalk_ros.bags.messages import Decoder
from emotalk_ros.bags.storage import STORAGE_SUFFIXES, BagError, BagMessage, BagTopic, StorageFile
from emotalk_ros.files import replace_folder

__all__ = ["Bag", "BagError", "BagMessage", "BagTopic", "Result", "open_bag", "write_merged"]


class Bag:
    """An opened recording. Use as a context manager: it may hold decompressed copies in a temporary folder.

    Attributes:
        topics: name to `BagTopic`.
        problems: what was wrong, one sentence each; empty for a whole recording.

    Raises:
        BagError: when nothing can be read; the message names what was tried.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.problems: list[str] = []
        self.decoder = Decoder()
        self._scratch = TemporaryDirectory(prefix="emotalk_bag_")
        try:
            self._files = self._open()
        except BaseException:
            self._scratch.cleanup()
            raise
        self.topics: dict[str, BagTopic] = {}
        for file in self._files:
            for topic in file.topics.values():
                self._add(topic)
        self._check_counts()

    def _open(self) -> list[StorageFile]:
        if not self.path.exists():
            raise BagError(f"{self.path} does not exist; give a rosbag2 folder, or a .mcap or .db3 file")
        self._metadata = self._read_metadata() if self.path.is_dir() else {}
        paths = self._storage_paths()
        files, failures = [], []
        for path in paths:
            try:
                files.append(StorageFile(path, Path(self._scratch.name)))
            except BagError as error:
                failures.append(str(error))
            except OSError as error:
                failures.append(f"{path.name}: {error.strerror or error}")
        if not files:
            reasons = [*failures, *self.problems] if paths else ["no .mcap or .db3 file in it", *self.problems]
            raise BagError(f"nothing could be read from {self.path}: {'; '.join(reasons)}")
        self.problems += failures
        self.problems += [problem for file in files for problem in file.problems]
        return files

    def _read_metadata(self) -> dict[str, Any]:
        path = self.path / "metadata.yaml"
        if not path.exists():
            self.problems.append("metadata.yaml is missing (the recorder did not finish); storage files read directly")
            return {}
        try:
            content = yaml.safe_load(path.read_text())
            return dict(content["rosbag2_bagfile_information"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError, UnicodeDecodeError) as error:
            self.problems.append(f"metadata.yaml can't be understood ({type(error).__name__}); files read directly")
            return {}

    def _storage_paths(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        listed = [self.path / Path(name).name for name in self._metadata.get("relative_file_paths") or []]
        present = [path for path in listed if path.exists()]
        self.problems += [f"{path.name}, named in metadata.yaml, is missing" for path in listed if not path.exists()]
        return present or sorted(p for p in self.path.iterdir() if p.name.endswith(STORAGE_SUFFIXES))

    def _add(self, topic: BagTopic) -> None:
        known = self.topics.get(topic.name)
        if known is None:
            self.topics[topic.name] = topic
        elif known.msgtype == topic.msgtype:
            known.count += topic.count
        else:
            self.problems.append(f"{topic.name} has two types, {known.msgtype} and {topic.msgtype}; the first is used")

    def _check_counts(self) -> None:
        """Compare with what metadata.yaml promises; a killed recorder's copy or a cut file holds less."""
        for entry in self._metadata.get("topics_with_message_count") or []:
            try:
                name, promised = entry["topic_metadata"]["name"], int(entry["message_count"])
            except (KeyError, TypeError, ValueError):
                continue
            found = self.topics[name].count if name in self.topics else 0
            if found < promised:
                self.problems.append(f"{name}: metadata.yaml promises {promised} messages, {found} are there")

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages of `topics` (all when None), file by file, by log time within a file.

        Fewer than the index of the bag counts, when all have been taken, are a problem too.
        """
        seen: Counter[str] = Counter()
        for file in self._files:
            for message in file.messages(topics):
                seen[message.topic] += 1
                yield message
            self._note(*file.problems)
        for topic in self.topics.values():
            if (topics is None or topic.name in topics) and seen[topic.name] < topic.count:
                self._note(f"{topic.name}: {topic.count} messages are counted, {seen[topic.name]} could be read")

    def _note(self, *problems: str) -> None:
        self.problems += [problem for problem in problems if problem not in self.problems]

    def of_type(self, *msgtypes: str) -> list[BagTopic]:
        """Topics of one of `msgtypes` that hold messages, fullest first."""
        found = [topic for topic in self.topics.values() if topic.msgtype in msgtypes and topic.count]
        return sorted(found, key=lambda topic: (-topic.count, topic.name))

    def summary(self) -> str:
        """One line: every topic with its type and count."""
        return ", ".join(
            f"{t.name} [{t.msgtype}] x{t.count}" for t in sorted(self.topics.values(), key=lambda t: t.name)
        )

    def close(self) -> None:
        """Remove decompressed copies."""
        self._scratch.cleanup()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bag(path: str | Path) -> Bag:
    """Open a rosbag2 folder or a single storage file. Raises BagError when nothing can be read."""
    return Bag(path)


class Result:
    """Messages to add to a bag: (topic, msgtype, log_ns, decoded message of the home type store)."""

    __slots__ = ("log_ns", "message", "msgtype", "topic")

    def __init__(self, topic: str, msgtype: str, log_ns: int, message: object) -> None:
        self.topic, self.msgtype, self.log_ns, self.message = topic, msgtype, log_ns, message


def write_merged(
    bag: Bag, results: Iterable[Result], output: Path, *, storage: str = "mcap", overwrite: bool = False
) -> int:
    """Write a new bag with everything in `bag` and `results` on the same clock; returns the number of messages.

    The folder appears only when it is complete, and takes the place of an older bag then.

    Raises:
        FileExistsError: `output` exists and is not to be overwritten.
        BagError: it is to be overwritten, but is no bag.
    """
    output = Path(os.path.abspath(output))
    if output.exists():
        if not overwrite:
            raise FileExistsError(f"{output} exists; name another folder for the merged bag")
        if not any(p.name.endswith(STORAGE_SUFFIXES) for p in output.iterdir()):
            raise BagError(f"{output} does not look like a bag; not replaced")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        part = Path(scratch) / output.name  # rosbag2 names the files after their folder
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        with Writer(part, version=9, storage_plugin=plugin) as writer:
            count = _copy(bag, writer) + _append(bag, results, writer)
        replace_folder(part, output)
    return count


def _copy(bag: Bag, writer: Writer) -> int:
    connections = {}
    for topic in bag.topics.values():
        definition, digest = bag.decoder.definition(topic)
        connections[topic.name] = writer.add_connection(
            topic.name, topic.msgtype, msgdef=definition, rihs01=digest, offered_qos_profiles=topic.qos
        )
    count = 0
    for message in bag.messages():
        writer.write(connections[message.topic], message.log_ns, message.data)
        count += 1
    return count


def _append(bag: Bag, results: Iterable[Result], writer: Writer) -> int:
    store = bag.decoder.home
    connections: dict[str, Any] = {}
    count = 0
    for result in results:
        if result.topic not in connections:
            connections[result.topic] = writer.add_connection(result.topic, result.msgtype, typestore=store)
        data = store.serialize_cdr(result.message, result.msgtype)
        writer.write(connections[result.topic], result.log_ns, data)
        count += 1
    return count
