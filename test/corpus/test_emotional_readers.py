"""Emotional recordings are told by their names, or by a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotalk_ros.corpus.readers.emotional import read_voices
from emotalk_ros.corpus.store import CorpusError

LAYOUTS = {
    "ravdess": ("Actor_07/03-01-05-02-01-01-07.wav", "07", "angry"),
    "emodb": ("wav/03a01Wa.wav", "03", "angry"),
    "crema-d": ("AudioWAV/1001_DFA_FEA_XX.wav", "1001", "fearful"),
    "esd": ("0011/Surprise/0011_001401.wav", "0011", "surprised"),
    "emogator": ("data/000001-15-1.wav", "000001", "fearful"),
}


def touch(path: Path) -> None:
    """An empty file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_told_by_its_names(layout: str, tmp_path: Path) -> None:
    name, speaker, emotion = LAYOUTS[layout]
    touch(tmp_path / name)
    touch(tmp_path / "noise.wav")
    (voice,) = read_voices(tmp_path)
    assert (voice.speaker, voice.emotion, voice.collection) == (speaker, emotion, layout)
    assert voice.bursts == (layout == "emogator")


def test_what_has_no_home_label_is_left_out(tmp_path: Path) -> None:
    for name in ("000001-15-1.wav", "000001-01-1.wav"):
        touch(tmp_path / name)
    assert [voice.path.stem for voice in read_voices(tmp_path)] == ["000001-15-1"]


def test_readers_of_books_have_no_emotion(tmp_path: Path) -> None:
    touch(tmp_path / "103-1240-0000.flac")
    (voice,) = read_voices(tmp_path)
    assert (voice.speaker, voice.emotion) == ("103", None)


def test_a_table(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    touch(tmp_path / "b.wav")
    table = tmp_path / "mine.csv"
    table.write_text("file,speaker,emotion\na.wav,Ann,Anger\nb.wav,Ben,\n")
    ann, ben = read_voices(table)
    assert (ann.speaker, ann.emotion, ann.collection) == ("Ann", "angry", "mine")
    assert ben.emotion is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,speaker\na.wav,Ann\n", "column emotion"),
        ("file,speaker,emotion\na.wav,Ann,joyful\n", "line 2.*joyful"),
        ("file,speaker,emotion\na.wav,Ann,sad\nc.wav,Ann,sad\n", "line 3.*c.wav"),
        ("file,speaker,emotion\na.wav,,sad\n", "line 2: no speaker"),
        ("file,speaker,emotion\n", "lists no recordings"),
    ],
)
def test_a_table_with_a_mistake(text: str, says: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    table = tmp_path / "mine.csv"
    table.write_text(text)
    with pytest.raises(CorpusError, match=says):
        read_voices(table)


def test_unknown_names_ask_for_a_table(tmp_path: Path) -> None:
    touch(tmp_path / "hello.wav")
    with pytest.raises(CorpusError, match="table"):
        read_voices(tmp_path)
