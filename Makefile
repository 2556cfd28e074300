# make demo   everything from a fresh clone: install, services, demo world, pipeline, push, figures
# make test   the same installation, then lint, types and the tests; of long series one of each kind (about 12 minutes)
# make test-all  the same with the whole series: kills at every step, every kind of bad input, both users
# make review what this branch changes against the main one, as Markdown on standard output
# make setup  the installation alone; make clean removes what all of these made, the demo's servers included

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

.PHONY: demo test test-all review setup lint lock clean

demo: setup
	heimdall services up
	heimdall demo seed
	dvc repro
	dvc push
	python stages/evaluate.py --show
	dvc plots show
	@echo "The same as a picture, without network: plots/evaluation.png. Every figure: dvc metrics show"

# Two workers, the longest files first (tests/conftest.py); what they share is built once.
PYTEST = pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: setup lint
	$(PYTEST) -m "not series"

test-all: setup lint
	$(PYTEST)

review: setup
	@heimdall review

lint: setup
	ruff format --check .
	ruff check .
	mypy
	lint-imports

setup: .venv/.installed

.venv/.installed: requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "make setup: $(PYTHON) is not Python 3.11. Name one: make demo PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements/uv.txt
	$(BIN)/uv pip sync --require-hashes --compile-bytecode requirements/dev.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The runtime lock is the part of the whole lock that can change an output; stages depend on it alone.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml
lock: setup
	$(COMPILE) --extra tools --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/runtime.txt
	sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > requirements/uv.txt

clean:
	test ! -x $(BIN)/heimdall || heimdall services down --delete
	git clean -fdxq -- data models
	rm -rf .venv .heimdall .dvc/cache .dvc/tmp .dvc/config.local dvc_plots
