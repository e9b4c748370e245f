# Everything a newcomer needs: `make demo`, `make test`, `make check`.
# A bare machine with Python 3.11+ and make is enough; see README.md for the choice of torch build.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
# Options for pip when it installs torch, e.g. TORCH_OPTIONS="--index-url ADDRESS" for another build.
TORCH_OPTIONS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
PACKAGES := core server client simulations

.PHONY: demo test check format install install-dev wheel clean

demo: install
	$(BIN)/leptonic data fetch fashion-mnist
	$(BIN)/leptonic simulate experiments/fashion_mnist.toml

test: install-dev
	$(BIN)/leptonic data fetch fashion-mnist mnist
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 10

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

# torch first and by pip, so that the build that was chosen is the one that stays.
$(BIN)/uv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH_OPTIONS) "$(TORCH)"
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	touch $@

$(VENV)/installed: $(BIN)/uv pyproject.toml
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable ".[dev]"
	touch $@

wheel: install-dev
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
