# From a bare machine with Python 3.11 or later: `make train` trains, `make test` tests. ARGS goes to the command:
#   make train ARGS="--algo supervised"        make test ARGS="-k resume"
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: train test test-integrations test-faults check lint types docs install install-dev clean

train: install
	$(BIN)/python -m agents.train $(ARGS)

# One thread a worker: more would fight over the cores.
test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# The RL libraries whose pins clash, each in a throw-away environment; LIBRARIES="skrl torchrl" takes some of them.
test-integrations:
	OMP_NUM_THREADS=1 $(PYTHON) tests/integrations.py $(LIBRARIES)

# Every algorithm on every task, and compare, killed at random moments and resumed: the same to the bit. Half an hour.
test-faults: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(ARGS)

check: lint types docs test

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

# Into site/, warnings as errors. The theme's own advertisement is none.
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What training needs, and what tests, checks and the site need beside it.
install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# A stamp is younger than what it was made of, or its install is made again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Python 3.11 or later, not {sys.version}')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[hub]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,hub]"
	touch $@

clean:
	rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
