"""rosbag2 recordings from any source: opening them, finding topics, reading messages.

sqlite3 and MCAP storage, plain or zstd-compressed by file or by message, one file or many, with or without
`metadata.yaml`. Whatever is wrong with a recording ends up in `Bag.problems`, in words; what can be read is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from emotalk_ros.bags.messages import CdrDecoder
from emotalk_ros.bags.storage import STORAGE_SUFFIXES, BagError, BagMessage, BagTopic, StorageFile
from emotalk_ros.settings_files import parse_yaml

__all__ = ["Bag", "BagError", "BagMessage", "BagTopic", "open_bag"]


_MOST_METADATA = 20_000_000


class _Metadata(BaseModel):
    """What is used of metadata.yaml."""

    relative_file_paths: list[str] | None = None
    topics_with_message_count: list[dict[str, Any]] | None = None


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
        self.decoder = CdrDecoder()
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
            if path.stat().st_size > _MOST_METADATA:
                raise ValueError(f"it has more than {_MOST_METADATA} bytes")
            content = parse_yaml(path.read_text(encoding="utf-8"))
            return _Metadata.model_validate(content["rosbag2_bagfile_information"]).model_dump()
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            key = ".".join(map(str, fault["loc"]))
            why = f"{key}: {fault['msg']}"
        except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
            why = type(error).__name__
        self.problems.append(f"metadata.yaml can't be understood ({why}); files read directly")
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
                name, promised = str(entry["topic_metadata"]["name"]), int(entry["message_count"])
            except (LookupError, TypeError, ValueError, OverflowError):  # the last: .inf
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
