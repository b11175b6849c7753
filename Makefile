# Two commands: `make serve` and `make test`. Each sets up .venv by itself the first time.

HOST ?= 127.0.0.1
PORT ?= 8000
PYTHON ?= python3
MODEL ?= starter
TASK ?= detect
SUFFIX_detect :=
SUFFIX_classify := -cls
SUFFIX_segment := -seg
SUFFIX_pose := -pose
SUFFIX_obb := -obb
TASKS := detect classify segment pose obb
NAME ?= $(if $(DATA),trained,scenes)$(SUFFIX_$(TASK))
RECIPE ?= $(if $(DATA),small-data,quick)
VARIANT ?= sparsight-n$(SUFFIX_$(TASK))
EXTRAS ?= serve,tracing,train,client,dev

VENV := .venv
TRITON := .triton
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve test test-all check sbom train-export clean

define EXAMPLES

ARGS passes further flags on: to pytest (test, test-all), or to the training command (train-export)
  make serve PORT=9000 MODEL=scenes                            serve on another port, with another default model
  make test ARGS="-x -k letterbox"                             run the tests that have a word in their name
  make train-export NAME=mine DATA=folder                      a detector, on your images
  make train-export NAME=mine DATA=folder TASK=classify        a classifier, on folders of images
  make train-export TASK=segment                               masks; also pose and obb: boxes with an angle
  make train-export NAME=mine DATA=folder ARGS="--epochs 20 --batch 8"     with other settings
  make train-export NAME=try ARGS="--epochs 1 --input 64 --unproved"       the smallest trial, in a few minutes
All flags of train-export: .venv/bin/python -m training train-export --help
endef
export EXAMPLES

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24
	@echo "$$EXAMPLES"

serve: $(VENV)/.serve ## serve the models in model_repository at http://127.0.0.1:8000
	@HOST=$(HOST) PORT=$(PORT) SPARSIGHT_DEFAULT_MODEL=$${SPARSIGHT_DEFAULT_MODEL:-$(MODEL)} $(RUN) -m service

# A file's tests stay together, in their order: some follow a server from version to version. Files run side by
# side, so torch needs no threads of its own: they would only wait for one another. If a process dies, the run
# ends with the name of its test: if the process were replaced, pytest-xdist 3.8 could wait for ever.
TESTS := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --max-worker-restart=0

test: $(VENV)/.dev $(TRITON)/.ready ## run the tests that take seconds, with all cores; ARGS="-k word" selects
	@echo "== running the tests"
	@$(TESTS) -m "not heavy" $(ARGS)

test-all: $(VENV)/.dev $(TRITON)/.ready ## run every test, the heavy ones too
	@echo "== running all tests"
	@$(TESTS) $(ARGS)

check: $(VENV)/.dev ## lint, types, imports, size budgets
	@echo "== ruff" && $(RUN) -m ruff check . && $(RUN) -m ruff format --check .
	@echo "== mypy" && $(RUN) -m mypy --strict service clients && $(RUN) -m mypy training
	@echo "== imports" && $(VENV)/bin/lint-imports --no-cache
	@echo "== size budgets" && $(RUN) .ci/budgets.py

sbom: $(VENV)/.dev ## list the packages of the gateway's image (gateway.cdx.json), and all licences
	@$(RUN) deploy/sbom.py gateway.cdx.json && $(RUN) deploy/licences.py

train-export: $(VENV)/.train ## train, evaluate and export a model; NAME, DATA, TASK and ARGS as below
	@$(if $(filter undefined,$(flavor SUFFIX_$(TASK))),echo "no task '$(TASK)'; there are: $(TASKS)" >&2; exit 2,:)
	@$(RUN) -m training train-export --name $(NAME) --recipe $(RECIPE) --variant $(VARIANT) $(if $(DATA),--data $(DATA)) $(ARGS)

clean: ## remove the environments and caches; models and runs stay
	rm -rf $(VENV) $(TRITON) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@echo "== making the environment $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; say PYTHON=python3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing what serving needs (no torch)"
	@$(PIP) --editable '.[serve]' && touch $@

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing what training needs (torch: a few minutes)"
	@$(PIP) --editable '.[serve,train]' && touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing what the tests need (torch: a few minutes)"
	@$(PIP) --editable '.[$(EXTRAS)]' && touch $@

# The real tritonserver of the tests; where it cannot run, the tests that want it skip and say why.
$(TRITON)/.ready: tests/triton/requirements.txt tests/triton/install.py | $(VENV)/bin/python
	@$(RUN) tests/triton/install.py $(TRITON)
