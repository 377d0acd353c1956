"""scripts/setup.sh on machines where it cannot work: it says why and what helps, and makes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[1] / "scripts" / "setup.sh"
OLD = "import sys; sys.version_info = (3, 9)"
NEW = """import sys, sysconfig
path = sysconfig.get_path('include')
sysconfig.get_path = lambda name: path
sys.version_info = (3, 15)"""


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def set_up(tmp_path, **environment):
    """Run with a folder of stand-ins first on PATH, and no ROS sourced."""
    clean = {k: v for k, v in os.environ.items() if k not in ("AMENT_PREFIX_PATH", "ROS_DISTRO")}
    given = {**clean, "PATH": f"{tmp_path}:{os.environ['PATH']}", "EMOTALK_VENV": str(tmp_path / "venv"), **environment}
    return subprocess.run(["bash", str(SETUP)], env=given, capture_output=True, text=True, timeout=60)


def python(tmp_path, before):
    """An interpreter that runs `before` first: -c and --version are all that is asked of it."""
    script = f'''case "$1" in
  -c) exec {sys.executable} -c "{before}
$2" ;;
  *) echo "Python of another version" ;;
esac'''
    return program(tmp_path / "another_python", script)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (OLD, "is too old; Python >= 3.10 is needed (set PYTHON to another interpreter)"),
        ("import sys; sys.modules['ensurepip'] = None", "apt install python3-venv"),
        ("import sysconfig; sysconfig.get_path = lambda name: '/none'", "apt install python3-dev"),
        (NEW, "its wheels are for Python 3.10 to 3.14"),
    ],
)
def test_an_interpreter_that_does_not_do_is_refused(tmp_path, before, words):
    run = set_up(tmp_path, PYTHON=python(tmp_path, before))
    assert run.returncode == 1 and words in run.stderr and not (tmp_path / "venv").exists()


def test_a_missing_compiler_is_named(tmp_path):
    run = set_up(tmp_path, PYTHON=sys.executable, CXX="no-such-compiler")
    assert run.returncode == 1 and "apt install build-essential" in run.stderr


def test_there_are_no_wheels_for_other_machines(tmp_path):
    program(tmp_path / "uname", 'case "$1" in -s) echo Linux ;; -m) echo aarch64 ;; esac')
    run = set_up(tmp_path, PYTHON=sys.executable)
    assert run.returncode == 1 and not (tmp_path / "venv").exists()
    assert "not for Linux-aarch64: install ROS 2, source its setup.bash, run this again" in run.stderr
