"""Imports between rooms point one way: up the list in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import emotalk_ros

PACKAGE = Path(emotalk_ros.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"


def rooms() -> list[str]:
    """Modules and folders of the package in the order of the document's first code block."""
    block = DOCUMENT.read_text(encoding="utf-8").split("```")[1]
    inside = re.split(r"^emotalk_ros/$", block, flags=re.MULTILINE)[1]
    return re.findall(r"^  (\w+)(?:/|\.py) ", inside, flags=re.MULTILINE)


@cache
def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> list[tuple[int, str]]:
    """(line, full name) of each module that `path` imports, wherever in the file."""
    package, found = ["emotalk_ros", *path.relative_to(PACKAGE).parts[:-1]], []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, name), *((node.lineno, f"{name}.{alias.name}") for alias in node.names)]
    return found


def test_the_document_lists_every_room_once() -> None:
    there = {room_of(path) for path in modules()} - {"__init__"}
    there -= {name for name in there if name.startswith("__")}
    assert sorted(rooms()) == sorted(there)


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    order = rooms()
    below = {f"emotalk_ros.{name}" for name in order[order.index(room) + 1 :]}
    wrong = {
        f"{path.relative_to(PACKAGE)}:{line} imports {'.'.join(name.split('.')[:2])}"
        for path in modules()
        if room_of(path) == room
        for line, name in imported(path)
        if ".".join(name.split(".")[:2]) in below
    }
    assert not wrong, sorted(wrong)


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("rclpy", {"nodes"}),
        ("onnxruntime", {"runtime", "corpus"}),
        ("torch", {"model", "reports", "runtime", "training", "evaluation", "commands", "nodes"}),
        ("transformers", {"model", "training", "evaluation"}),
    ],
)
def test_libraries_stay_in_their_rooms(library: str, allowed: set[str]) -> None:
    users = {room_of(path) for path in modules() for _, name in imported(path) if name.split(".")[0] == library}
    assert users <= allowed
