# make run: try it. make test: everything CI runs. make install: only install. make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
COMPILED := $(shell find sqlproxy -name '*.pxd')
COMPILED += $(wildcard $(COMPILED:.pxd=.py) $(COMPILED:.pxd=.pyx))
ALONE := $(wildcard tests/unit tests/fuzz tests/simulation)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run install dev ext check unit integration test test-deps lab bench soak profile micro conformance conformance-deps chaos wheel docs clean

help:
	@echo "make run          install into $(VENV) and start the proxy on three simulated Galera nodes, with its dashboard"
	@echo "make install      only install: $(BIN)/sqlproxy"
	@echo "make lab          a real local Galera cluster with the proxy in front (needs the packages of make test-deps)"
	@echo "make test         everything: check, unit tests compiled and uncompiled, integration tests on real servers"
	@echo "make check        formatting, lint and types"
	@echo "make unit         unit tests, compiled and uncompiled: no database, no root"
	@echo "make integration  tests on real MariaDB, Galera and MySQL servers"
	@echo "make test-deps    install the servers and tools that tests need (root, Debian or Ubuntu)"
	@echo "make bench        compare with HAProxy and with no proxy; BENCH=--quick for less than 12 minutes"
	@echo "make soak         an hour of all that sessions do; memory must not grow; SOAK='--minutes 10' for less"
	@echo "make micro        nanoseconds of single steps, compiled and pure; MICRO='--json FILE', '--against FILE' between commits"
	@echo "make profile      a flame graph of point selects; PROFILE='--load connect' for another load"
	@echo "make conformance  other people's test suites, on one server and on Galera; CONFORMANCE=--quick for less"
	@echo "make chaos        sixty faults on a real cluster under load, about 25 minutes; CHAOS=--exactly-once with commit tokens, CHAOS=\"--against haproxy\" to compare, CHAOS=\"--minutes 10 --json report.json\" for some of every kind"
	@echo "make wheel        a wheel in dist/, with the compiled core if there is a compiler"
	@echo "make docs         the documentation as a site in site/, with every link checked"
	@echo "make clean        remove $(VENV) and everything built"

run: install
	@$(BIN)/sqlproxy demo

install: $(RUNTIME)
$(RUNTIME): pyproject.toml setup.py $(COMPILED)
	@.ci/make-venv $(PYTHON) $(VENV)
	@echo "installing sqlproxy into $(VENV), with its compiled core if there is a compiler …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@.ci/say-core $(BIN)/python
	@touch $@

dev: $(DEV)
$(DEV): pyproject.toml setup.py
	@.ci/make-venv $(PYTHON) $(VENV)
	@echo "installing sqlproxy and its development tools into $(VENV) …"
	@SQLPROXY_SKIP_EXT=1 $(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev,docs]"
	@touch $@

ext: dev
	@.ci/need-compiler $(BIN)/python
	SQLPROXY_REQUIRE_EXT=1 $(BIN)/python setup.py -q build_ext --inplace

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: ext
	$(BIN)/pytest $(ALONE)
	SQLPROXY_PURE=1 $(BIN)/pytest tests/unit

integration: test-deps ext
	$(BIN)/pytest tests/integration tests/chaos

test-deps:
	@.ci/install-servers
	@.ci/install-mysql

# The compiler comes with the servers' packages, so they are first; the slowest tests are last.
test: test-deps check docs unit integration

lab: install
	@.ci/install-servers
	@$(BIN)/sqlproxy demo --galera

# Writes docs/benchmarks.md and its picture; wants a machine that does nothing else.
bench: ext
	@.ci/install-servers
	$(BIN)/python -m benchmarks.run $(BENCH)

conformance-deps:
	@.ci/install-servers conformance

conformance: conformance-deps ext
	$(BIN)/python -m tests.conformance $(CONFORMANCE)

# In network, process and mount namespaces of its own (root): it cuts off nodes, fills disks, kills servers.
chaos: test-deps ext
	$(BIN)/python -m tests.chaos $(CHAOS)

# With a compiler a wheel for this Python and machine; SQLPROXY_SKIP_EXT=1 makes one for all.
wheel: dev
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

docs: dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the documentation is in site/index.html"

soak: test-deps ext
	$(BIN)/python -m benchmarks.soak $(SOAK)

micro: ext
	$(BIN)/python -m benchmarks.micro $(MICRO)

profile: ext
	$(BIN)/python -m benchmarks.profile $(PROFILE)

clean:
	rm -rf $(VENV) build dist site *.egg-info
	find sqlproxy -name '*.so' -delete -o -name '*.c' -delete
