# Each target installs what it needs; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q

# Bytecode is kept, whatever the caller's environment says: the tests start more than a thousand processes.
unexport PYTHONDONTWRITEBYTECODE

# Programs that build for ARM64 and run what was built, and those that boot a board.
ARM64_TOOLS := aarch64-linux-gnu-gcc qemu-aarch64-static cpio
BOARD_TOOLS := $(ARM64_TOOLS) mmdebstrap qemu-system-aarch64 depmod zstd

.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' $(MAKEFILE_LIST))

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.stamp ## create .venv with all dependencies for development

# The kernels are built at installation: their sources are prerequisites. The Python files are used in place.
DISTRIBUTIONS := -e '.[dev]' -e tools/edge_convert -e 'tools/edge_hub[enrol,notify,oidc,otlp]'

.venv/.stamp: pyproject.toml tools/edge_convert/pyproject.toml tools/edge_hub/pyproject.toml constraints.txt CMakeLists.txt $(wildcard edge_agent/*/kernel/*)
	@tools/ensure_system.sh cc python3
	@[ -x $(PY) ] || python3 -m venv .venv
	$(PIP) install -c constraints.txt scikit-build-core cmake ninja hatchling editables
	$(PIP) install -c constraints.txt --no-build-isolation $(DISTRIBUTIONS)
	@touch $@

C_SOURCES := $(wildcard edge_agent/*/kernel/*.[ch] benchmarks/*.c tests/native/*.c)

lint: setup ## run ruff, clang-format, mypy --strict and import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/clang-format --dry-run -Werror $(C_SOURCES)
	.venv/bin/mypy
	.venv/bin/lint-imports

demo: setup ## run the demo on real data: train, convert, three devices, a week in 20 s (JSON=1: JSON output)
	@tools/ensure_system.sh mosquitto || echo "the demo uses amqtt as its broker"
	$(PY) examples/office/demo.py $(if $(JSON),--json)

hub-demo: setup ## run the hub as a service with a broker, three daemons, 200 simulated devices and a rollout (JSON=1: JSON output)
	@tools/ensure_system.sh mosquitto
	$(PY) -m examples.hub.demo $(if $(JSON),--json)

learn-demo: setup ## let three daemons learn an office from a template, and roll out what the fleet learned (JSON=1: JSON output)
	@tools/ensure_system.sh mosquitto
	$(PY) -m examples.learning.demo $(if $(JSON),--json)

docs: setup ## build the documentation site in build/site and check all links
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

test-docs: setup ## run the commands of all pages one after the other in one folder, as a reader does
	@tools/ensure_system.sh mosquitto
	.venv/bin/pytest --timeout=1200 tests/docs/navigation.py

docs-reference: setup ## write the generated pages of docs/
	$(PY) tools/dev/docs/reference.py
	$(PY) tools/dev/protocol_doc.py

docs-exports: build/exports/.stamp ## run the blocks of docs/ that need pymdp or PyTorch, in a separate environment
	build/exports/bin/python tests/docs/exports.py

build/exports/.stamp: pyproject.toml
	@[ -x build/exports/bin/python ] || python3 -m venv build/exports
	build/exports/bin/python -m pip --disable-pip-version-check -q install . ./tools/edge_convert onnxscript torch inferactively-pymdp==1.0.4
	@touch $@

screenshots: setup ## make docs/images from a run of the demo
	@tools/ensure_system.sh mosquitto chromium
	$(PY) -m tools.dev.docs.screenshots

TEST_PROGRAMS := mosquitto mosquitto_pub mosquitto_passwd openssl initdb mkfs.ext4 setpriv ip systemd-analyze \
	promtool amtool haproxy pgbouncer redis-server clang unshare chromium $(ARM64_TOOLS)
test: setup lint ## run lint, all tests, with a real Mosquitto, and a comparison with the last release
	@tools/ensure_system.sh $(TEST_PROGRAMS)
	.venv/bin/pytest -n 4 --dist loadfile --no-loadscope-reorder
	$(PY) -m benchmarks.gate

bench: setup ## measure all figures in ten minutes and write benchmarks/results and the report (ONLY="step link", JSON=1)
	@tools/ensure_system.sh mosquitto
	$(PY) -m benchmarks.suite $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json)
	@$(MAKE) --no-print-directory report

bench-peers: build/peers/.stamp ## compare with pymdp 1.0.4's JAX agents, in a separate environment
	$(PY) -m benchmarks.suite --only peers $(if $(JSON),--json)
	@$(MAKE) --no-print-directory report

bench-check: setup ## fail where a ratio or a size is a tenth worse than in the last release (ONLY="step link"; KEEP=1: write to the report)
	@tools/ensure_system.sh mosquitto
	$(PY) -m benchmarks.compare $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--report) $(if $(JSON),--json)

bench-keep: setup ## keep the current results as those of release RELEASE, the baseline of bench-check
	$(PY) -m benchmarks.compare --keep $(RELEASE)

test-homeassistant: setup ## test the daemon with a real Home Assistant, installed into build/homeassistant (as root)
	@tools/ensure_system.sh mosquitto
	@tests/homeassistant/install.sh
	.venv/bin/pytest tests/homeassistant/discovery.py

test-zigbee2mqtt: setup ## test the daemon with a real Zigbee2MQTT without a radio, installed into build/zigbee2mqtt
	@tools/ensure_system.sh mosquitto
	@tests/zigbee2mqtt/install.sh
	.venv/bin/pytest tests/zigbee2mqtt/commands.py

test-brokers: setup ## test the daemon with Mosquitto, amqtt, aedes, NATS and RabbitMQ, installed by apt, pip and npm
	@tests/brokers/install.sh
	.venv/bin/pytest tests/brokers/daemon.py

test-web: setup ## test the hub's pages in Debian's Chromium: all stories, axe, figures (KEEP=1: pictures to docs/images)
	@tools/ensure_system.sh mosquitto chromium
	@mkdir -p build/web
	EDGE_HUB_IMAGES=$(if $(KEEP),docs/images,build/web) .venv/bin/pytest --timeout=1800 tests/web/test_*.py tests/web/stories.py
	$(PY) -m benchmarks.pages $(if $(JSON),--json)

MINUTES ?= 30
SEED ?= 1
soak: setup ## run MINUTES of seeded faults: outages, kills, floods, rollouts; print a verdict (KEEP=1: write to the report)
	@tools/ensure_system.sh initdb mosquitto
	$(PY) -m benchmarks.soak --minutes $(MINUTES) --seed $(SEED) $(if $(KEEP),--report) $(if $(JSON),--json)

report: setup ## write benchmarks/REPORT.md, its plots and the README's figures from benchmarks/results
	$(PY) -m benchmarks.report
	$(PY) tools/dev/docs/reference.py

parity: build/parity-jax/.stamp build/parity-legacy/.stamp ## live pymdp agents beside their bundles, a line an option (JSON=1: figures)
	@for kind in jax legacy; do \
		(cd tests/parity && ../../build/parity-$$kind/bin/python -m pytest -q -p no:cacheprovider check_live.py); done
	$(PY) -m benchmarks.parity $(if $(JSON),--json)

# pymdp lives beside the project: the environments see the packages of .venv behind their own.
build/parity-jax/.stamp: PYMDP := 1.0.4
build/parity-legacy/.stamp: PYMDP := 0.0.7.1
build/parity-jax/.stamp build/parity-legacy/.stamp: setup
	@[ -x $(@D)/bin/python ] || python3 -m venv $(@D)
	@[ -e $@ ] || $(@D)/bin/python -m pip --disable-pip-version-check -q install inferactively-pymdp==$(PYMDP)
	@$(PY) tools/parity/link.py $(@D) .venv
	@touch $@

build/peers/.stamp: setup
	@[ -x build/peers/bin/python ] || python3 -m venv build/peers
	@[ -e $@ ] || build/peers/bin/python -m pip --disable-pip-version-check -q install inferactively-pymdp==1.0.4
	@touch $@

release: setup ## check, build and tag release VERSION=x.y.z, files in dist/release-VERSION (KEY=FILE: sign; DRY_RUN=1: only check)
	@[ -n "$(VERSION)" ] || { echo "VERSION: found nothing, expected make release VERSION=x.y.z" >&2; exit 2; }
	$(PY) tools/dev/release.py $(VERSION) $(if $(KEY),--key $(KEY)) $(if $(DRY_RUN),--dry-run)

hooks: setup ## install a hook that runs the programs of make lint before each commit
	.venv/bin/pre-commit install

asan: setup ## test the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, with each instruction set
	.venv/bin/pytest tests/native/sanitizers.py

wheels: setup ## build dist/*.whl: edge-agent per architecture (abi3, manylinux), edge-convert and edge-hub for all
	tools/packaging/wheels/build.sh

deb: wheels ## build dist/*.deb for 64-bit boards with Debian or Raspberry Pi OS 12 (bookworm) and 13 (trixie)
	tools/packaging/deb/build.sh bookworm arm64
	tools/packaging/deb/build.sh trixie arm64
	tools/packaging/deb/hub.sh bookworm arm64
	tools/packaging/deb/hub.sh trixie arm64
	tools/packaging/deb/hub.sh bookworm amd64
	tools/packaging/deb/hub.sh trixie amd64

wheelhouse: wheels ## collect the wheels that Dockerfile.arm64 installs in dist/wheelhouse-aarch64
	tools/packaging/image/wheelhouse.sh device

image: wheelhouse ## build the container image dist/edge-agent_arm64.tar with buildah
	@tools/ensure_system.sh buildah mmdebstrap arch-test qemu-aarch64-static
	tools/packaging/image/build.sh device

test-image: image hub-image ## run both container images with a read-only root file system, by podman
	@tools/ensure_system.sh mosquitto podman runc
	.venv/bin/pytest --timeout=900 tests/packages/images.py

hub-wheelhouse: wheels ## collect the wheels that deploy/hub/Dockerfile installs in dist/wheelhouse-hub
	tools/packaging/image/wheelhouse.sh hub

hub-image: hub-wheelhouse ## build the hub's container image dist/edge-hub_ARCH.tar with buildah
	@tools/ensure_system.sh buildah mmdebstrap
	tools/packaging/image/build.sh hub

sbom: wheels build/sbom/.stamp ## write what each distribution consists of, dist/NAME-VERSION.cdx.json (CycloneDX)
	tools/packaging/sbom/build.sh

build/sbom/.stamp:
	@[ -x build/sbom/bin/python ] || python3 -m venv build/sbom
	build/sbom/bin/python -m pip --disable-pip-version-check -q install cyclonedx-bom==7.5.0
	@touch $@

SCALE_OUT := haproxy initdb mosquitto openssl pgbouncer prometheus prometheus-alertmanager promtool redis-server

scale-out: setup ## start the scale-out set of deploy/scale on this machine, until Ctrl-C
	@tools/ensure_system.sh $(SCALE_OUT)
	$(PY) -m deploy.scale.stack

test-deploy: setup ## test the scale-out set: shards behind HAProxy, pgbouncer, workers, Prometheus, an alert
	@tools/ensure_system.sh $(SCALE_OUT)
	.venv/bin/pytest --timeout=900 tests/deploy/scale_out.py

test-fleet-ray: setup build/ray/.stamp ## simulate a fleet on a Ray cluster of this machine, in a separate environment
	@tools/ensure_system.sh mosquitto
	build/ray/bin/python -m pytest -q -p no:cacheprovider tests/deploy/fleet_ray.py

build/ray/.stamp: setup
	@[ -x build/ray/bin/python ] || python3 -m venv build/ray
	@[ -e $@ ] || build/ray/bin/python -m pip --disable-pip-version-check -q install ray==2.60.0
	@$(PY) tools/parity/link.py build/ray .venv
	@touch $@

# Each takes a quarter of an hour on two cores.
BOARDS ?= $(foreach release,bookworm trixie,$(addsuffix :$(release),cortex-a53 cortex-a72 cortex-a76))

test-arm64: setup ## install and test on emulated boards, all six or BOARDS="cortex-a72:trixie"
	@tools/ensure_system.sh $(BOARD_TOOLS)
	EDGE_AGENT_BOARDS="$(BOARDS)" .venv/bin/pytest tests/arm64/instructions.py tests/arm64/boards.py
	$(PY) -m benchmarks.board --report
	$(PY) tools/dev/docs/reference.py

# Excluded: tests of other architectures and of packages, which use their own root file systems (arm64, packages, native),
# and tests with a broker, which `make test` runs with the broker of Debian 12.
test-trixie: setup ## build and test on Debian 13 with gcc 14 and Python 3.13, warnings as errors
	@tools/ensure_system.sh mmdebstrap unshare
	tools/dev/test_in_root.sh trixie -n 2 --dist loadfile tests/unit tests/golden tests/sim tests/fuzz tests/docs

test-debs: setup ## build and test the packages of Debian 12 and 13 for this machine, each in a root of its release
	@tools/ensure_system.sh mmdebstrap unshare
	EDGE_AGENT_WHEELS=all .venv/bin/pytest tests/packages/test_wheels.py
	EDGE_AGENT_RELEASES="bookworm trixie" .venv/bin/pytest tests/packages/debs.py

faults-link: setup ## run the long fault tests of the link: 50 broker kills, 100,000 fuzzed messages, packet loss in namespaces
	@tools/ensure_system.sh mosquitto ip
	EDGE_AGENT_FAULTS=long .venv/bin/pytest -n 4 tests/broker/test_faults.py tests/broker/test_fuzzed_daemon.py \
		tests/sim/test_outage.py --timeout 3600 --durations 0

rollouts: setup ## test rollouts: bundles, keys, new populations, a killed hub, ten daemons and a bad bundle
	@tools/ensure_system.sh mosquitto
	EDGE_AGENT_FAULTS=long .venv/bin/pytest tests/broker/test_hub_driver.py tests/broker/test_rollout.py tests/broker/test_keys.py \
		tests/broker/test_new_population.py tests/broker/test_tls_acl.py tests/broker/test_telemetry.py

security-hub: setup build/security/.stamp ## test the hub's security: roles, sessions, tokens, sizes; a stolen hub; schemathesis, bandit, pip-audit
	@tools/ensure_system.sh initdb mosquitto
	.venv/bin/pytest tests/hub/test_access.py tests/hub/test_rest.py tests/hub/test_hostile_requests.py \
		tests/hub/test_releases.py tests/unit/protocol/test_release_check.py tests/broker/test_compromised_hub.py
	build/security/bin/bandit -q -ll -r tools/edge_hub
	$(PY) tools/dev/audit_packages.py build/security/bin/pip-audit .venv/lib/python3*/site-packages
	$(PY) -m tests.hub.fuzzed_rest build/security/bin/schemathesis $(or $(EXAMPLES),30)

build/security/.stamp:
	@[ -x build/security/bin/python ] || python3 -m venv build/security
	build/security/bin/python -m pip --disable-pip-version-check -q install schemathesis==4.32.5 bandit==1.9.4 \
		pip-audit==2.9.0
	@touch $@

faults-hub: setup ## test the hub's faults: 30 kills, 20 restarts of broker and PostgreSQL, full disk, lock, clock, certificate
	@tools/ensure_system.sh initdb mosquitto openssl
	.venv/bin/pytest --timeout=1800 tests/hub/test_faults.py tests/hub/test_ingest.py tests/hub/test_service.py
	$(PY) -m benchmarks.hub_faults $(if $(JSON),--json)

faults-daemon: setup ## run the long fault tests of the daemon: 50 kills, floods of messages of all sizes, failing disks
	@tools/ensure_system.sh mosquitto mosquitto_passwd openssl mkfs.ext4 setpriv
	EDGE_AGENT_FAULTS=long .venv/bin/pytest --timeout=1800 tests/broker/test_daemon_faults.py \
		tests/broker/test_oversize.py tests/broker/test_disks.py tests/broker/test_login.py \
		tests/broker/test_killed_learner.py tests/broker/test_abuse.py

bench-daemon: setup ## measure the daemon's time, memory and start
	@tools/ensure_system.sh mosquitto
	$(PY) -m benchmarks.daemon
	$(PY) -m benchmarks.memory
	$(PY) -m benchmarks.startup

fuzz: setup ## fuzz all decoders with atheris: SECONDS=600 of processor time each, TARGET=name for one
	@$(PY) -c 'import atheris' 2>/dev/null || $(PIP) install -c constraints.txt atheris
	@$(PY) -m tests.fuzz --seconds $(if $(filter command line,$(origin SECONDS)),$(SECONDS),600) $(TARGET:%=--target %)

# Excluded from coverage: the tracer opens a file at the end (descriptors), imports modules (lazy imports, libraries of others),
# takes 12 MB of each process (memory, plan, networks), and about doubles the processor time (the last two check deadlines).
UNTRACED := $(addprefix --deselect tests/,\
	broker/test_daemon.py::test_the_daemon_process_is_without_the_libraries_of_others \
	unit/adapters/test_board_sensors.py::test_a_process_without_descriptors_says_none \
	unit/adapters/test_lazy_imports.py::test_numpy_and_dataclasses_work_without_the_modules_they_seldom_use \
	unit/adapters/test_lazy_imports.py::test_digests_are_the_same_without_openssl_and_whole_again_for_plug_ins \
	broker/test_daemon.py::test_the_daemon_stays_within_the_memory_that_is_promised \
	broker/test_daemon.py::test_the_plan_holds_for_the_process \
	broker/test_networks.py::test_numbers_become_the_networks_action[litert] \
	broker/test_demo.py::test_the_demo_happens_in_every_part \
	broker/test_abuse.py::test_three_daemons_survive_minutes_of_abuse)

coverage: setup ## measure branch coverage of the tests and their processes, written to benchmarks/results/coverage.json
	@tools/ensure_system.sh $(TEST_PROGRAMS)
	@rm -rf build/coverage && mkdir -p build/coverage
	@status=0; \
	.venv/bin/coverage run -m pytest -n 3 --dist loadfile --no-loadscope-reorder --timeout 900 $(UNTRACED) \
		tests/sim tests/broker tests/docs tests/unit tests/golden tests/fuzz tests/hub || status=$$?; \
	.venv/bin/coverage combine -q; .venv/bin/coverage json -q -o build/coverage/report.json; \
	$(PY) -m benchmarks.coverage_table build/coverage/report.json; exit $$status

# In order of risk; ONLY="edge_agent.protocol.twin*" selects other modules. mutmut keeps its progress in mutants/.
MUTATED := edge_agent.engine.quantize* edge_agent.memory* $(patsubst %,edge_agent.protocol.%*,outbox outbox_store lanes \
	unconfirmed session twin command_guard telemetry transfer rollout hub_client peers) \
	$(patsubst %,edge_agent.runtime.%*,scheduler population.group) \
	$(patsubst %,edge_hub.%*,rollout device_selector domain.alert_states domain.alert_rules domain.increment_sums \
	domain.learning)

mutation: setup ## run mutation tests of quantization, memory, protocol and hub, written to benchmarks/results/mutation.json
	@$(PY) -c 'import mutmut' 2>/dev/null || $(PIP) install -c constraints.txt mutmut
	-HYPOTHESIS_PROFILE=mutation $(PY) -m tests.mutation run --max-children 2 $(or $(ONLY),$(MUTATED))
	@$(PY) -m benchmarks.mutation_table mutants
