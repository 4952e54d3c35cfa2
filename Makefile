# make setup    a virtual environment with the training toolkit and all tools, native operators compiled
# make demo     the dilation sweep on generated images: table, verdicts and report in about seven minutes
# make demo-detection  the same for detectors: four minutes
# make test     all tests
# make lint     ruff and mypy
# make docs     the documentation site, strictly: every warning is an error
# make cuda     compiles the CUDA sources, where nvcc is there (needs no GPU)
# make sanitize random calls of the operators under the address and undefined-behaviour sanitizers
# make rehearse what scripts/on_gpu.sh does on a machine with a GPU, on the CPU and tiny inputs
# make package  source distribution and wheel, tried in empty environments without a compiler

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := setup.py $(shell find csrc -type f)
# One build tool for all: isolation would fetch another torch, and another one than is used later.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: setup demo demo-detection test lint format docs cuda sanitize rehearse package clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.installed

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "deformlab needs Python 3.10 or later; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV): about two minutes, once"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.python constraints.txt pyproject.toml $(NATIVE_SOURCES)
	@$(PIP_INSTALL) setuptools wheel ninja torch
	@$(PIP_INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/deformlab sweep experiments/sweeps/demo.yaml --jobs $$($(BIN)/python -c 'import os; print(max(1, min(5, os.cpu_count() or 1)))')

demo-detection: setup
	@$(BIN)/deformlab sweep experiments/sweeps/detection_demo.yaml --jobs $$($(BIN)/python -c 'import os; print(max(1, min(5, os.cpu_count() or 1)))')

test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup
	@test -x $(BIN)/sphinx-build || \
		{ echo "Sphinx needs Python 3.11 or later; name one: make clean, then make PYTHON=python3.11 docs"; exit 1; }
	@$(BIN)/sphinx-build -W --keep-going -n -q -b html -d build/docs-cache docs build/docs
	@! grep -rE '<(script|link|img|iframe)[^>]*(src|href)="(https?:)?//' --include='*.html' build/docs || \
		{ echo "the documentation must not load anything from the network"; exit 1; }
	@echo "The documentation: $(CURDIR)/build/docs/index.html"

cuda: setup
	@bash scripts/compile_cuda.sh

sanitize: setup
	@bash scripts/sanitize_ops.sh

rehearse: setup
	@scripts/on_gpu.sh --rehearse

package: setup
	@bash scripts/check_wheel.sh

clean:
	rm -rf $(VENV) build runs src/*.egg-info
	find src -name '*.so' -delete
