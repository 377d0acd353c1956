"""What commands print: names with brackets and names that are not UTF-8, as they are."""

import io
import os
import re
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

from emotalk_ros.terminal import Terminal, any_name, readable, text_column

SOURCES = Path(__file__).resolve().parents[1] / "emotalk_ros"
NAMES = ["x[red].wav", "x[/b]c.csv", "a:smile:b.wav", "x[link=https://e.org]y.flac"]


def printed(act):
    stream = io.StringIO()
    act(Terminal(file=stream, width=200))
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name):
    table = Table("file", title=name)
    table.add_row(name)
    assert printed(lambda console: console.print(f"{name} -> {name}")) == f"{name} -> {name}\n"
    assert printed(lambda console: console.label("error:", f"no audio file {name}")) == f"error: no audio file {name}\n"
    assert printed(lambda console: console.print(table)).count(name) == 2
    column = text_column("{task.description}")
    progress = Progress(column)
    progress.add_task(name)
    assert str(column.render(progress.tasks[0])) == name


def test_a_name_that_is_not_utf8_is_printed():
    name = os.fsdecode(b"m\xfcller.wav")
    assert readable(name) == "m\N{REPLACEMENT CHARACTER}ller.wav" and readable("müller.wav") == "müller.wav"
    assert "ller.wav" in printed(lambda console: console.print(f"wrote {name}"))
    assert "ller.wav" in printed(lambda console: console.label("error:", name))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    any_name(stream)
    stream.write(name)
    stream.flush()


def test_files_that_are_there_are_told_before_they_are_replaced(tmp_path):
    (tmp_path / "a[b].csv").write_text("old")
    said = printed(lambda console: console.replaces(tmp_path / "a[b].csv", tmp_path / "new.csv"))
    assert said == f"note: {tmp_path / 'a[b].csv'} is there already: it is replaced\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("old")
    said = printed(lambda console: console.replaces(tmp_path / "empty", tmp_path / "full", Path("/dev/null")))
    assert said == f"note: {tmp_path / 'full'} is there already: it is replaced\n"


def test_advice_of_ros2_is_given_only_through_with_ros2():
    """Messages that tell a user to call `ros2` stand beside what helps where it is missing."""
    for path in sorted((SOURCES / "nodes").rglob("*.py")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if (
                re.search(r"(?<!`)ros2 (lifecycle|topic|launch|node|param) \\w", line)
                and '"' in line
                and '"""' not in line
            ):
                near = "\n".join(lines[max(0, number - 3) : number + 1])
                assert "with_ros2" in near, f"{path.name}:{number + 1}: {line.strip()}"


def test_a_long_line_stays_one():
    assert printed(lambda console: console.print("word " * 100)).count("\n") == 1


def test_nothing_prints_past_the_terminal():
    """rich's own console, its text columns and its markup are used nowhere else."""
    found = [
        f"{path.relative_to(SOURCES)}:{number}: {line.strip()}"
        for path in sorted(SOURCES.rglob("*.py"))
        if path.name != "terminal.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<!\w)Console\(|(?<!\w)TextColumn\(|\[/?(red|yellow|green|bold)\]|\[/\]|rich\.markup", line)
        and not re.search(r"colours\[red\]|row\[red\]", line)
    ]
    assert not found, "\n".join(found)
