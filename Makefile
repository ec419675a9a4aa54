# make run: try it. make test: everything CI runs. make install: only install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run install dev ext check unit integration test test-deps clean

run: install
	$(BIN)/sqlproxy demo

install: $(VENV)/.runtime
$(VENV)/.runtime: pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

dev: $(STAMP)
$(STAMP): pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.runtime

ext: dev
	SQLPROXY_REQUIRE_EXT=1 $(BIN)/python setup.py -q build_ext --inplace

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: ext
	$(BIN)/pytest -q tests/unit
	SQLPROXY_PURE=1 $(BIN)/pytest -q tests/unit

test-deps:
	.ci/install-servers

integration: ext test-deps
	$(BIN)/pytest -q tests/integration

test: check unit integration

clean:
	rm -rf $(VENV) build *.egg-info
	find sqlproxy -name '*.so' -delete -o -name '*.c' -delete
