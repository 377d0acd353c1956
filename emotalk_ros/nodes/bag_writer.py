"""A rosbag2 in the making: hidden until complete, with the definitions of any message type that is installed here."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from emotalk_ros.files import replace_folder


class BagWriter:
    """Writes serialized messages; `close()` puts the folder in its place.

    Args:
        output: folder of the bag.
        storage: "mcap" or "sqlite3".
        overwrite: replace a bag of that name.

    Raises:
        FileExistsError: when `output` exists and may not be replaced, or is no bag.
        OSError: when the folder beside it cannot be made.
    """

    def __init__(self, output: str | Path, storage: str = "mcap", overwrite: bool = False) -> None:
        self.output = Path(os.path.abspath(output))
        self._check_free(overwrite)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=f".{self.output.name}.", dir=self.output.parent))
        self._part = self._scratch / self.output.name  # rosbag2 names its files after their folder
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = Writer(self._part, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self.counts: dict[str, int] = {}

    def _check_free(self, overwrite: bool) -> None:
        if not self.output.exists():
            return
        if not overwrite:
            raise FileExistsError(f"{self.output} exists; choose another `output`, or set `overwrite`")
        if not (self.output / "metadata.yaml").exists():
            raise FileExistsError(f"{self.output} exists and is not a rosbag2 folder; not overwritten")

    def add_topic(self, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        """Announce a topic. Raises LookupError when the definition of its type is not installed here."""
        store = _store_of(type_name)
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, typestore=store, offered_qos_profiles=[_qos(profile) for profile in offered]
        )
        self.counts[topic] = 0

    def write(self, topic: str, received_ns: int, data: bytes) -> None:
        """Append one serialized message."""
        self._writer.write(self._connections[topic], received_ns, data)
        self.counts[topic] += 1

    def close(self) -> None:
        """Finish the file and move the bag to its place."""
        self._writer.close()
        replace_folder(self._part, self.output)
        shutil.rmtree(self._scratch)


def _qos(profile: QoSProfile) -> Qos:
    """rclpy's profile in rosbag2's terms; enumerations share their numbers, infinite times are rmw's largest."""
    forever = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory(profile.history.value) if profile.history.value in (1, 2) else QosHistory.UNKNOWN,
        depth=profile.depth,
        reliability=QosReliability(profile.reliability.value),
        durability=QosDurability(profile.durability.value),
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def _store_of(type_name: str) -> Typestore:
    """A store that knows `type_name` and everything in it, from the installed .msg files."""
    store = get_typestore(Stores.EMPTY)
    found: dict[str, Any] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop()
        types = get_types_from_msg(_definition(name), name)
        found.update(types)
        waiting += [inner for _, fields in types.values() for inner in _inner_types(fields) if inner not in found]
    store.register(found)
    return store


def _inner_types(fields: Any) -> list[str]:
    """Names of the message types among `fields`: rosbags describes a field as (kind, detail), a name being kind 2."""
    names = []
    for _, (kind, detail) in fields:
        while kind in (3, 4):  # array and sequence: detail is ((kind, detail), length)
            kind, detail = detail[0]
        if kind == 2:
            names.append(detail)
    return names


def _definition(type_name: str) -> str:
    package, _, name = type_name.split("/")
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    files = [Path(prefix) / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes if prefix]
    for file in files:
        if file.exists():
            return file.read_text()
    raise LookupError(f"no definition of {type_name} is installed here: there is no {', '.join(map(str, files))}")
