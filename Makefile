# Fisc. `make` alone lists the targets.

PYTHON_BIN := .venv/bin/python
SOURCES := services libs deploy tests
PYTEST_ARGUMENTS ?=
# Much of the tests' time is waiting; a file's tests stay together, since they share their servers.
WORKERS ?= 2
SEEDS ?= 2000
FIRST ?= 1
CRASH_ARGUMENTS ?=
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help install install-dev run demo test test-unit conformance check lint format types imports protos \
	protos-fresh bench sim planted faults overload crash lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## make .venv with what the platform needs
	@deploy/bootstrap.sh run

install-dev: ## the same, with the tools of the tests
	@deploy/bootstrap.sh dev

run: install ## start everything and stay up; Ctrl-C stops it (FISC_BASE_PORT, FISC_DATA_DIR)
	@exec .venv/bin/fisc up

demo: install ## a business day in a throw-away directory; succeeds only if everything adds up
	@exec .venv/bin/fisc demo

test: install-dev ## run every test (PYTEST_ARGUMENTS='-k ledger', WORKERS=2)
	@exec .venv/bin/pytest --ignore=tests/bench -n $(WORKERS) --dist loadfile $(PYTEST_ARGUMENTS)

test-unit: install-dev ## run the tests that need no database
	@exec .venv/bin/pytest tests/unit tests/contract $(PYTEST_ARGUMENTS)

conformance: install-dev ## put every provider to the promises of a connector, against the sandbox (also part of test)
	@exec .venv/bin/pytest tests/contract/conformance $(PYTEST_ARGUMENTS)

check: lint types imports protos-fresh test ## all a change must pass

lint: install-dev ## style and format
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: install-dev ## format the code
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

types: install-dev ## mypy, strict
	@.venv/bin/mypy $(SOURCES)

imports: install-dev ## the walls between layers and services
	@.venv/bin/lint-imports

protos: install-dev ## generate the stubs of protos/ anew
	@$(PYTHON_BIN) -m deploy.protos

protos-fresh: install-dev ## fail if a stub differs from its contract, or a contract from the rules
	@$(PYTHON_BIN) -m deploy.protos --check
	@$(PYTHON_BIN) -m deploy.protos --lint

sim: install-dev ## simulate seeded worlds of faults (SEEDS=2000, FIRST=1); a failing seed says how to replay it
	@exec .venv/bin/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

planted: install-dev ## switch known bugs on, one at a time; the simulation must catch each
	@exec .venv/bin/python -m tests.simulation.planted

bench: install-dev ## measure; writes build/bench.json and build/profiles (BENCH="hop payments": these parts alone)
	@exec .venv/bin/python -m tests.bench $(BENCH)

crash: install-dev ## kill processes at every crash point, stop stores under load (CRASH_ARGUMENTS='--only K6')
	@exec .venv/bin/python -m tests.chaos.crash $(CRASH_ARGUMENTS)

faults: install-dev ## every toxic in every wire of a running suite; nothing may be lost or done twice
	@exec .venv/bin/python -m tests.faults

overload: install-dev ## three times the capacity for a minute; goodput must stay near the peak
	@exec .venv/bin/python -m tests.faults.overload

lock: ## write the locks anew (UPGRADE=1: newest versions)
	@deploy/bootstrap.sh lock

clean: ## remove all that was made, except .fisc, the data
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
