# The targets of a developer's day. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
RELEASE ?= $(shell . /etc/os-release; echo $$VERSION_CODENAME)
# Tests start programs hundreds of times: each module is compiled once, whatever the environment sets.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install dev demo test test-fast check format docs bench clean fuzz soak lock audit deb test-install image test-image wheel \
    test-wheel

help:                                       ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 18

install: $(BIN)/local-controller            ## the product alone, in .venv

$(BIN)/local-controller: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

dev: .venv/.dev                             ## and what tests and checks need

.venv/.dev: pyproject.toml tests/interop/package-lock.json $(BIN)/local-controller
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	npm ci --silent --no-audit --no-fund --prefix tests/interop
	touch $@

demo: install                               ## a simulated site around the real controller, for two minutes
	$(BIN)/local-controller demo --duration 120 --seed 1 --report demo-report.json

test: dev                                   ## all tests, with third-party programs
	$(BIN)/pytest -n auto --dist worksteal

fuzz: dev                                   ## fuzz what peers send, coverage-guided, for minutes
	FUZZ_SECONDS=$${FUZZ_SECONDS:-120} $(BIN)/pytest -q tests/fuzz

# Sans-IO packages and drivers: what sockets, subprocesses and hours of site time prove is in `make test`.
FAST := tests/test_architecture.py $(addprefix tests/controller/,chargers config dimming model ocpp offline overlay \
    pki profiles relay signing simulate site_identity timekeeping tomlcheck) \
    tests/controller/load_management/allocation tests/controller/load_management/evse \
    tests/controller/load_management/metering tests/drivers tests/scenario

test-fast: dev                              ## tests of pure code and drivers, scenarios on cores, at each save
	TEST_FAST=1 $(BIN)/pytest -q -x -n 2 --dist worksteal -m "not slow" --ignore tests/drivers/test_mbpoll.py $(FAST)

check: dev                                  ## format, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev                                 ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install                               ## render docs/configuration.md and the plots of the example sites
	$(BIN)/python -m controller.config.reference >docs/configuration.md
	for each in depot home office public; do $(BIN)/local-controller simulate -c etc/examples/$$each.toml \
	    --day etc/examples/$$each.day.csv --plot docs/images/$$each.svg >/dev/null || exit 1; done

bench: dev                                  ## what is measured, never asserted
	$(BIN)/python -m tests.bench

soak: dev                                   ## an hour: 50 stations, flapping backend, failing meter; SOAK_SECONDS
	$(BIN)/python -m tests.bench soak --seconds $${SOAK_SECONDS:-3600} --stations $${SOAK_STATIONS:-50}

lock:                                       ## resolve what the package contains anew, with hashes
	for each in pyproject.toml:requirements debian/build-requirements.in:build-requirements; do \
	    uv pip compile --quiet $${each%:*} --universal --python-version 3.11 --generate-hashes --no-annotate \
	        --no-header --upgrade --output-file debian/$${each#*:}.lock; done

audit:                                      ## look the locked components up in the advisories of PyPI
	$(PYTHON) debian/audit debian/requirements.lock $(INDEX)

deb:                                        ## as root: package, SBOM, checksums in dist/RELEASE (bookworm, trixie, noble)
	debian/build-package $(RELEASE)

test-install:                               ## as root: install, run, upgrade, remove what `make deb` has built
	debian/test-package $(RELEASE)

image:                                      ## container image with podman; BASE: image of Debian 13, else it is made
	debian/build-image $(BASE)

test-image:                                 ## run what `make image` has built
	debian/test-image

wheel:                                      ## wheel, SBOM, checksums in dist/wheel
	debian/build-wheel $(PYTHON)

test-wheel:                                 ## install and start what `make wheel` has built with each Python of PYTHONS
	debian/test-wheel $(PYTHONS)

clean:                                      ## remove what the other targets have made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/interop/node_modules
