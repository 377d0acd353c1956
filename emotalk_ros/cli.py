"""The `emotalk` program: gathers the verbs of `emotalk_ros.commands`, nothing else."""

from __future__ import annotations

import typer

from emotalk_ros.commands import verbs
from emotalk_ros.requirements import explained
from emotalk_ros.terminal import any_name

app = typer.Typer(
    name="emotalk",
    help="Speech to 52 ARKit blendshape coefficients, with the emotion of the voice disentangled from its content.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for register in verbs():
    register(app)


def main() -> None:
    """Entry point of the `emotalk` console script."""
    any_name()
    with explained():
        app()


if __name__ == "__main__":
    main()
