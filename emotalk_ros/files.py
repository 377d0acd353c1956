"""Files and folders that are never half written: made under a hidden name beside their place, then moved there at once.

Whoever reads the place sees the old content or the new one, never a part. An exception or Ctrl-C takes the hidden file
away; only what ends a process without notice (SIGKILL, a power cut) leaves one, which `LEFTOVERS` finds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".part-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OS_ERROR = re.compile(r"os error (\d+)")
LEFTOVERS = f"{_PREFIX}*"
"""Glob of the hidden files of processes that were killed while writing."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, parents: bool = False) -> Iterator[Path]:
    """A hidden file to write to, empty and with the suffix of `path`, which becomes `path` when the block ends well.

    The file has the permissions that `open(path, "w")` gives a new one, or those of the file it replaces. A link is
    followed. What is no file (a pipe, /dev/stdout) cannot be replaced: it is handed out itself.

    Args:
        path: where the file shall be.
        parents: make the folder it lies in.

    Raises:
        FileNotFoundError: there is no such folder, and it was not to be made.
        OSError: of the kind that the system gave (PermissionError, ...), naming the folder that takes no file.
    """
    given = Path(path)
    if given.is_dir():
        raise IsADirectoryError(f"{given} is a folder: name a file")
    if given.exists() and not given.is_file():
        yield given
        return
    target = Path(os.path.realpath(given))
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    elif not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent} to write {target.name} into: make it first")
    part = target.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{target.name}")
    try:
        _create(part)
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        mode = stat.S_IMODE(part.stat().st_mode)
        with writing(given):
            yield part
        part.chmod(mode)  # safetensors puts a file of its own there, which nobody else may read
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _create(part: Path) -> None:
    """An empty file with what permissions the umask leaves; the error speaks of the folder, not of a hidden name."""
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise OSError(error.errno, f"no file can be written here ({error.strerror})", str(part.parent)) from error


@contextmanager
def writing(place: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block a full disk is an OSError that names `place`, whoever writes: safetensors, torch and numpy raise
    errors of their own, or without a name.

    Raises OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and "requested and" in str(error):  # numpy's words for it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from error
        if error.errno in _FULL and str(place) not in str(error):
            raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
        raise
    except Exception as error:
        found = _OS_ERROR.search(str(error)) if type(error).__name__ == "SafetensorError" else None
        if found is None and type(error).__name__ != "LibsndfileError":
            raise
        number = int(found[1]) if found else errno.ENOSPC
        raise OSError(number, os.strerror(number), str(place)) from error


def no_space(error: OSError, remedy: str = "then run it again") -> str:
    """`error` in a sentence: a full disk with its remedy, anything else as it is."""
    if error.errno not in _FULL:
        return str(error)
    return (
        f"no space is left to write {error.filename or 'a file'} ({os.strerror(error.errno or 0)}): free some, {remedy}"
    )


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` in UTF-8, whole or not at all; makes the folder. Raises OSError."""
    with replacing(path, parents=True) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A hidden, empty folder which becomes `path` when the block ends well; makes the folder that `path` lies in.

    Its files have the permissions that the umask gives new ones, whatever wrote them. Raises OSError.
    """
    target = Path(os.path.abspath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{target.name}")
    part.mkdir()
    try:
        with writing(path):
            yield part
        mode = stat.S_IMODE(part.stat().st_mode) & 0o666
        for file in part.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.chmod(mode)
        replace_folder(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def replace_folder(new: Path, final: Path) -> None:
    """`new` takes the name `final`. A folder cannot be replaced in one call: the old one steps aside first."""
    old = _aside(final)
    _discard(old)
    if os.path.lexists(final):
        os.replace(final, old)
    os.replace(new, final)
    _discard(old)


def recover_folder(final: Path) -> None:
    """Undoes a `replace_folder` that was killed between its two renames."""
    old = _aside(final)
    if old.exists() and not final.exists():
        os.replace(old, final)


def _aside(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _discard(folder: Path) -> None:
    """Takes a folder away, or the link to one."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def file_digest(*paths: Path, digits: int = 16) -> str:
    """SHA-256 (the first `digits` hex digits of 64) over the contents of `paths` in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:digits]


def model_digest(path: Path) -> str:
    """Digest of a checkpoint: its configuration and weights (a folder), or the file itself."""
    if path.is_file():
        return file_digest(path)
    names = [p for p in sorted(path.iterdir()) if p.suffix in (".safetensors", ".json") and p.is_file()]
    return file_digest(*names)
