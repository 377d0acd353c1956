"""Splits: whole actors, the same in every run, from and to a file."""

import pytest

from emotalk_ros.corpus.store import Record
from emotalk_ros.training.splits import Split, SplitError, draw_split, read_split


def records(count, source="s"):
    return [Record(f"{source}{a}_{k}", "a", "c", actor=a, source=source) for a in range(count) for k in range(3)]


def test_drawn_splits_keep_actors_whole_and_do_not_depend_on_order():
    split = draw_split(records(20), 0.1, 0.1, seed=3)
    assert (len(split.train), len(split.validation), len(split.test)) == (16, 2, 2)
    assert not split.train & split.validation and not split.train & split.test
    assert draw_split(records(20)[::-1], 0.1, 0.1, seed=3) == split
    assert draw_split(records(20), 0.1, 0.1, seed=4) != split


def test_two_sources_with_the_same_actor_numbers_are_different_people():
    split = draw_split(records(3, "a") + records(3, "b"), 0.34, 0.0)
    assert len(split.train | split.validation) == 6


def test_few_actors():
    assert len(draw_split(records(2), 0.05, 0.05).validation) == 1
    alone = draw_split(records(1), 0.05, 0.05)
    assert len(alone.train) == 1 and not alone.validation and not alone.test


def test_a_split_survives_its_file_and_names_sides(tmp_path):
    split = Split(frozenset({"a:*", "b:1"}), frozenset({"7"}), frozenset({"b:2"}))
    split.write(tmp_path / "s.yaml")
    read = read_split(tmp_path / "s.yaml")
    assert read == split
    sides = [
        read.side(Record("x", "", "", actor=actor, source=source))
        for source, actor in (("a", 5), ("b", 1), ("c", 7), ("b", 2), ("b", 3))
    ]
    assert sides == ["train", "train", "validation", "test", None]


@pytest.mark.parametrize(
    "text", ["[1]", "validation: [1]", "{train: [1], validation: [1]}", "{train: [1], tests: [2]}"]
)
def test_bad_files_are_refused(tmp_path, text):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(SplitError, match=r"s\.yaml"):
        read_split(path)
