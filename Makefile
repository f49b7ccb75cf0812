# Each target sets up what it needs, with nothing but make and Python 3.11 or newer:
#   make demo [SECONDS=30] [SPEED=1]  the whole hub with simulated homes and buyers
#   make test                the quick tests: some of every promise, in minutes
#   make test-all            every test: the quick ones, and then the slow ones
#   make check               linters, types, import contracts, wording, known vulnerabilities
#   make bench [CASES="purchase ingest"]
#   make pictures            the documentation's screenshots, of a demo that runs for them

PYTHON ?= python3
BIN := .venv/bin
STARTED := $(shell date +%s)
# Tests start hundreds of Python processes; without cached bytecode each compiles what it imports.
export PYTHONDONTWRITEBYTECODE :=
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python

.PHONY: demo test test-all check bench pictures clean
.DELETE_ON_ERROR:

# With job control, Ctrl-C reaches the demonstration alone: make would report it as an error.
demo: .venv/demo.stamp
	@if [ -t 0 ]; then set -m; fi; \
	SOLARHUB_DEMO_SINCE=$(STARTED) $(BIN)/solarhub up --demo \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SPEED),--speed $(SPEED)); exit $$?

test: .venv/test.stamp
	$(BIN)/pytest -m 'not slow'

test-all: test
	$(BIN)/pytest -m slow

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/words
	$(BIN)/python .ci/vulnerabilities

bench: .venv/bench.stamp
	$(BIN)/solarhub bench $(CASES)

pictures: .venv/test.stamp
	$(BIN)/python -m tests.browser.pictures docs/images

clean:
	rm -rf .venv .solarhub .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/demo.stamp: EXTRAS := embedded,simulators
.venv/test.stamp: EXTRAS := test,bench
.venv/bench.stamp: EXTRAS := embedded,simulators,bench
.venv/%.stamp: pyproject.toml | .venv/uv.stamp
	$(UV) -e '.[$(EXTRAS)]'
	@touch $@

# uv resolves what pip takes minutes for in seconds.
.venv/uv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'solarhub needs Python 3.11 or newer; this is:' >&2; $(PYTHON) --version >&2; \
	  echo 'Name another with: make PYTHON=python3.13 …' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'
	@touch $@
