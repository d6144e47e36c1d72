# Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q

# What builds and boots the ARM64 guest.
ARM64_TOOLS := aarch64-linux-gnu-gcc qemu-aarch64-static mmdebstrap qemu-system-aarch64 cpio depmod zstd

.PHONY: help setup system demo test lint bench-peers asan wheels deb test-arm64

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
	@tools/ensure_system.sh mosquitto systemd-analyze $(ARM64_TOOLS)
	.venv/bin/pytest

bench-peers: build/peers/.stamp ## the agents' cost beside pymdp 1.0.4's JAX, which gets an environment of its own
	.venv/bin/python -m benchmarks.step

build/peers/.stamp: setup
	@[ -x build/peers/bin/python ] || python3 -m venv build/peers
	@[ -e $@ ] || build/peers/bin/python -m pip --disable-pip-version-check -q install inferactively-pymdp==1.0.4
	@touch $@

asan: setup ## the kernel under AddressSanitizer and UndefinedBehaviorSanitizer, every instruction set
	.venv/bin/pytest tests/native/sanitizers.py

wheels: setup ## dist/*.whl: one abi3 wheel an architecture, with manylinux tags
	tools/wheels/build.sh

deb: wheels ## dist/*.deb: packages for boards with Debian or Raspberry Pi OS, 64 bit
	tools/deb/build.sh arm64

test-arm64: setup ## install and run everything on emulated boards: Cortex-A53, A72, A76
	@tools/ensure_system.sh $(ARM64_TOOLS)
	EDGE_AGENT_ARM64_CPUS="cortex-a53 cortex-a72 cortex-a76" .venv/bin/pytest tests/arm64
