# One line per habit. Everything sets itself up in .venv on a machine with Python 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin
TEST ?= tests
# Files of tests run side by side, one worker a core.
WORKERS ?= auto

.PHONY: help demo test check fmt lint types unit fuzz bench bench-all conformance judge soak wheel clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.core: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.dev: .venv/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/.core  ## a server over stdio and a client that uses all of it
	$(BIN)/python examples/demo.py

test: .venv/.dev  ## every test; TEST=path for some
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(TEST)

check: fmt-check lint types unit  ## what every commit passes

fmt: .venv/.dev  ## format
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: fmt-check
fmt-check: .venv/.dev
	$(BIN)/ruff format --check .

lint: .venv/.dev  ## lint
	$(BIN)/ruff check .

types: .venv/.dev  ## mypy --strict
	$(BIN)/mypy

unit: .venv/.dev  ## unit tests only
	$(BIN)/python -m pytest -q tests/unit

coverage: .venv/.dev  ## branch coverage of protocol/ by its unit tests
	$(BIN)/python -m coverage run -m pytest -q tests/unit && $(BIN)/python -m coverage report --fail-under=100

fuzz: .venv/.dev  ## state machines and parsers, 2,000 examples each
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -o timeout=900 tests/machines tests/fuzz tests/wire

bench: .venv/.dev  ## the short benchmarks against peers and floors, some minutes
	$(BIN)/python -m benchmarks run --short

bench-all: .venv/.dev  ## all of them, with a report and its pictures in build/bench, about 15 minutes
	mkdir -p build/bench
	$(BIN)/python -m benchmarks run --json build/bench/run.jsonl --plot build/bench/plots --report build/bench/report.md

soak: .venv/.dev  ## mixed clients on every transport for a minute
	$(BIN)/python -m tests.soak --seconds 60

conformance: .venv/.dev  ## the official conformance suite against our server and our client
	$(BIN)/python -m conformance.official

judge: .venv/.dev  ## our own judge against our server, on stdio and HTTP
	$(BIN)/python -m conformance server --strict --command "$(BIN)/python -m conformance.targets.ours.server --stdio" \
		--serve "$(BIN)/python -m conformance.targets.ours.server --port {port}"

wheel: .venv/.dev  ## build the wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what was built and installed
	rm -rf .venv .peers dist build .coverage .hypothesis .mypy_cache .ruff_cache
