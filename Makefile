PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint bench clean

demo: $(VENV)/.demo
	$(BIN)/python examples/train_nyu.py --output runs/demo --overwrite

# Threads that wait by spinning make the suite several times slower on cores shared with other work.
test: export OMP_WAIT_POLICY = PASSIVE
test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py --quick

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt
	@echo "installing depthattn with its nyu and train extras into $(VENV) ..."
	$(INSTALL) --editable ".[nyu,train]"
	@touch $@

$(VENV)/.dev: $(BIN)/pip pyproject.toml constraints.txt
	@echo "installing depthattn with its dev extra into $(VENV) ..."
	$(INSTALL) --editable ".[dev]"
	@touch $@
