# Hundredfold. `make help` explains every target.
PYTHON ?= python3
SUITE ?= quick
RESULTS ?= results
REPORTS ?= reports
budget ?=
tune ?=
JOBS ?=
REUSE ?=
LAUNCHER ?=
STUDY = $(SUITE) --results $(RESULTS) --reports $(REPORTS) $(if $(budget),--budget $(budget)) $(if $(filter true,$(tune)),--tune) \
	$(if $(JOBS),--jobs $(JOBS)) $(if $(REUSE),--reuse $(REUSE)) $(if $(LAUNCHER),--launcher "$(LAUNCHER)")
WORKERS ?= 2
PARALLEL = --numprocesses $(WORKERS) --dist worksteal
VENV := .venv
RUN := $(VENV)/bin/python
COMMAND := $(VENV)/bin/hundredfold
unexport PYTHONDONTWRITEBYTECODE # the set-up leaves compiling to the first import, which has to be kept

.PHONY: help setup reproduce plan check test reliability waits calibrate lint types benchmark dashboard readme publish docs lock clean

help: ## Explain the targets.
	@echo "Hundredfold: can selective computation train networks on 100 times less energy?"
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18
	@echo "Variables: SUITE=$(SUITE) RESULTS=$(RESULTS) REPORTS=$(REPORTS) PYTHON=$(PYTHON) WORKERS=$(WORKERS)"

setup: $(VENV)/.complete ## Make .venv from the hash-pinned lock file (about 3 minutes, 7 GB).

$(VENV)/.complete: requirements.lock pyproject.toml
	@echo "Setting up $(VENV): downloads about 3 GB once, 2 to 5 minutes"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -qq --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: setup ## Run SUITE (default quick, 10 minutes; budget=small scales, JOBS=2 at once, REUSE=results) and write its report.
	@$(COMMAND) reproduce $(STUDY)

plan: setup ## Say what `make reproduce` would run and how long it would take.
	@$(COMMAND) reproduce $(STUDY) --plan

check: lint ## The inner loop: style, and every test but the slow ones.
	@$(RUN) -m pytest $(PARALLEL) -m "not slow" --durations 5 --durations-min 4

test: setup ## Run the whole test suite (WORKERS=2 processes).
	@$(RUN) -m pytest $(PARALLEL)

reliability: setup ## Kill runs and sweeps, break folders, disks and counters: what survives (12 minutes).
	@$(RUN) -m tests.reliability
	@$(RUN) -m pytest $(PARALLEL) tests/test_command_line.py tests/test_commands.py tests/test_faults.py

waits: setup ## Count how often each method would make the host wait for a GPU (4 minutes, no GPU needed).
	@$(RUN) -m tests.waits

calibrate: setup ## Judge made-up studies: do intervals cover, do false claims stay rare (30 minutes)?
	@$(RUN) -m hundredfold.analysis.calibrate

lint: setup ## Check style and import order.
	@$(RUN) -m ruff check .

types: setup ## Check the types (about 2 minutes).
	@mkdir -p .mypy_cache/path/hundredfold
	@ln -sfn "$(CURDIR)/hundredfold/__init__.py" .mypy_cache/path/hundredfold/__init__.py
	@for folder in analysis conf methods replication; do ln -sfn "$(CURDIR)/$$folder" .mypy_cache/path/hundredfold/$$folder; done
	@cd .mypy_cache/path && "$(CURDIR)/$(RUN)" -m mypy --config-file "$(CURDIR)/pyproject.toml" --cache-dir ..

benchmark: setup ## Time the loop, the methods' decisions, every back end and its peers, whole steps, the data.
	@$(COMMAND) bench

dashboard: setup ## Export SUITE's first seed and its report to W&B, offline, and say how to view and sync them.
	@$(COMMAND) wandb --where "suite=$(SUITE) seed=0" --results $(RESULTS) --report $(REPORTS)/$(SUITE)

readme: setup ## Put published results and the table of methods into README and docs.
	@$(RUN) -m hundredfold.analysis.summary
	@$(RUN) -m hundredfold.replication.catalogue
	@$(RUN) -m hundredfold.analysis.benchmarks
	@$(RUN) -m hundredfold.analysis.front
	@$(RUN) -m hundredfold.analysis.frontier
	@$(RUN) -m hundredfold.analysis.papers_page
	@$(RUN) -m hundredfold.analysis.calibrate page

publish: setup ## Put the report of SUITE into results/, for visitors.
	@$(RUN) -m hundredfold.analysis.publish $(SUITE) $(REPORTS) results

docs: setup ## Build the documentation as pages that need no server: site/index.html.
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict
	@echo "Pages: site/index.html"

lock: ## Renew requirements.lock from pyproject.toml (needs uv).
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra suite --extra onnx --extra engines --group dev pyproject.toml --output-file requirements.lock

clean: ## Delete reports and pages; results are kept.
	rm -rf $(REPORTS) site
