PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install serve test lint bench

install: $(VENV)/.installed  ## .venv with everything, from the lock file

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

serve: install  ## one node with everything embedded, playing a match
	$(BIN)/eventhub serve --demo

test: lint  ## everything that must hold
	$(BIN)/python -m pytest

lint: install  ## style, types, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## the path's figures, beside bare clients
	$(BIN)/python -m benchmarks.pipeline
