# Every target sets up what it needs: a fresh clone and a Python >= 3.11 are enough.
#
#   make demo      run the main job from scratch: Algorithm 1 on arithmetic word problems
#   make test      the tests that take seconds
#   make test-all  the slow tests too
#   make lint      formatting, lint and types
#   make check     lint and test-all: what CI runs
#   make docs      write the pages of docs/ that are made from the code
#   make setup     only make the virtual environment
#   make clean     remove the virtual environment and what tools left behind
#
# PYTHON=python3.12 picks the interpreter, VENV=dir the virtual environment,
# WORKERS=4 the number of test processes, CONFIG=... and ARGS="seed=1" what the demo runs, THREADS=2 on how many threads.

VENV ?= .venv
WORKERS ?= 2
CONFIG ?= pipelines/configs/arithmetic.yaml
ARGS ?=
THREADS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test test-all lint check docs clean

help:
	@sed -n 's/^#   make/  make/p' Makefile

# Looks for an interpreter that is new enough; a version manager's shim may exist and yet not run.
define FIND_PYTHON
for candidate in $(if $(PYTHON),$(PYTHON),python3 python python3.13 python3.12 python3.11 python3.14); do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
        found="$$candidate"; break; \
    fi; \
done; \
if [ -z "$${found:-}" ]; then \
    echo "error: Python 3.11 or newer is needed, found: $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)." >&2; \
    echo "Install one and name it, for example: make setup PYTHON=/usr/bin/python3.12" >&2; \
    exit 1; \
fi; \
if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
    echo "error: $$found has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
    exit 1; \
fi
endef

# The stamp is written last: a set-up that was interrupted is done again.
$(READY): pyproject.toml constraints.txt Makefile
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV) with $$("$$found" --version); the first time takes some minutes."; \
	"$$found" -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --editable '.[dev]'
	@touch "$@"

setup: $(READY)
	@echo "Ready: $(BIN)/iterative-grpo, or: source $(BIN)/activate"

# Two threads: matrices this small do not divide over more, and threads that wait for each other
# on a busy machine slow the run down many times over.
demo: $(READY)
	@OMP_NUM_THREADS=$(THREADS) "$(BIN)/iterative-grpo" run $(CONFIG) $(ARGS)

# One thread a worker: the models of the tests are tiny, and threads would only compete.
test: $(READY)
	@OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS) -m "not slow"

test-all: $(READY)
	@OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS)

lint: $(READY)
	@"$(BIN)/ruff" format --check
	@"$(BIN)/ruff" check
	@"$(BIN)/mypy"

check: lint test-all

docs: $(READY)
	@"$(BIN)/python" docs/configuration.py

clean:
	rm -rf "$(VENV)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
