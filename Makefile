# What a fresh machine needs is Python >= 3.11 and make; the rest goes into .venv (remove it to start anew).
#   make play     set up, then open the play app on the shipped Pong world      make play WORLD=runs/x
#   make test     set up with every extra, then all tests                       make test TESTS=tests/data
#   make lint     ruff and pyright
#   make pins     write constraints.txt anew from pyproject.toml
# PyTorch comes from wherever pip is told to look. Where that is the CUDA build, some 3 GB, and the machine has no NVIDIA
# driver, make says so; for the CPU build give the address that PyTorch's install page names: TORCH_INDEX=https://...
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
WORLD ?= pong
TESTS ?= tests
TORCH_INDEX ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
EXTRAS := atari,doom,physics,mujoco,coreml,coreai,quant,hub,language,torch,mlx-cpu,mlx-data,dev
SOURCES := mlxworld torch_backend convert benchmarks docs apps tests

.DEFAULT_GOAL := help
.PHONY: help play test lint pins

help:
	@sed -n '2,5s/^# *//p' Makefile

play: .venv/stamp-play
	@$(BIN)/python -m mlxworld play --world $(WORLD) --open

# Bytecode is kept whatever the environment says: the tests start Python a hundred times.
test: .venv/stamp-test
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

lint: .venv/stamp-test
	@$(BIN)/ruff check --output-format concise $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/pyright --pythonpath $(BIN)/python

.venv/stamp-python:
	@[ -n "$(PYTHON)" ] || { echo "mlxworld: needs Python 3.11 or newer; found $$(python3 --version 2>&1)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv >/dev/null || { echo "mlxworld: $(PYTHON) cannot make a virtual environment;" \
		"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@touch $@

# PyTorch first and alone, so that TORCH_INDEX serves it and nothing else.
.venv/stamp-torch: .venv/stamp-python constraints.txt
	@[ "$$(uname -sm)" = "Darwin arm64" ] && [ -z "$(TORCH_INDEX)" ] || { \
		echo "Installing PyTorch (once) ..."; \
		[ -e /proc/driver/nvidia/version ] || \
			$(PIP) --dry-run --report - $(TORCH_INDEX:%=--index-url %) torch 2>/dev/null | grep -q '"name": "nvidia-' && \
			echo "pip takes its CUDA build, some 3 GB, and here is no NVIDIA driver: Ctrl-C, then" \
				"make $(or $(MAKECMDGOALS),play) TORCH_INDEX=(the CPU address of PyTorch's install page) is smaller"; \
		$(PIP) $(TORCH_INDEX:%=--index-url %) torch; }
	@touch $@

.venv/stamp-play: .venv/stamp-torch pyproject.toml constraints.txt
	@echo "Installing mlxworld (once) ..."
	@$(PIP) --editable .
	@touch $@

.venv/stamp-test: .venv/stamp-torch pyproject.toml constraints.txt
	@echo "Installing mlxworld with every extra and the tools of its tests (once) ..."
	@$(PIP) --editable ".[$(EXTRAS)]"
	@touch $@ .venv/stamp-play

# CUDA's packages are left out: with them a machine with the CPU build would look like one that lacks pins.
pins: .venv/stamp-test
	@echo 'torch==2.13.0' > .venv/pins.in
	@$(BIN)/uv pip compile pyproject.toml --constraint .venv/pins.in --python-platform x86_64-manylinux_2_36 --python-version 3.11 \
		$(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) --no-emit-index-url --no-annotate \
		--no-header --quiet | grep -vE '^(nvidia-|cuda-|triton)' > .venv/pins.out
	@{ echo "# The tested set: make pins"; cat .venv/pins.out; } > constraints.txt
comma := ,
