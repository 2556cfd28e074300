# `make help` lists what there is to make.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

.PHONY: help demo test test-all review lint doctor setup cluster browser lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand --tabs=16
	@echo "A Python is chosen by itself, or named: make demo PYTHON=python3.12"

demo: ## everything from a fresh clone: installation, servers, simulated world, pipeline, push, figures
	@if [ -e .venv/.installed ]; then said="is there"; else said="about 2 minutes, 6 GB to download"; fi; \
		echo "[1/7] The installation in .venv: make setup ($$said)"
	@$(MAKE) --no-print-directory setup
	@echo "[2/7] PostgreSQL and S3 of this clone: heimdall services up (about 10 seconds)"
	@heimdall services up
	@echo "[3/7] The simulated world in database and bucket: heimdall demo seed (about 30 seconds)"
	@heimdall demo seed
	@echo "[4/7] The pipeline, stage by stage: dvc repro (3 to 5 minutes; nothing where nothing changed)"
	@mkdir -p .heimdall && touch .heimdall/demo-began
	@dvc repro
	@echo "[5/7] Data and models into the S3 remote: dvc push (about 15 seconds)"
	@dvc push
	@echo "[6/7] What the model does on simulated data: python stages/evaluate.py --show"
	@python stages/evaluate.py --show
	@echo "[7/7] The plots as a page: dvc plots show"
	@dvc plots show
	@if test -n "$$(find data models metrics plots -type f -newer .heimdall/demo-began -print -quit)"; then \
		echo "The demo is done."; else echo "Nothing changed: the demo was done before."; fi
	@printf '%s\n' \
		"Look at      plots/evaluation.png  errors and map as a picture" \
		"             dvc metrics show      the headline figures; metrics/eval_full.json has all of them" \
		"             models/README.md      what the model can do and what not" \
		"Type next    source .venv/bin/activate" \
		"             heimdall report             this run as a page: how good, where it fails, can its ellipses be trusted" \
		"             heimdall session list       the sessions in the data; then heimdall session show ID" \
		"             heimdall --help             every command" \
		"             dvc exp run -S lr=1e-4      an experiment; then dvc exp show --only-changed" \
		"             heimdall ui                 the recorded trainings in a browser" \
		"             heimdall services down      when you are done for today; make demo starts them again"

# Two workers, the longest files first (tests/conftest.py); what they share is built once. Both compile 400 files
# of tests, unless the compiled ones may be kept.
PYTEST = PYTHONDONTWRITEBYTECODE= pytest -n 2 --dist loadfile --no-loadscope-reorder

# Types are checked on one core, and the tests leave one idle now and then: so both are done at once. What lint
# finds is said when it is found; make fails in the end.
BESIDE_LINT = @$(MAKE) --no-print-directory --jobs=2 lint pytest

test: setup cluster browser ## installation and browser if they are missing, lint, types and the tests; of long series one of each kind
	$(BESIDE_LINT) CHOSEN='-m "not series"'

test-all: setup cluster browser ## the same with the whole series: kills at every step, every kind of bad input, both users
	$(BESIDE_LINT)

# For BESIDE_LINT alone. A make that a test starts is none of its jobs.
.PHONY: pytest
pytest:
	MAKEFLAGS= $(PYTEST) $(CHOSEN)

review: setup ## what this branch changes against the main one, as Markdown on standard output
	@heimdall review

lint: setup ## style, types and the layers of the rooms
	ruff format --check .
	ruff check .
	mypy
	lint-imports

doctor: ## what this machine lacks, before anything is installed
	@python=$$(scripts/find_python.sh "$(PYTHON)") && PYTHONPATH=src "$$python" -m heimdall.doctor

setup: .venv/.installed .venv/plots.html ## the installation alone, in .venv
	@grep -qs html_template .dvc/config.local || $(BIN)/python scripts/plots_page.py
	@test -z "$(PYTHON)" || $(PYTHON) -c 'import sys; sys.exit(sys.argv[1:] != ["%d.%d" % sys.version_info[:2]])' \
		"$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || \
		{ echo "make: .venv has another Python than $(PYTHON). To make it anew: rm -r .venv" >&2; exit 1; }

.venv/.installed: requirements/dev.txt requirements/uv.txt pyproject.toml
	@python=$$(scripts/find_python.sh "$(PYTHON)"); \
		PYTHONPATH=src "$$python" -m heimdall.doctor; \
		test -x $(BIN)/python || "$$python" -m venv --clear .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements/uv.txt
	$(BIN)/uv pip sync --require-hashes --compile-bytecode requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The page of `dvc plots`, of which DVC is told in .dvc/config.local.
.venv/plots.html: scripts/plots_page.py scripts/plots_page.html .venv/.installed
	@$(BIN)/python scripts/plots_page.py

cluster: .venv/.cluster ## Ray, for the tests and for who computes on several machines (docs/scale.md), in .venv

# Installing the rest anew removes it.
.venv/.cluster: requirements/cluster.txt .venv/.installed
	$(BIN)/uv pip install --quiet --require-hashes --no-deps --compile-bytecode --requirement $<
	@touch $@

browser: .venv/browser/chromium ## the browser in which the tests look at pages, in .venv; nothing else needs it

.venv/browser/chromium: scripts/browser.py | .venv/.installed
	$(BIN)/python scripts/browser.py

# One version of a library for every Python, if it can be had. The runtime lock is the part of the whole lock that
# can change an output; stages depend on it alone.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml
lock: setup ## requirements/*.txt anew from pyproject.toml
	$(COMPILE) --extra tools --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --extra tools --extra cluster --constraint requirements/dev.txt --output-file .venv/cluster.txt
	grep -vxFf requirements/dev.txt .venv/cluster.txt > requirements/cluster.txt
	sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > requirements/uv.txt

clean: ## removes what all of these made, the demo's servers included; says what, and asks (FORCE=1: does not)
	@FORCE="$(FORCE)" scripts/clean.sh
