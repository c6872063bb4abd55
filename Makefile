# Two commands for newcomers: `make search` and `make test`. Both install into .venv first, if need be.
# `make quick` runs everything that starts no Ray, in about three minutes on two cores.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed
HASHES := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),yes,no)
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED := $(PIP) install --require-hashes --no-deps
# The tests of what loads or runs a model of transformers, and writes or reads its files.
MODEL_SIDE := tests/compress/model tests/compress/artifact tests/compress/calibration tests/compress/recovery \
  tests/compress/test_other_models.py tests/compress/test_resident.py tests/compress/test_written_before.py \
  tests/evaluate/decoding tests/evaluate/metrics/test_divergence.py tests/evaluate/test_evaluate.py \
  tests/evaluate/test_peak_memory.py tests/cluster/test_worker.py tests/benchmarks/test_device.py

.PHONY: search test quick install lint types unit transformers5 comet-env lock audit format doctor clean

search: $(DONE)
	$(BIN)/python -m search.run --bin Bin2 --lang en-zh

test: lint types unit transformers5

quick: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not engine and not slow"

install: $(DONE)

# One resolution for everything, held by the constraints: asking for parts apart upgrades protobuf and breaks COMET. On
# Linux x86-64 each file has the hash that is on record (`make HASHES=no` to go without). torch is downloaded first, in
# the build that pip prefers here; one for CUDA asks for NVIDIA's libraries.
$(DONE): pyproject.toml constraints.txt .ci/locks/requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else f"Python 3.10 to 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(HASHES),yes)
	$(PIP) download --no-deps --constraint constraints.txt --dest $(VENV)/wheels torch
	$(LOCKED) --no-index --find-links $(VENV)/wheels --requirement .ci/locks/torch.txt
	$(LOCKED) --requirement .ci/locks/requirements.txt
	ls $(VENV)/wheels/torch-*+cpu* >/dev/null 2>&1 || $(LOCKED) --requirement .ci/locks/cuda.txt
	rm -r $(VENV)/wheels
	$(PIP) install --no-deps --no-build-isolation --editable .
else
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
endif
	touch $(DONE)

lint: $(DONE)
	$(BIN)/python .ci/lock.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DONE)
	$(BIN)/mypy

unit: $(DONE)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# The model side under transformers 5, laid over the environment; COMET, whose pins want transformers 4, runs beside it.
transformers5: .transformers5/.installed
	PYTHONPATH=.transformers5 COMET_PYTHON=$(abspath $(BIN))/python OMP_NUM_THREADS=1 \
	  $(BIN)/pytest -n 2 --dist loadfile -m "not engine and not slow" $(MODEL_SIDE)

.transformers5/.installed: constraints-transformers5.txt $(DONE)
	rm -rf .transformers5
ifeq ($(HASHES),yes)
	$(LOCKED) --target .transformers5 --requirement .ci/locks/transformers5.txt
else
	$(PIP) install --no-deps --target .transformers5 --requirement constraints-transformers5.txt
endif
	touch $@

# An environment for COMET alone: with COMET_PYTHON=.comet/bin/python the model side may have other versions.
comet-env: .comet/.installed

.comet/.installed: constraints.txt
	$(PYTHON) -m venv .comet
	.comet/bin/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt unbabel-comet torch
	touch $@
	@echo 'export COMET_PYTHON=$(abspath .comet/bin/python)'

# Hashes of what the constraints pin, anew, from the index that PIP_INDEX_URL names; WHEEL=FILE for a build that is not there.
lock:
	$(PYTHON) .ci/lock.py $(addprefix --wheel ,$(WHEEL))

# Known vulnerabilities of what is installed; asks an advisory service.
audit: $(DONE)
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip --quiet --disable-pip-version-check install pip-audit
	.audit/bin/pip-audit --path $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

format: $(DONE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: $(DONE)
	$(BIN)/python -m search.run --doctor

clean:
	rm -rf $(VENV) .transformers5 .comet .audit build .mypy_cache .ruff_cache .pytest_cache *.egg-info
