.DEFAULT_GOAL := help
# Waiting threads that spin make several processes on few cores crawl (a test took 270 s, not 10 s).
export OMP_WAIT_POLICY ?= PASSIVE
export ORT_DISABLE_TELEMETRY ?= 1
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
RUNS ?= runs

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-binary=reviewlens -e '.[embedded]'
	@touch $@

$(VENV)/.serve: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-binary=reviewlens -e '.[embedded,server]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-binary=reviewlens -e '.[embedded,server,parquet,train,dev]'
	@touch $@

.PHONY: demo
demo: $(VENV)/.demo ## Analyze the sample reviews on an embedded Triton (needs no torch, no Docker, no GPU)
	$(BIN)/python client/analyze.py --input samples/reviews.txt --color always

.PHONY: serve
serve: $(VENV)/.serve ## Start Triton and the gRPC front door (127.0.0.1:8500, metrics :9500) until Ctrl-C
	$(BIN)/python -m server.front_door --logging.format text

.PHONY: triton
triton: $(VENV)/.demo ## Serve model_repository with Triton alone on 127.0.0.1:8001 until Ctrl-C
	$(BIN)/python -m server.serve --model-repository model_repository

.PHONY: test
test: $(VENV)/.dev ## Check formatting, lint and types, then run all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

.PHONY: format
format: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: proto
proto: $(VENV)/.dev ## Generate the Python code of proto/
	$(BIN)/python proto/generate.py

.PHONY: starter
starter: $(VENV)/.dev ## Train the starter model again: DATA=folder of the corpora (hours on 2 cores)
	PYTHON=$(BIN)/python DATA=$(DATA) RUNS=$(RUNS) bash training/starter.sh

.PHONY: clean
clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
