# Two commands for newcomers: `make search` and `make test`. Both install into .venv first, if need be.
# `make quick` runs everything that starts no Ray, in about three minutes on two cores.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed

.PHONY: search test quick install lint types unit format doctor clean

search: $(DONE)
	$(BIN)/python -m search.run --bin Bin2 --lang en-zh

test: lint types unit

quick: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not engine and not slow"

install: $(DONE)

# One resolution for everything, held by the constraints: asking for parts apart upgrades protobuf and breaks COMET.
$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else f"Python 3.10 to 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(DONE)

lint: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DONE)
	$(BIN)/mypy

unit: $(DONE)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

format: $(DONE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: $(DONE)
	$(BIN)/python -m search.run --doctor

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache *.egg-info
