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

# The parameters of the sweep, each of them optional: make sweep experiment=digits minutes=3 data=/path/to/images
parameters := $(shell sed -n '/&sweep_parameters/,/command:/s/^ *\([a-z]*\): {type.*/\1/p' MLproject)
# Only variables on make's own command line count: a `data` in the environment is meant for something else.
given = $(foreach name,$(1),$(if $(filter command,$(origin $(name))),-P '$(name)=$($(name))'))
asked = $(if $(filter command,$(origin $(1))),$($(1)))
asked_name := $(if $(filter command,$(origin name)),$(name),mnist-cnn)
asked_port := $(if $(filter command,$(origin port)),$(port))
served = $(asked_name)$(if $(findstring @,$(asked_name))$(findstring /,$(asked_name)),,@champion)
export MLFLOW_DISABLE_TELEMETRY ?= true
export MLFLOW_EXPERIMENT_NAME ?= digitsweep

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-17s %s\n' "$$name" "$$text"; done
	@for name in $(BENCHMARKS); do printf '  make %-17s %s\n' "bench-$$name" 'Run this benchmark; see benchmarks/README.md'; done

# Ray is installed only for those who train with it.
with_ray = $(if $(filter ray,$(call asked,engine)),$(VENV)/.installed-ray)

.PHONY: sweep
sweep: $(VENV)/.installed $(with_ray) ## Set up .venv and run a sweep: experiments/mnist.yaml, or experiment= (also minutes=, trials=, seconds=, workers=, engine=, address=, data=, seed=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e sweep --env-manager=local $(call given,$(parameters))

.PHONY: resume
resume: $(VENV)/.installed $(with_ray) ## Continue the newest interrupted sweep (run=its id, workers=, engine=, address=, data=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e resume --env-manager=local $(call given,run workers engine address data)

.PHONY: notebook
notebook: $(VENV)/.installed-notebook ## Open notebooks/digits.ipynb in JupyterLab
	@$(BIN)/jupyter lab notebooks/digits.ipynb

.PHONY: compare
compare: $(VENV)/.installed ## Show the comparison of the newest sweep again
	@$(BIN)/digitsweep compare

.PHONY: ui
ui: $(VENV)/.installed ## Open the MLflow UI with the trials of the newest sweep in charts (port=5000)
	@$(BIN)/digitsweep ui $(if $(asked_port),--port '$(asked_port)')

.PHONY: serve
serve: $(VENV)/.installed ## Serve a champion over HTTP (name=mnist-cnn, or NAME@ALIAS; port=5001)
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow models serve -m 'models:/$(served)' --env-manager=local --port '$(or $(asked_port),5001)'

.PHONY: up
up: ## Start the tracking server of docker-compose.yml; see docs/server.md
	@deploy/up.sh

.PHONY: down
down: ## Stop the tracking server and keep its data
	@docker compose --profile '*' down

.PHONY: logs
logs: ## Follow the logs of the tracking server
	@docker compose logs --follow --tail=100

.PHONY: backup
backup: ## Back up the tracking server while it runs (backup=folder; by default backups/ and the time)
	@deploy/backup.sh $(backup)

.PHONY: restore
restore: ## Restore a backup (backup=folder; replace=yes to replace existing runs)
	@deploy/restore.sh "$(backup)" $(replace)

.PHONY: upgrade
upgrade: ## Back up the tracking server, then move it to the versions in its files
	@deploy/upgrade.sh

.PHONY: image
image: ## Build the image of digitsweep, for sweeps inside the tracking server's stack
	@DIGITSWEEP_COMMIT="$$(git describe --always --abbrev=40 --exclude='*' --dirty)" docker compose --profile sweep build sweep

.PHONY: cluster-image
cluster-image: ## Build the same image with Ray, for the profile cluster; see docs/cluster.md
	@DIGITSWEEP_COMMIT="$$(git describe --always --abbrev=40 --exclude='*' --dirty)" docker compose --profile cluster build job

.PHONY: test
test: lint types ## Lint, types and tests (within 8 minutes on two cores)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev ## Run tests that take minutes: champions over HTTP, digits on noisy paper, killed promotions, an installed wheel, a browser
	@$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile

.PHONY: test-faults
test-faults: $(VENV)/.installed-dev ## Test with faults: processes killed and raced, servers stopped, disks filled, files damaged (30 minutes)
	@$(BIN)/python -m pytest -m faults --numprocesses 2 --dist loadfile

.PHONY: test-ray
test-ray: $(VENV)/.installed-dev $(VENV)/.installed-ray ## Test on a Ray cluster of several nodes: the same results, nodes cut off, actors killed (10 minutes)
	@$(BIN)/python -m pytest -m ray --numprocesses 2 --dist loadfile

.PHONY: test-stack
test-stack: $(VENV)/.installed-dev ## Test the tracking server in Docker; installs Docker if it is missing (30 minutes)
	@tests/stack/engine.sh start
	@tests/stack/images.sh
	@$(BIN)/python -m pytest -m stack tests/stack

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .

.PHONY: types
types: $(VENV)/.installed-dev ## Check types
	@$(BIN)/mypy

.PHONY: coverage
coverage: $(VENV)/.installed-dev ## Run the tests and show which lines they cover, in worker processes too
	@rm -rf build/coverage
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage html --quiet --directory build/coverage/html
	@$(BIN)/python -m coverage report

.PHONY: docs
docs: $(VENV)/.installed-docs ## Build the documentation site, build/docs/index.html; a warning is an error
	@rm -rf build/docs docs/api
	@$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs
	@echo "The site: build/docs/index.html"

.PHONY: wheel
wheel: $(VENV)/.installed-dev ## Build the wheel into dist/
	@rm -rf build/lib build/bdist.* dist
	@$(BIN)/python -m build --wheel --no-isolation

RESOLVE := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: lock
lock: ## Resolve the locks again: the project's, the extra ray's, and those of the server's and the cluster's images (needs uv)
	uv pip compile pyproject.toml $(RESOLVE) --output-file requirements.txt
	uv pip compile requirements-ray.in --constraint requirements.txt $(RESOLVE) --output-file requirements-ray.txt
	uv pip compile deploy/server/requirements.in --constraint requirements.txt $(RESOLVE) \
		--output-file deploy/server/requirements.txt
	uv pip compile deploy/ray/requirements.in --constraint requirements.txt --constraint requirements-ray.txt $(RESOLVE) \
		--output-file deploy/ray/requirements.txt

.PHONY: clean
clean: ## Remove the virtual environment, caches and build results; keep records
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist docs/api src/*.egg-info

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

$(VENV)/.installed-ray: requirements-ray.txt $(VENV)/.installed
	@$(INSTALL) --require-hashes -r requirements-ray.txt
	@touch $@

$(VENV)/.installed-notebook: $(VENV)/.installed
	@$(INSTALL) --no-build-isolation -e '.[notebook]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(INSTALL) --no-build-isolation -e '.[docs]'
	@touch $@

BENCHMARKS := throughput overhead utilisation startup memory scale search prediction quality step precision optimism agreement claims image-folder not-digits draw stack cluster

.PHONY: $(addprefix bench-,$(BENCHMARKS))
$(addprefix bench-,$(BENCHMARKS)): bench-%: $(VENV)/.installed-dev
	@cd benchmarks && PYTHONHASHSEED=0 ../$(BIN)/python $(subst -,_,$*).py

.PHONY: portfolio
portfolio: $(VENV)/.installed-dev ## Learn the experiments' priors and first configurations again, from benchmarks/search_table.json.gz
	@cd benchmarks && ../$(BIN)/python portfolio.py

PEERS := build/bench-peers

.PHONY: bench-peers
bench-peers: $(PEERS)/.installed ## Install KerasTuner and Ray Tune, which digitsweep is compared with, into build/bench-peers
bench-quality bench-cluster: $(PEERS)/.installed
bench-cluster: $(VENV)/.installed-ray

$(PEERS)/.installed: benchmarks/peers/requirements.txt pyproject.toml | $(VENV)/.installed
	@echo "Installing into $(PEERS): a few minutes, once."
	@$(BIN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e . -r benchmarks/peers/requirements.txt
	@touch $@
