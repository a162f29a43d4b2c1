# The verbs of a working day; `make help` lists them.
# PYTHON picks the interpreter: `make PYTHON=python3.12 test` works in an environment of its own, .venv-python3.12.
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
SECONDS ?= 60
SEED ?= 0
FAULTS ?= 100
WHEELS ?= dist/wheels
ABI3 ?=
BENCH_JSON ?=
BOARDS ?= aarch64 armv7l armv6l s390x
PARTS ?=
SUMMARY ?=
ARGUMENTS ?=

SHELL := /bin/bash
RUN := $(VENV)/bin/python
SOURCES := pyproject.toml setup.py $(wildcard ext/iotwire/*)
STUBBED := $(patsubst src/iotwire/%.pyi,iotwire.%,$(wildcard src/iotwire/*.pyi))

.PHONY: help environment demo test check lint lint-workflows format types bench bench-compare bench-clients bench-https bench-tls bench-tokens bench-outbox bench-signing bench-wss bench-resumption sanitize faults fuzz coverage test-freethreaded
.PHONY: bench-curves bench-plots test-limited-api build ci-wheels check-wheels wheels test-install test-arm release-check bench-arm bench-check footprint brokers clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' $(MAKEFILE_LIST) | while read -r verb rest; do printf '%-17s %s\n' "$$verb" "$$rest"; done

environment: $(VENV)/.dev $(VENV)/.wheels $(VENV)/.workflows $(VENV)/.bench ## all that the other verbs install into .venv

demo: $(VENV)/.demo ## the main job: a local endpoint, and readings of this machine by all nine routes
	$(RUN) -m iotwire demo

test: lint lint-workflows types $(VENV)/.wheels ## lint, types and every test
	$(RUN) -m pytest

check: lint types ## lint, types and the quick tests, in three minutes
	$(RUN) -m pytest -q -m "not slow" tests/unit

lint: $(VENV)/.dev ## style and common mistakes
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

lint-workflows: $(VENV)/.workflows ## the workflows under .github, which run elsewhere only
	$(VENV)/bin/actionlint
	$(VENV)/bin/zizmor --offline --persona=pedantic --quiet .github

format: $(VENV)/.dev ## put the Python files into shape
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

types: $(VENV)/.dev ## mypy --strict on the package, and the stubs against the built modules
	$(RUN) -m mypy
	$(RUN) -m mypy.stubtest --ignore-missing-stub $(STUBBED)

bench: $(VENV)/.bench ## statistics of every hot path, with its peers and its floor, in two minutes; BENCH_JSON=FILE keeps them
	$(RUN) -m pytest benchmarks $(if $(BENCH_JSON),--benchmark-json=$(abspath $(BENCH_JSON)))

bench-compare: $(VENV)/.bench ## the table of ratios alone
	$(RUN) benchmarks/compare.py

bench-tls: $(VENV)/.bench ## the TLS codec against tlslite-ng, as ratios
	$(RUN) benchmarks/tls.py

bench-clients: $(VENV)/.bench ## whole clients against mosquitto: CPU for one message, latency, memory; ARGUMENTS="--only publish-0"
	$(RUN) benchmarks/clients.py $(ARGUMENTS)

bench-curves: $(VENV)/.bench ## how what a message costs grows, and memory and start: with mosquitto; ARGUMENTS="--only window"
	$(RUN) benchmarks/curves.py $(ARGUMENTS)

bench-plots: $(VENV)/.bench ## measure all that docs/benchmarks shows, and draw it: the best part of an hour, on a quiet machine
	$(RUN) benchmarks/compare.py --json docs/benchmarks/codec.json
	$(RUN) benchmarks/clients.py --json docs/benchmarks/clients.json
	$(RUN) benchmarks/curves.py --json docs/benchmarks/curves.json
	$(RUN) benchmarks/plots.py

bench-resumption: $(VENV)/.bench ## client CPU of a resumed TLS session against a full handshake, with mosquitto
	$(RUN) benchmarks/resumption.py $(ARGUMENTS)

bench-https: $(VENV)/.bench ## publishing over HTTPS against requests and botocore: CPU for one message; ARGUMENTS="--rounds 3"
	$(RUN) benchmarks/https.py $(ARGUMENTS)

bench-tokens: $(VENV)/.dev ## tokens of custom authorizers: signing against cryptography, user names against urllib
	$(RUN) benchmarks/tokens.py $(ARGUMENTS)

bench-outbox: $(VENV)/.bench ## messages kept on disk: bytes written and waits for it, against mqttium's and ohmqtt's stores
	$(RUN) benchmarks/outbox.py $(ARGUMENTS)

bench-wss: $(VENV)/.bench ## what WebSockets add to a message over plain TLS
	$(RUN) benchmarks/wss.py $(ARGUMENTS)

bench-signing: $(VENV)/.bench ## signing against botocore and awscrt, SHA-256 against OpenSSL, as ratios
	$(RUN) benchmarks/signing.py $(ARGUMENTS)

sanitize: $(VENV)/.dev ## unit tests and fuzz targets in an address- and undefined-behaviour-sanitizer build
	tools/sanitize.sh $(RUN)

test-freethreaded: ## unit tests and races on a CPython without the GIL, races under a thread sanitizer too
	tools/test-freethreaded.sh

faults: $(VENV)/.dev ## faults under traffic, FAULTS=100 of each kind from SEED=0, and what became of messages: an hour and a half
	IOTWIRE_FAULTS=$(FAULTS) IOTWIRE_FAULT_SEED=$(SEED) $(RUN) -m pytest tests/faults -m slow

fuzz: $(VENV)/.dev ## fuzz each codec for SECONDS=60 from SEED=0
	$(RUN) tests/fuzz/fuzz_mqtt.py --seconds $(SECONDS) --seed $(SEED)
	$(RUN) tests/fuzz/fuzz_tls.py --seconds $(SECONDS) --seed $(SEED)
	$(RUN) tests/fuzz/fuzz_sigv4.py --seconds $(SECONDS) --seed $(SEED)
	$(RUN) tests/fuzz/fuzz_websocket.py --seconds $(SECONDS) --seed $(SEED)

coverage: $(VENV)/.coverage ## lines covered by the unit tests, of .py and .pyx
	tools/coverage.sh $(RUN)

test-limited-api: $(VENV)/.wheels ## unit tests and wheel of the modules for every later Python, which are slower
	tools/limited-api.sh $(RUN)

build: $(VENV)/.dev ## sdist -> wheel -> tests in a clean environment; leaves both in dist/
	tools/check-dist.sh $(RUN)

ci-wheels: ## the wheels that cibuildwheel makes here, from the sdist in dist/ to wheelhouse/ (needs Docker on Linux)
	$(PYTHON) tools/ci_wheels.py

check-wheels: $(VENV)/.wheels ## whether the wheels in WHEELS=dist/wheels may be released
	$(RUN) tools/check_wheels.py $(WHEELS)

wheels: $(VENV)/.wheels ## cross-build the wheels of a release for every board into dist/wheels, and check them
	$(RUN) tools/arm wheels dist/wheels $(if $(ABI3),--abi3 $(ABI3))
	$(RUN) tools/check_wheels.py dist/wheels

test-install: wheels ## install those wheels with pip alone on emulated boards, glibc and musl, and run the codec there
	$(RUN) tools/arm install dist/wheels

test-arm: $(VENV)/.wheels ## all tests and the demo on emulated boards, BOARDS="aarch64 armv7l armv6l s390x"; PARTS="unit integration demo text codec"
	$(RUN) tools/arm test $(BOARDS) $(if $(PARTS),--parts $(PARTS))

release-check: test build sanitize test-limited-api wheels test-install test-arm bench-check footprint test-freethreaded ## all that has to pass before a release, in an hour and a half

bench-arm: $(VENV)/.bench $(VENV)/.wheels ## instructions on each architecture, ours and the peers', as a table and a plot
	$(RUN) benchmarks/boards.py --plot build/instructions.svg

footprint: $(VENV)/.wheels ## bytes on disk and what an import costs, on each architecture
	$(RUN) benchmarks/footprint.py

bench-check: $(VENV)/.bench $(VENV)/.wheels ## the same held to the figures that are kept; SUMMARY=FILE gets the table
	$(RUN) benchmarks/boards.py --check $(if $(SUMMARY),--summary $(SUMMARY))

brokers: ## install the brokers that integration tests use (needs root or sudo)
	tools/install-brokers.sh

clean: ## remove everything that make made
	rm -rf build dist wheelhouse .venv .venv-* src/*.egg-info src/iotwire/*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras; see tools/develop.sh.
$(VENV)/.demo: EXTRAS = cli
$(VENV)/.dev: EXTRAS = cli,test,lint
$(VENV)/.bench: EXTRAS = bench
$(VENV)/.coverage: EXTRAS = cli,test,coverage
$(VENV)/.wheels: EXTRAS = cli,test,wheels
$(VENV)/.workflows: EXTRAS = workflows
$(VENV)/.demo $(VENV)/.dev $(VENV)/.bench $(VENV)/.coverage $(VENV)/.wheels $(VENV)/.workflows: $(SOURCES)
	@tools/develop.sh $(PYTHON) $(VENV) $(EXTRAS)
	@touch $@
