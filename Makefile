# One command to set up, one to see it, one to test, one to check. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What a newcomer's shell lacks: the programs of the environment first, then everything that was there before.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench drills image swarm-lab docs clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv with Everup, its servers and the development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is missing or older than 3.11; name a newer one: make install PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) has no working venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing into $(VENV)"
	@$(BIN)/pip install -qq --disable-pip-version-check --no-input -e '.[servers,dev]'
	@touch $@

demo: install  ## bring up web x3 on PostgreSQL HA and Redis HA, kill both primaries under load, show what clients saw
	@$(BIN)/python -m demo $(ARGS)

test: install  ## run every test (ARGS="-m 'not faults'" for the quick ones; JOBS=4 at once)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: install  ## format, lint, types, import contracts, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house_rules.py

format: install  ## put the code in its canonical format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: install  ## measure failover, switchover, apps, idle cost, false failovers and PostgreSQL (ARGS="--runs 3" is quick)
	@$(BIN)/python -m benchmarks $(ARGS)

drills: install  ## drill every kind with every fault and write docs/reference/drills.md (ARGS="--runs 2" is quick)
	@$(BIN)/python -m benchmarks.bench_drills $(ARGS)

image: install  ## build Everup's image with docker, from wheels (ARGS=NAME:TAG names it, BASE=IMAGE is another base)
	@$(BIN)/python -m deploy.image $(ARGS)

swarm-lab: install  ## three pretended hosts with a Docker Swarm to play with: cut them, kill them, bring them back (root)
	@$(BIN)/python -m tests.swarm.lab

docs: install  ## generate docs/reference anew
	@$(BIN)/python -m docs.generate

clean:  ## remove .venv and every cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
