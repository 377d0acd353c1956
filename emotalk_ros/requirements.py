"""A Python package that is missing: said in words that help, instead of a traceback. Imports nothing else of ours."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

PACKAGES = {
    "torch": "torch",
    "transformers": "transformers",
    "onnxruntime": "onnxruntime",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "scipy": "scipy",
    "soxr": "soxr",
    "soundfile": "soundfile",
    "sounddevice": "sounddevice",
    "yaml": "pyyaml",
    "pydantic": "pydantic",
    "jinja2": "jinja2",
    "typer": "typer",
    "rich": "rich",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "rosbags": "rosbags",
    "mcap": "mcap",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
    "pythonosc": "python-osc",
}
"""Names of modules, and of the packages on PyPI that bring them: the dependencies in pyproject.toml, and its extras
onnx, torch, reports and convert."""

EXTRAS = {
    "torch": "torch",
    "transformers": "torch",
    "onnxruntime": "onnx",
    "onnx": "convert",
    "onnxscript": "convert",
    "scipy": "reports",
    "jinja2": "reports",
    "matplotlib": "reports",
    "PIL": "reports",
}
"""The extra of pyproject.toml that brings a module; the others come always."""

MISSING = 3
"""Exit status of a program whose packages are missing."""


def install_command(extras: str = "") -> str:
    """The command that installs what an extra, or several with commas between them, brings.

    It names this interpreter and the source folder: the package is not on PyPI, and pip cannot tell the extras of one
    that colcon built.
    """
    folder = Path(__file__).resolve().parents[1]  # also through the links of `colcon build --symlink-install`
    named = str(folder) if (folder / "pyproject.toml").is_file() else "<folder of emotalk_ros>"
    return shlex.join([sys.executable, "-m", "pip", "install", f"{named}[{extras}]" if extras else named])


def remedy(module: str) -> str | None:
    """What to do when `module` cannot be imported; None: it is none of the packages that this one needs."""
    name = module.split(".")[0]
    if name in PACKAGES:
        everything = "" if EXTRAS.get(name) == "convert" else " ([full]: everything)"
        return (
            f"the Python package {PACKAGES[name]} is missing for {sys.executable}: install it with "
            f"`{install_command(EXTRAS.get(name, ''))}`{everything}; where pip refuses the system, in a virtual "
            "environment made with --system-site-packages, and build the workspace again there "
            '(README, "On a ROS 2 installation")'
        )
    if name == "rclpy" or module == "emotalk_ros.msg":
        return f"ROS 2 is not found ({module}): source its setup.bash and this workspace's, or run scripts/setup.sh"
    return None


@contextmanager
def explained() -> Iterator[None]:
    """End the program with the remedy when a package that it needs is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        words = remedy(error.name or "")
        if words is None:
            raise
        print(f"emotalk_ros: {words}", file=sys.stderr)
        sys.exit(MISSING)


def program(module: str) -> None:
    """Run `main()` of `module`: what a program does that consists of nothing else."""
    with explained():
        import_module(module).main()
