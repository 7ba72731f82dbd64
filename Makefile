# `make help` lists the targets. Everything is installed into .venv; nothing else on the machine is touched.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# tensorflow has wheels for these versions of Python.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo "$$python" && break; \
	done)
VENV := .venv
BIN := $(VENV)/bin

ifneq ($(shell command -v uv 2>/dev/null),)
CREATE = uv venv --quiet --clear --python '>=3.11,<3.14' $(VENV)
INSTALL = uv pip install --quiet --python $(BIN)/python --compile-bytecode
else
CREATE = test -n "$(PYTHON)" || { echo 'digitsweep needs Python 3.11, 3.12 or 3.13 (tensorflow has no wheels for others); none is on PATH' >&2; exit 2; }; \
	"$(PYTHON)" -m venv --clear $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

# The parameters of the sweep, each of them optional: make sweep experiment=digits trials=4 data=/path/to/images
parameters := experiment trials seconds workers data seed
# Only what stands on make's own command line: a variable `data` of the environment is somebody else's.
given = $(foreach name,$(1),$(if $(filter command,$(origin $(name))),-P '$(name)=$($(name))'))
asked_name := $(if $(filter command,$(origin name)),$(name),mnist-cnn)
asked_port := $(if $(filter command,$(origin port)),$(port))
served = $(asked_name)$(if $(findstring @,$(asked_name))$(findstring /,$(asked_name)),,@champion)
export MLFLOW_DISABLE_TELEMETRY ?= true
export MLFLOW_EXPERIMENT_NAME ?= digitsweep

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-17s %s\n' "$$name" "$$text"; done
	@for name in $(BENCHMARKS); do printf '  make %-17s %s\n' "bench-$$name" 'Measure it; benchmarks/README.md says what'; done

.PHONY: sweep
sweep: $(VENV)/.installed ## Install what is needed, then run experiments/mnist.yaml (experiment=, trials=, seconds=, workers=, data=, seed=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e sweep --env-manager=local $(call given,$(parameters))

.PHONY: resume
resume: $(VENV)/.installed ## Go on with the newest sweep that was broken off (run=its id, workers=, data=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e resume --env-manager=local $(call given,run workers data)

.PHONY: compare
compare: $(VENV)/.installed ## Print the comparison of the newest sweep again
	@$(BIN)/digitsweep compare

.PHONY: ui
ui: $(VENV)/.installed ## Open the MLflow UI on what has been recorded here
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow ui

.PHONY: serve
serve: $(VENV)/.installed ## Serve a champion over HTTP (name=mnist-cnn, or NAME@ALIAS; port=5001)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow models serve -m 'models:/$(served)' --env-manager=local --port '$(or $(asked_port),5001)'

.PHONY: up
up: ## Start the tracking server of docker-compose.yml, with secrets in .env; docs/server.md has the rest
	@deploy/up.sh

.PHONY: down
down: ## Stop the tracking server; what it holds stays
	@docker compose --profile '*' down

.PHONY: logs
logs: ## Follow what the tracking server says
	@docker compose logs --follow --tail=100

.PHONY: backup
backup: ## Copy everything the tracking server holds, while it works (backup=folder; else backups/ and the time)
	@deploy/backup.sh $(backup)

.PHONY: restore
restore: ## Put a backup back (backup=folder, replace=yes where there is something to replace)
	@deploy/restore.sh "$(backup)" $(replace)

.PHONY: upgrade
upgrade: ## Bring the tracking server to the versions that its files name now, after a backup
	@deploy/upgrade.sh

.PHONY: image
image: ## Build the project's own image, for sweeps inside the tracking server's stack
	@DIGITSWEEP_COMMIT="$$(git describe --always --abbrev=40 --exclude='*' --dirty)" docker compose --profile sweep build sweep

.PHONY: test
test: lint types ## Lint, types and tests (within 8 minutes on two cores)
	@$(BIN)/python -m pytest

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev ## What takes minutes: champions served over HTTP, MNIST's digits on noisy paper, promotions killed and raced
	@$(BIN)/python -m pytest -m slow

.PHONY: test-faults
test-faults: $(VENV)/.installed-dev ## Pull plugs: processes killed and raced, servers stopped, disks filled, files damaged (a quarter of an hour)
	@$(BIN)/python -m pytest -m faults

.PHONY: test-stack
test-stack: $(VENV)/.installed-dev ## Test the tracking server itself, in Docker, which is installed where it is missing (half an hour)
	@tests/stack/engine.sh start
	@tests/stack/images.sh
	@$(BIN)/python -m pytest -m stack tests/stack

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .

.PHONY: types
types: $(VENV)/.installed-dev ## Check types
	@$(BIN)/mypy

RESOLVE := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: lock
lock: ## Resolve both requirements.txt anew, the project's and the tracking server's (needs uv)
	uv pip compile pyproject.toml $(RESOLVE) --output-file requirements.txt
	uv pip compile deploy/server/requirements.in --constraint requirements.txt $(RESOLVE) \
		--output-file deploy/server/requirements.txt

.PHONY: clean
clean: ## Remove the virtual environment and caches; what was recorded stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build src/*.egg-info

$(VENV)/.installed: requirements.txt pyproject.toml
	@echo "Installing into $(VENV): about a minute, once."
	@$(CREATE)
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@

BENCHMARKS := throughput overhead utilisation startup memory scale quality step precision optimism stack

.PHONY: $(addprefix bench-,$(BENCHMARKS))
$(addprefix bench-,$(BENCHMARKS)): bench-%: $(VENV)/.installed-dev
	@cd benchmarks && PYTHONHASHSEED=0 ../$(BIN)/python $*.py
