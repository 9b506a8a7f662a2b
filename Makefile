.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INVOICES ?= 40
FAULTS ?= everyday
SEED ?= 1

DEMO_OPTIONS = --faults $(FAULTS) --seed $(SEED) $(if $(FROM),--from $(FROM),--invoices $(INVOICES)) $(if $(KEEP),--keep) $(if $(JSON),--json)

.PHONY: help install install-dev install-bench demo test check bench lock clean

help: ## what each command does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/installed ## install what a user needs into .venv, locked and hashed
install-dev: $(VENV)/installed-dev ## install what a developer needs too
install-bench: $(VENV)/installed-bench ## install what is measured beside us, too

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock >&2
	@touch $@

$(VENV)/installed-bench: requirements-bench.lock $(VENV)/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-bench.lock >&2
	@touch $@

demo: install ## see it run: INVOICES=200 FROM=folder FAULTS=calm|everyday|storm|... SEED=1 KEEP=1 JSON=1
	@$(BIN)/postiljon demo $(DEMO_OPTIONS)

test: install-dev ## run the whole test suite on real PostgreSQL, Valkey and Celery
	@$(BIN)/python -m pytest $(TESTS)

check: install-dev ## lint, types, import rules, drift between tables and migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pipeline.cli.drift

bench: install-bench ## measure, small, as ratios within one run (postiljon bench --help: the full forms)
	@$(BIN)/python -m bench

lock: ## compile the hashed requirements files anew
	@$(BIN)/uv pip compile -q pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock $(LOCK_OPTIONS)
	@$(BIN)/uv pip compile -q pyproject.toml --extra build --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements-dev.lock $(LOCK_OPTIONS)
	@$(BIN)/uv pip compile -q pyproject.toml --extra build --extra dev --extra bench --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements-bench.lock $(LOCK_OPTIONS)

clean: ## remove what was installed and left behind
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
