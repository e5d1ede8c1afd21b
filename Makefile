# make run: environment and the main job. make test: all tests. make check: lint, types, tests, doctests.
PYTHON ?= python3
BIN := .venv/bin
# What installs. Continuous integration says uv, which reads the same requirements and takes a fraction of the time.
INSTALL ?= $(BIN)/python -m pip install
# Where tests have their folders: in memory, where 4 GiB of it are free. Runs sync to the disk, and wait for it.
FOLDERS ?= $(shell df -Pk /dev/shm 2>/dev/null | awk -v other="$${TMPDIR:-/tmp}" \
	'$$4 >= 4 * 1024 * 1024 && NR > 1 { place = "/dev/shm" } END { print place ? place : other }')
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: run test coverage fuzz check docs lint types format lock clean

run: .venv/installed
	$(BIN)/wardround run

# Two processes more than processors, each with whole files of tests; torch takes one thread in each.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 PYTEST_DEBUG_TEMPROOT=$(FOLDERS) $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(COVERAGE)

# The same run, a fifth longer, which also tells by file the lines and branches that no test took. It is a report:
# nothing is held against it, and `check` goes without.
coverage: COVERAGE = --cov --cov-report term:skip-covered
coverage: test

# Ten thousand broken inputs for every reader; the table goes into tests/fuzz/README.md.
fuzz: .venv/installed-dev
	PYTHONPATH=tests:tests/secagg $(BIN)/python tests/fuzz/fuzz_run.py --write

check: lint types test

# The documents and the reference as pages, in site/. Nothing is loaded from elsewhere, then or when they are read.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The versions everything was tested with; pyproject.toml has the bounds.
lock: .venv/installed-dev
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf site .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
