"""Rewrites the include folders that the ROS wheels' CMake files name to those of this environment.

The wheels were built in an image whose Python stood in /opt/python/cp3xx-cp3xx; their exported CMake targets still
name its include folder and its numpy's. usage: relocate_wheels.py PREFIX
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy


def main() -> None:
    prefix = Path(sys.argv[1])
    python_include = sysconfig.get_paths()["include"]
    numpy_include = numpy.get_include()
    changed = 0
    for path in sorted(prefix.glob("share/*/cmake/*.cmake")):
        text = path.read_text()
        new = re.sub(r"/opt/python/[^;\"]*/numpy/(?:_core|core)/include", lambda _: numpy_include, text)
        new = re.sub(r"/opt/python/[^;\"/]*/include/python3\.\d+t?", lambda _: python_include, new)
        if new != text:
            path.write_text(new)
            changed += 1
    left = [str(p) for p in prefix.glob("share/*/cmake/*.cmake") if "/opt/python/" in p.read_text()]
    if left:
        sys.exit(f"these CMake files still name folders of another machine: {', '.join(left[:5])}")
    print(f"[setup] {changed} CMake files point to {python_include}", file=sys.stderr)


if __name__ == "__main__":
    main()
