# The targets of a developer's day. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
ETC := /etc/local-controller
UNIT := /etc/systemd/system/local-controller.service
.PHONY: help install install-service dev demo test test-fast check format docs bench clean fuzz

help:                                       ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 18

install: $(BIN)/local-controller            ## the product alone, in .venv

$(BIN)/local-controller: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

install-service: install                    ## as root: system user, directories, configuration, systemd unit
	ln -sf $(CURDIR)/$(BIN)/local-controller /usr/local/bin/local-controller
	id -u local-controller >/dev/null 2>&1 || useradd --system --home-dir /var/lib/local-controller \
	    --shell /usr/sbin/nologin --groups dialout local-controller
	install -d -o root -g local-controller -m 0750 $(ETC)
	test -e $(ETC)/controller.toml || \
	    install -o root -g local-controller -m 0640 etc/controller.toml $(ETC)/controller.toml
	sed 's#/opt/local-controller#$(CURDIR)#g' systemd/local-controller.service >$(UNIT)
	systemctl daemon-reload || true

dev: .venv/.dev                             ## and what tests and checks need

.venv/.dev: pyproject.toml $(BIN)/local-controller
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	npm ci --silent --no-audit --no-fund --prefix tests/interop
	touch $@

demo: install                               ## a simulated site around the real controller, for two minutes
	$(BIN)/local-controller demo --duration 120 --seed 1 --report demo-report.json

test: dev                                   ## all tests, with third-party programs
	$(BIN)/pytest

fuzz: dev                                   ## fuzz the decoders of Modbus for minutes
	FUZZ_SECONDS=$${FUZZ_SECONDS:-120} $(BIN)/pytest -q tests/fuzz

# Sans-IO packages and drivers: what sockets, subprocesses and hours of site time prove is in `make test`.
FAST := tests/test_architecture.py $(addprefix tests/controller/,chargers config dimming model ocpp offline overlay \
    pki profiles relay signing simulate site_identity timekeeping tomlcheck) \
    tests/controller/load_management/allocation tests/controller/load_management/evse \
    tests/controller/load_management/metering tests/drivers

test-fast: dev                              ## tests of pure code and drivers, at each save
	TEST_FAST=1 $(BIN)/pytest -q -x -n 2 --ignore tests/drivers/test_mbpoll.py $(FAST)

check: dev                                  ## format, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev                                 ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install                               ## render docs/configuration.md from the schema
	$(BIN)/python -m controller.config.reference >docs/configuration.md

bench: dev                                  ## what is measured, never asserted
	$(BIN)/python -m tests.bench

clean:                                      ## remove what the other targets have made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/interop/node_modules
