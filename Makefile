# Each line runs something that works by hand too. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements.txt
STAMP := $(VENV)/.installed-$(shell cat $(REQUIREMENTS) | sha256sum | cut -c1-16)

.PHONY: help setup lock test test-unit cluster-test lint bench demo up down clean
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP)  ## make .venv with everything pinned in requirements.txt
$(STAMP): $(REQUIREMENTS)
	@echo "setup: Python environment in $(VENV) (the first time on a machine downloads about 3 GB, most of it torch)"
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode -r $(REQUIREMENTS)
	rm -f $(VENV)/.installed-* && touch $@
	@echo "setup: done"

lock: | $(VENV)/bin/uv  ## write the three requirements.txt anew from their .in files
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt function/requirements.in -o function/requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt dispatcher/requirements.in -o dispatcher/requirements.txt
$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

model/manifest.json: | $(STAMP)
	@$(BIN)/python -m function.export --weights imagenet --out model || { \
	  echo "IMAGENET WEIGHTS CANNOT BE HAD HERE: USING RANDOM WEIGHTS. LABELS MEAN NOTHING."; \
	  $(BIN)/python -m function.export --weights random --out model; }

demo: $(STAMP) model/manifest.json  ## a photograph from zero, then three autoscalers live and simulated; writes report/index.html
	$(BIN)/python -m autoscaler_tuning demo

up: $(STAMP) model/manifest.json  ## start dispatcher and controller on this machine, with no pod yet
	$(BIN)/python -m autoscaler_tuning up
down:  ## stop what `make up` started
	test ! -x $(BIN)/python || $(BIN)/python -m autoscaler_tuning down

test: $(STAMP)  ## lint and all tests that need no cluster
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest
test-unit: $(STAMP)  ## the tests without processes and sockets
	$(BIN)/python -m pytest -m "not integration and not bench and not cluster"
cluster-test: $(STAMP)  ## the tests on a real Kubernetes and Knative, started for them
	$(BIN)/python -m pytest -m cluster tests/cluster
bench: $(STAMP)  ## measure speed; prints tables and writes bench.json
	$(BIN)/python -m pytest -m bench -s tests/benchmarks
lint: $(STAMP)  ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
clean: down  ## remove what the other targets made
	rm -rf .venv model report .run .mypy_cache .ruff_cache .pytest_cache .hypothesis bench.json bench-loadgen.json
