"""The recorder's bag: hidden until complete, and what it may replace."""

import pytest
from rclpy.qos import QoSProfile

from emotalk_ros.bags.bag import open_bag
from emotalk_ros.nodes.bag_writer import BagWriter

EMPTY_TIME = bytes([0, 1, 0, 0] + 8 * [0])


def record(path, count, **options):
    writer = BagWriter(path, **options)
    writer.add_topic("/clock", "builtin_interfaces/msg/Time", [QoSProfile(depth=1)])
    for n in range(count):
        writer.write("/clock", n, EMPTY_TIME)
    return writer


def test_a_bag_appears_whole_and_replaces_only_a_bag_and_only_if_told(tmp_path):
    path = tmp_path / "deep" / "bag"
    writer = record(path, 3)
    assert not path.exists()
    writer.close()
    with pytest.raises(FileExistsError, match="set `overwrite`"):
        BagWriter(path)
    writer = record(path, 5, overwrite=True)
    with open_bag(path) as old:
        assert len(list(old.messages())) == 3
    writer.close()
    with open_bag(path) as new:
        assert len(list(new.messages())) == 5 and new.problems == []
    assert [p.name for p in path.parent.iterdir()] == ["bag"]
    with pytest.raises(FileExistsError, match="not a rosbag2 folder"):
        BagWriter(path.parent, overwrite=True)
