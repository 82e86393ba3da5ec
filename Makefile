# Each line runs something that works by hand too. `make help` lists the targets.
SHELL := /bin/bash
# Tests start hundreds of Python processes: each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements.txt
INSTALL_UV = $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r function/requirements-build.txt
STAMP := $(VENV)/.installed-$(shell cat $(REQUIREMENTS) | sha256sum | cut -c1-16)

COMPONENT ?= function
IMAGE ?= dev.local/$(if $(filter function,$(COMPONENT)),resnet18,$(COMPONENT))
BUILD ?= $(if $(shell docker info 2>/dev/null | grep "Server Version"),DOCKER_BUILDKIT=1 docker build,buildah --storage-driver vfs bud --isolation chroot)

.PHONY: help image setup clients lock audit test fuzz chaos soak test-unit cluster-test cluster-proofs lint format layout bench comparison picture demo up down clean
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP)  ## create .venv with the packages pinned in requirements.txt
# The name holds the hash of the requirements, so the age of the file means nothing: a fresh clone is not out of date.
$(STAMP): | $(REQUIREMENTS)
	@echo "setup: Python environment in $(VENV) (the first run on a machine downloads about 3 GB, mostly torch)"
	test -x $(BIN)/uv || { $(INSTALL_UV); }
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode -r $(REQUIREMENTS)
	rm -f $(VENV)/.installed-* && touch $@
	@echo "setup: done"

CLIENTS_VENV := .venv-clients
CLIENTS_STAMP := $(CLIENTS_VENV)/.installed-$(shell cat tests/clients/requirements.txt | sha256sum | cut -c1-16)
clients: $(CLIENTS_STAMP)  ## create .venv-clients with the unmodified KServe client, for its test
$(CLIENTS_STAMP): | tests/clients/requirements.txt $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CLIENTS_VENV)
	$(BIN)/uv pip install --quiet --python $(CLIENTS_VENV)/bin/python --require-hashes -r tests/clients/requirements.txt
	touch $@

AUDIT_VENV := .venv-audit
AUDIT_STAMP := $(AUDIT_VENV)/.installed-$(shell cat scripts/audit-requirements.txt | sha256sum | cut -c1-16)
$(AUDIT_STAMP): | scripts/audit-requirements.txt $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(AUDIT_VENV)
	$(BIN)/uv pip install --quiet --python $(AUDIT_VENV)/bin/python --require-hashes -r scripts/audit-requirements.txt
	touch $@
audit: $(AUDIT_STAMP)  ## check the pinned packages for known vulnerabilities; writes sbom/*.cdx.json for the images
	$(AUDIT_VENV)/bin/python scripts/audit.py

lock: | $(VENV)/bin/uv  ## regenerate each requirements*.txt from its .in file
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt function/requirements.in -o function/requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt function/requirements-export.in -o function/requirements-export.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" function/requirements-build.in -o function/requirements-build.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt dispatcher/requirements.in -o dispatcher/requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt dispatcher/requirements-otel.in -o dispatcher/requirements-otel.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt function/requirements-otel.in -o function/requirements-otel.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" tests/clients/requirements.in -o tests/clients/requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" scripts/audit-requirements.in -o scripts/audit-requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -c requirements.txt autoscaler_tuning/requirements.in -o autoscaler_tuning/requirements.txt
$(VENV)/bin/uv:
	$(INSTALL_UV)

model/manifest.json: | $(STAMP)
	@$(BIN)/python -m function.tools.export --weights imagenet --out model || { status=$$?; \
	  test $$status -eq 3 || exit $$status; \
	  echo "IMAGENET WEIGHTS ARE NOT AVAILABLE: USING RANDOM WEIGHTS. LABELS ARE MEANINGLESS."; \
	  $(BIN)/python -m function.tools.export --weights random --out model; }

demo: $(STAMP) model/manifest.json  ## classify an image from zero pods, then compare three autoscalers, live and simulated; writes report/index.html
	$(BIN)/python -m autoscaler_tuning demo

up: $(STAMP) model/manifest.json  ## start dispatcher and controller on this machine, with no pods yet
	$(BIN)/python -m autoscaler_tuning up
down:  ## stop the processes that `make up` started
	$(if $(wildcard $(VENV)/.installed-*),$(BIN)/python -m autoscaler_tuning down)

# Tests wait more than they compute, hence a worker more than there are cores, at most five; those without processes do not
# wait. Tests of one group (xdist_group) stay in one worker, one after the other.
CORES := $(shell nproc)
WORKERS ?= $(shell echo $$(($(CORES) < 4 ? $(CORES) + 1 : 5)))
UNIT_WORKERS ?= $(shell echo $$(($(CORES) < 4 ? $(CORES) : 4)))
PARALLEL := --dist loadgroup --no-loadscope-reorder --durations 10
test: $(STAMP) $(CLIENTS_STAMP)  ## run lint and all tests that need no cluster: ten minutes on two cores; .ci/run gives the expensive ones more rounds
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(WORKERS) $(PARALLEL)
fuzz: $(STAMP)  ## send 10,000 bad inputs to a pod, and as many to a dispatcher (`make test` runs half a minute of it)
	FUZZ_INPUTS=10000 $(BIN)/python -m pytest -s --timeout 7200 tests/function/test_fuzz.py tests/dispatcher/test_fuzz.py
CHAOS_REQUESTS ?= 100000
chaos: $(STAMP)  ## send 100,000 requests beside each kind of fault and print what became of them; an hour or two
	CHAOS_REQUESTS=$(CHAOS_REQUESTS) $(BIN)/python -m pytest -s tests/chaos/test_dispatcher_faults.py tests/chaos/test_journal_faults.py
SOAK_S ?= 3600
soak: $(STAMP)  ## an hour of mixed load with faults: no process may grow; writes soak.json
	SOAK_S=$(SOAK_S) $(BIN)/python -m pytest -s tests/soak
test-unit: $(STAMP)  ## run the tests that need no processes and sockets: 1 minute
	$(BIN)/python -m pytest -n $(UNIT_WORKERS) $(PARALLEL) -m "not integration and not bench and not cluster"
cluster-test: $(STAMP)  ## run the tests on a real Kubernetes and Knative, which are started for them
	$(BIN)/python -m pytest -m "cluster and not proof" tests/cluster
cluster-proofs: $(STAMP)  ## run the long experiments there: kills, outages, rollouts, other targets; half an hour
	$(BIN)/python -m pytest -s -m "cluster and proof" tests/cluster
bench: $(STAMP)  ## measure speed; prints tables and writes bench*.json
	$(BIN)/python -m pytest -m bench -s tests/benchmarks
comparison: $(STAMP)  ## regenerate docs/comparison.md: [COMPARISON="--live RUNS --fit-runs RUNS"]; ten minutes
	$(BIN)/python scripts/comparison.py $(COMPARISON)
picture: $(STAMP)  ## draw the figures of README and docs/autoscaling.md anew; a few minutes
	$(BIN)/python scripts/picture.py
image:  ## build an image: [COMPONENT=function|dispatcher|controller] [IMAGE=NAME] [WEIGHTS=imagenet|random|FILE] [OTEL=1] [BASE=...] [RUNTIME=...]
	$(BUILD) --file $(if $(filter controller,$(COMPONENT)),autoscaler_tuning,$(COMPONENT))/Dockerfile --tag $(IMAGE) $(foreach name,WEIGHTS OTEL BASE RUNTIME,$(if $($(name)),--build-arg $(name)=$($(name)))) .
layout: $(STAMP)  ## print the packages, their parts and who imports whom
	@$(BIN)/python scripts/layout.py
format: $(STAMP)  ## correct style: what ruff can fix by itself, and the layout of the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
lint: $(STAMP)  ## check style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
clean: down  ## remove everything that the other targets created
	rm -rf .venv .venv-clients .venv-audit sbom model report .run .mypy_cache .ruff_cache .pytest_cache .hypothesis bench.json soak.json bench-*.json bench-*.svg
