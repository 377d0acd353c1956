"""Settings files: YAML read into checked models, with errors that name the file, the key and the nearest valid one.

A file's form is a tree of `StrictModel` classes (pydantic models). Types are strict: text is not a number, and an
unknown key is an error.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MOST_BYTES = 1_000_000
"""Largest settings file; larger ones are refused unread."""
MOST_NODES = 100_000
"""Largest number of YAML nodes of a file with its aliases written out: nested aliases grow exponentially."""

MOST_FAULTS = 10
"""Faults of a file that a message names."""

S = TypeVar("S", bound="StrictModel")
T = TypeVar("T")


class StrictModel(BaseModel):
    """Base of all settings: immutable, strict, finite numbers, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first value must not exceed the second")
    return pair


Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]
"""Two rising numbers; YAML's list is taken for a tuple."""
Listed = Annotated[
    tuple[T, ...],
    Field(strict=False),
    BeforeValidator(lambda value: [value] if isinstance(value, (str, Mapping)) else value),
]
"""A list whose only entry may be written without brackets."""


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, `1e-4` read as a number as YAML 1.2 does."""


_Loader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text.

    Raises yaml.YAMLError for all that is none: also aliases that would multiply without limit, brackets too deep for
    the parser, and what PyYAML answers with other errors (a 13th month, a number with a tag that has no digits).
    """
    try:
        loader = _Loader(text)
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_NODES} entries")
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise yaml.YAMLError(f"a value that its type does not allow ({error})") from error
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes below and with `node`, aliases written out; a node that holds itself has no limit."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES  # what a reference from inside itself counts for
        parts = node.value if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) else []
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


def read_yaml(path: Path, error: type[ValueError]) -> dict[str, Any]:
    """The mapping in the file `path`, {} for an empty one. Raises `error` naming the file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise error(f"{path}: a settings file has at most {MOST_BYTES} bytes")
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as reason:
        raise error(f"{path}: not readable YAML ({reason})") from reason
    if raw is not None and not isinstance(raw, dict):
        raise error(f"{path}: must be a mapping of keys to values, this is a {type(raw).__name__}")
    return raw or {}


def check(kind: type[S], raw: Mapping[str, Any], error: type[ValueError], where: object = "") -> S:
    """`raw` as `kind`. Raises `error` with the faults: key, what is wanted, what was given; `where` names the file."""
    try:
        return kind.model_validate(raw)
    except ValidationError as reason:
        told = [_fault(kind, fault) for fault in reason.errors(include_url=False)[:MOST_FAULTS]]
        if reason.error_count() > MOST_FAULTS:
            told.append(f"and {reason.error_count() - MOST_FAULTS} more faults")
        faults = "; ".join(told)
        raise error(f"{where}: {faults}" if where else faults) from reason


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The end of an error message: the known word most like `word`, else all that are known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(known)}"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _fault(kind: type[BaseModel], fault: Any) -> str:
    where, given = fault["loc"], fault["input"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(str(where[-1]), _fields(kind, where[:-1]))}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "model_type":
        return f"{key or 'the whole'} must be a mapping of keys to values, got {given!r:.60}"
    wanted = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if fault["type"] == "value_error" and not key:
        return wanted
    shown = "" if isinstance(given, (Mapping, BaseModel)) else f", got {given!r:.200}"
    return f"{key} {wanted}{shown}" if wanted.startswith("must") else f"{key}: {wanted}{shown}"


def _fields(kind: Any, where: tuple[Any, ...]) -> list[str]:
    """Names of the settings at the place `where` of the tree `kind`."""
    for part in where:
        field = getattr(kind, "model_fields", {}).get(part)
        kind = field.annotation if field is not None else kind
        while arguments := [a for a in typing.get_args(kind) if a not in (types.NoneType, ...)]:
            kind = arguments[0 if typing.get_origin(kind) is Annotated else -1]  # of a dict: what its values are
    return list(getattr(kind, "model_fields", {}))
