PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install serve test browser lint docs bench bench-peers drill

install: $(VENV)/.installed  ## .venv with everything, from the lock file

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

serve: install  ## one node with everything embedded, playing a match
	$(BIN)/eventhub serve --demo

test: lint browser  ## everything that must hold
	$(BIN)/python -m pytest -n 3 --dist loadfile

browser:  ## the browser in which the page is tested
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)

lint: install  ## style, types, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  ## the pages of docs/reference, from the tables in the code
	$(BIN)/python -m eventhub.documents docs/reference

bench: install  ## the path's figures, beside bare clients
	$(BIN)/python -m benchmarks.pipeline

bench-peers: install  ## from the tail to many sockets, beside the centrifuge library and Socket.IO; needs Go and Node.js
	$(BIN)/python -m benchmarks.fanout --peers

drill: install  ## the fault suites in full, more than an hour; ONLY=zombies for one of them
	$(BIN)/python -m pytest tests/drills/drill_all.py -s -q -k "$(ONLY)"
