# The whole vocabulary of a developer's day.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: install dev demo test check format bench clean

install: $(BIN)/local-controller            ## the product alone, in .venv

$(BIN)/local-controller: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

dev: .venv/.dev                             ## and what tests and checks need

.venv/.dev: pyproject.toml $(BIN)/local-controller
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	npm ci --silent --no-audit --no-fund --prefix tests/strangers
	touch $@

demo: install                               ## a simulated site around the real controller, for two minutes
	$(BIN)/local-controller demo --duration 120 --seed 1 --report demo-report.json

test: dev                                   ## everything, strangers included
	$(BIN)/pytest

check: dev                                  ## format, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev                                  ## what is measured, never asserted
	$(BIN)/python -m tests.bench

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/strangers/node_modules
