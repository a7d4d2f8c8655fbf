# Everything a fresh machine needs is Python 3.11 or later and make: each target sets up `.venv` first, once.
#
#   make demo    the sample scenario of traces/branch: protect, deliver, decrypt, explain
#   make test    the test suite            make lint    ruff             make types   mypy, strict
#   make bench   the benchmark             make req     which requirement ids tests prove
#   make docs    the generated pages       make clean   remove what these targets made
#   make matrix  every Python at hand, oldest and newest dependencies (MATRIX="--tests smoke" chooses)
#   make dist    wheel and source distribution in dist/, and the smoke set of the one against the other
#
# PYTHON=python3.12 chooses an interpreter when `.venv` is made; JOBS=4 sets the number of test processes; SLOW=1 adds
# the tests with ten million packets (16 GB of temporary files).

PYTHON ?=
JOBS ?= 2
MATRIX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint types bench req docs matrix dist clean

# What the shell has set for another Python, or for another project, stays out of `.venv`.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(READY)

# The stamp is newer than pyproject.toml as long as nothing needs to be installed again.
$(READY): pyproject.toml
	@python=$$(sh .ci/python "$(PYTHON)") || exit 1; \
	echo "setting up $(VENV) with $$python"; \
	"$$python" -m venv $(VENV) || { echo "$$python cannot make a virtual environment:" \
	  "install its venv module (Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,diff]'
	@touch $@

demo: $(READY)
	@sh traces/demo.sh $(BIN)/python

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) $(if $(SLOW),--slow)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/python -m mypy

bench: $(READY)
	$(BIN)/python -m qfp bench

req: $(READY)
	$(BIN)/python -m pytest --req-report

docs: $(READY)
	$(BIN)/python docs/generate.py

matrix:
	@python=$$(sh .ci/python "$(PYTHON)") || exit 1; "$$python" tests/matrix.py --jobs $(JOBS) $(MATRIX)

dist: $(READY)
	$(BIN)/python tests/distributions.py dist

clean:
	rm -rf $(VENV) out build dist qfp.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
