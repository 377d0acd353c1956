"""One module per verb of the command line; each imports what is heavy only when it runs, so that `--help` is quick.

Every module here has `register(app)`, which adds its verb (or verbs) to the Typer application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules

import typer


def verbs() -> Iterator[Callable[[typer.Typer], None]]:
    """The `register` function of each verb's module, in alphabetical order."""
    for module in sorted(iter_modules(__path__), key=lambda m: m.name):
        yield import_module(f"{__name__}.{module.name}").register
