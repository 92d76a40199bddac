# `make train` trains and `make test` tests; both need only Python 3.11 or later. ARGS is passed to the command:
#   make train ARGS="--algo supervised"        make test ARGS="-k resume"
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: train test test-slow fuzz test-integrations test-faults soak check lint types docs install install-dev clean

train: install
	$(BIN)/python -m agents.train $(ARGS)

# One thread per worker, so that workers do not compete for cores.
test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# Slow tests, which take minutes and are not part of `make test`.
test-slow: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow $(ARGS)

# Random files for every reader of data, configs and saved agents, two thousand of each kind.
fuzz: install-dev
	LM_GYM_FUZZ=2000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_data_fuzz.py tests/test_fuzz_runs.py $(ARGS)

# Tests of RL libraries with conflicting pins, each in a temporary environment; LIBRARIES="skrl torchrl" selects some.
test-integrations:
	OMP_NUM_THREADS=1 $(PYTHON) tests/integrations.py $(LIBRARIES)

# Kills and resumes every algorithm on every task, and compare: results must be the same to the bit. Half an hour.
test-faults: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(ARGS)

# An hour of mixed training: memory, open files, threads, logs and the time of a step must stay flat.
soak: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(ARGS)

# The checks of CI; the last one is the short form of test-faults.
check: lint types docs test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/test_faults.py

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

# Builds site/ and treats warnings as errors. The variable silences the theme's notice about MkDocs 2.
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# `install` is enough for training; `install-dev` adds tools for tests, checks and the site.
install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# An installation is repeated if its stamp is older than the files that it depends on.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Python 3.11 or later, not {sys.version}')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[compare,hub]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,hub]"
	touch $@

clean:
	rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
