# The two commands of the README. Each sets up .venv from the lock file once; a second call installs nothing again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test lint types setup clean
.DEFAULT_GOAL := test

setup: $(READY)

$(READY): requirements.lock pyproject.toml tests/browser/package-lock.json
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip<26.2"
	$(BIN)/python -m pip install --quiet --progress-bar off -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --silent
	$(BIN)/python tests/browser/unpack.py $(VENV)/chromium
	rm -rf tests/browser/node_modules
	touch $(READY)

demo: $(READY)
	$(BIN)/pocketrec demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# The simulation occupies two processors by itself; all other files of tests are dealt out to a process each.
test: lint types
	$(BIN)/pytest tests/simulation
	$(BIN)/pytest --ignore tests/simulation --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
