# The whole vocabulary; each target works from a fresh clone and makes its own .venv.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PEERS ?=

.PHONY: setup demo app test check bench

setup: .venv/.made

.venv/.made: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Lodestar needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/lodestar demo $(ARGS)

app: setup
	$(BIN)/lodestar app $(ARGS)

test: setup
	$(BIN)/pytest -m "not slow" $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers auto
	$(BIN)/lint-imports

# The recipe against its own parts (ARGS), then the peers beside it (PEERS), then scoring alone; then what is broken on
# purpose, at full length, and the slow tests. A quick look at the first two: make bench ARGS='--seeds 0' PEERS='--smoke --seeds 0'
bench: setup
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.peers $(PEERS)
	$(BIN)/python -m tests.bench.peers.scoring --out build/bench/scoring.json
	$(BIN)/python -m tests.bench.crashes
	$(BIN)/pytest -m slow
