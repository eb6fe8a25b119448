# Needs Python 3.11 or newer and make; everything else goes into .venv by itself. `make help` says what there is.

.PHONY: help run demo test chaos lint types fuzz bench growth scale page tables clean
.NOTPARALLEL: # they share .venv

export PYTHON
VENV := .venv/bin

help: ## say what there is (this)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'ARGS="…"     passes flags on: make run ARGS="--port 8091", make test ARGS="-k config -n 0"'
	@echo 'QUICK=1      makes bench and growth short'
	@echo 'PYTHON=…     the Python that .venv is made with, 3.11 or newer'
	@echo
	@echo 'Where to read on: README.md (using it), CONTRIBUTING.md (changing it).'

run: .venv/.ready-run ## start a broker on http://127.0.0.1:8090/ with its home in .run/home; Ctrl-C stops it
	@exec $(VENV)/pycmbs serve --home .run/home --config conf $(ARGS)

demo: .venv/.ready-run ## show three brokers at work for some seconds
	@exec $(VENV)/pycmbs demo $(ARGS)

test: .venv/.ready-test ## run the tests
	@$(VENV)/python -m pytest -n auto --dist loadgroup $(ARGS)

chaos: .venv/.ready-test ## run federations under faults, from seeds; ARGS="--rounds 200 --jobs 2" (doc/testing.md)
	@$(VENV)/python -m tests.chaos $(ARGS)

lint: .venv/.ready-dev ## check style and formatting
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

types: .venv/.ready-dev ## check types
	@$(VENV)/mypy

fuzz: .venv/.ready-fuzz ## fuzz the parsers and the requests, a minute each; what it learns stays in .run/fuzz
	@$(VENV)/python -m tests.fuzz $(ARGS)

bench: .venv/.ready-test ## measure throughput and latency beside references (10 minutes; QUICK=1: one)
	@$(VENV)/python -m bench $(if $(QUICK),--quick) $(ARGS)

growth: .venv/.ready-test ## measure what things cost as there is more of everything (10 minutes; QUICK=1: seconds)
	@$(VENV)/python -m bench.growth $(if $(QUICK),--quick) $(ARGS)

scale: .venv/.ready-test ## measure the stores by size and by writers (10 minutes)
	@$(VENV)/python -m bench.stores $(ARGS)

page: .venv/.ready-bench ## write doc/performance.md and its plots; ARGS="--keep .run/bench.json" takes new results
	@$(VENV)/python -m bench.page $(ARGS)

tables: .venv/.ready-test ## write the tables of the documents that follow from the code
	@$(VENV)/python -m tests.documents.tables

clean: ## remove .venv, caches and build files; homes in .run stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-%: pyproject.toml .ci/setup-venv
	@.ci/setup-venv $*
