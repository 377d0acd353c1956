"""What comes along with the modules, and where it lies: recipes, messages, the network that ships, an example."""

from __future__ import annotations

import os
from pathlib import Path

SHARE = Path("share") / "emotalk_ros"
"""Folder under an installation's prefix: colcon's, or that of the environment a wheel was installed into."""


def candidate_paths(inside: str | os.PathLike[str]) -> list[Path]:
    """Where `inside` (such as "config/training") may lie, the best place first; whether it does is not looked at.

    The source tree these modules lie in; share/emotalk_ros of the prefix they were installed into; share/emotalk_ros of
    the prefixes in $AMENT_PREFIX_PATH.
    """
    module = Path(__file__).resolve()
    ament = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    # Modules lie in the prefix itself (pip install --target) or a few folders below (lib/python3.11/site-packages).
    prefixes = [*module.parents[1:5], *ament]
    return [module.parents[1] / inside, *(prefix / SHARE / inside for prefix in prefixes)]
