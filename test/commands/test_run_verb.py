"""`emotalk run`: what is refused before any node starts, and advice that fits the installation."""

import re

import pytest
import typer
from typer.testing import CliRunner

from emotalk_ros.commands import run
from emotalk_ros.nodes import processes

app = typer.Typer()
run.register(app)


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    monkeypatch.setattr(run, "Crew", lambda: pytest.fail("a node would have been started"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--namespace", "bad name"], "--namespace 'bad name': ROS allows letters, digits, _ and /"),
        (["--namespace", "/1robot"], "--namespace '/1robot'"),
        (["--audio-topic", "my audio"], "--audio-topic 'my audio': ROS allows letters"),
    ],
)
def test_names_that_ros_refuses_are_one_clear_line(words, message):
    result = CliRunner().invoke(app, ["--source", "topic", *words])
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())
    assert result.exit_code == 2 and message in said
    assert "Traceback" not in said


def test_advice_names_ros2_only_where_it_is_there(monkeypatch, tmp_path):
    program = tmp_path / "ros2"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes.with_ros2("ros2 topic list", "remap") == "ros2 topic list"
    program.unlink()
    assert processes.with_ros2("ros2 topic list", "remap") == "remap"
