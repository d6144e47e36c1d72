# Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q

.PHONY: help setup system demo test lint wheels

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.stamp ## make .venv with everything for development

# The kernel is built at install: its sources are prerequisites, the Python files are used in place.
.venv/.stamp: pyproject.toml constraints.txt CMakeLists.txt $(wildcard edge_agent/engine/kernel/*)
	@tools/ensure_system.sh cc python3
	@[ -x $(PY) ] || python3 -m venv .venv
	$(PIP) install -c constraints.txt scikit-build-core cmake ninja
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

lint: setup ## ruff, mypy --strict, the floors
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: setup lint ## the whole test run, real Mosquitto included
	@tools/ensure_system.sh mosquitto systemd-analyze
	.venv/bin/pytest

wheels: setup ## dist/*.whl: one abi3 wheel an architecture, with manylinux tags
	tools/wheels/build.sh
