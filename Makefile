# make demo and make test set up everything they need; `make help` lists the rest.
.PHONY: help setup demo test lint unit graph clean

# On a sourced ROS distribution the linker and the index must be told of .venv; with the wheels it does no harm.
IN_VENV = AMENT_PREFIX_PATH="$(CURDIR)/.venv$${AMENT_PREFIX_PATH:+:$$AMENT_PREFIX_PATH}" \
          LD_LIBRARY_PATH="$(CURDIR)/.venv/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"
PY = $(IN_VENV) .venv/bin/python

help:
	@echo "make demo    set up, then animate a face from speech over ROS 2 topics (result in demo/)"
	@echo "make test    set up, then linting, types and all tests"
	@echo "make setup   set up only: .venv with ROS 2, messages and the emotalk program"
	@echo "make lint    ruff and mypy       make unit   tests without ROS     make graph   tests of the running graph"
	@echo "make clean   remove what was built (not .venv)"

setup:
	@scripts/setup.sh

demo: setup
	@.venv/bin/emotalk demo

test: lint unit graph

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

unit: setup
	$(PY) -m pytest --ignore=test/ros

graph: setup
	$(PY) -m pytest test/ros

clean:
	rm -rf build install log demo .mypy_cache .ruff_cache .pytest_cache
