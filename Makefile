# GNU make 4.3, Python 3.11+; everything else is fetched. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
ARGS ?=
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/bin/uv)
export UV
RUN := .venv/bin/python
HOME_FOLDER := $(or $(ATRIO_HOME),.atrio)

.PHONY: help
help: ## Show this list
	@echo 'usage: make <target> [ARGS="..."]'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.tools/bin/uv:
	@echo 'Fetching uv from PyPI into .tools'
	@$(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet 'uv>=0.8' \
	    || $(PYTHON) -m pip install --quiet --upgrade --target .tools 'uv>=0.8'

# The tools of `check` and `test` are half of the download: `up` and `demo` do without them.
# --inexact: a later `make up` takes nothing away from a developer.
.venv/.synced-local: pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	@$(UV) sync --frozen --inexact --all-extras --no-default-groups --group local
	@touch $@

.venv/.synced: pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	@$(UV) sync --frozen --all-extras
	@touch $@ .venv/.synced-local

.PHONY: setup
setup: .venv/.synced ## Fetch uv if missing, then everything that the project needs

.PHONY: demo
demo: .venv/.synced-local ## Start everything and watch a demo tenant receive messages
	@$(RUN) -m deploy.local.demo $(ARGS)

.PHONY: up
up: .venv/.synced-local ## Start what does not run, wait, print where (--services a,b --no-demo --no-services)
	@$(RUN) -m deploy.local up $(ARGS)

.PHONY: down
down: .venv/.synced-local ## Stop what `up` started
	@$(RUN) -m deploy.local down $(ARGS)

.PHONY: status
status: .venv/.synced-local ## Show what runs and where
	@$(RUN) -m deploy.local status $(ARGS)

.PHONY: logs
logs: ## Follow all logs of the local stack
	@tail --follow=name --lines=20 $(HOME_FOLDER)/logs/*.log

.PHONY: fmt
fmt: .venv/.synced ## Format, and fix what can be fixed
	@$(RUN) -m ruff check --fix $(ARGS)
	@$(RUN) -m ruff format $(ARGS)

.PHONY: check
check: .venv/.synced ## Lint, format, types, architecture
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy
	@.venv/bin/lint-imports

.PHONY: test
test: check ## Everything that CI runs (ARGS go to pytest)
	@REQUIRE_REAL=1 $(RUN) -m pytest $(ARGS)

.PHONY: bench
bench: .venv/.synced ## The benchmarks, as ratios beside a bare-client floor
	@$(RUN) -m tests.bench $(ARGS)

.PHONY: bench-lists
bench-lists: .venv/.synced ## Lists and search in a tenant of a million chats (--conversations --messages)
	@$(RUN) -m tests.bench.lists $(ARGS)

.PHONY: models
models: ## Check the protocols' models (3 minutes; ARGS=all for the larger runs)
	@cd models && $(PYTHON) run_all.py $(or $(ARGS),quick)

.PHONY: clean
clean: ## Remove what can be made again (not the data in .atrio)
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
