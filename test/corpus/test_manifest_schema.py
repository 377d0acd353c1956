"""A manifest line with a wrong type or an impossible value is named by file, line and key."""

import json
import os

import pytest

from emotalk_ros.corpus.store import Corpus, CorpusError
from emotalk_ros.files import LEFTOVERS, no_space, replacing, writing

GOOD = {
    "id": "a",
    "audio": "audio/a.flac",
    "coefficients": "coefficients/a.npy",
    "fps": 30,
    "duration": 1.5,
    "level": 1,
}


def opened(tmp_path, **changes):
    lines = [json.dumps(GOOD), json.dumps({**GOOD, "id": "b", **changes})]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return Corpus.open(tmp_path)


def test_a_sound_line_is_read_and_new_fields_are_ignored(tmp_path):
    record = opened(tmp_path, emotion="Fear", blind=["tongueOut"], from_the_future=[1]).records[1]
    assert (record.fps, record.level, record.emotion, record.blind) == (30.0, 1.0, "fearful", ("tongueOut",))


WRONG = {
    "fps": (0, -30, "30", 1e9, float("nan"), [30], True),
    "duration": (-1, "long", 1e12, float("inf")),
    "level": (2, -0.1, "strong"),
    "emotion": ("bored", 3),
    "blind": (["eyebrow"], 5, "jawOpen"),
    "actor": ("four", 1.5),
    "person": (-1, "x"),
    "frames": (-3,),
    "audio": (7, ""),
    "coefficients": (["a"],),
    "id": ("", 9),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_wrong_values_are_named_with_their_line(tmp_path, key, value):
    with pytest.raises(CorpusError, match=rf"manifest\.jsonl:2: .*{key}|manifest\.jsonl:2: .*{value!r}"):
        opened(tmp_path, **{key: value})


@pytest.mark.parametrize("line", ["5", "[]", "null", "{", "[" * 100_000, '{"id": "a"}'], ids=range(6))
def test_lines_that_are_no_entry_are_named(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(CorpusError, match=r"manifest\.jsonl:2"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    "content", ["5", "{}", '[{"name": 3}]', '[{"licence": "x"}]', '["a"]', "[" * 100_000], ids=range(6)
)
def test_sources_that_are_none_are_named(tmp_path, content):
    (tmp_path / "sources.json").write_text(content)
    with pytest.raises(CorpusError, match=r"sources\.json"):
        opened(tmp_path)


def test_a_full_disk_is_one_error_whoever_writes(tmp_path):
    class LibsndfileError(RuntimeError):
        pass

    for error in (
        OSError(28, "No space left on device"),
        OSError("8 requested and 4 written"),
        LibsndfileError("System"),
    ):
        with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "x.npy"):
            raise error
        assert no_space(caught.value).startswith(f"no space is left to write {tmp_path / 'x.npy'}")
    assert not list(tmp_path.glob(LEFTOVERS))
    with pytest.raises(OSError, match="No space left") as caught, writing("/dev/full"), open("/dev/full", "wb") as full:
        full.write(os.urandom(100_000))
    assert caught.value.filename == "/dev/full"
