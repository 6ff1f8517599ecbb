# Everything from a fresh clone. `make help` lists what there is.

SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.made
PAGE := geosearch/web/page/index.html
REFERENCES ?= 6000
QUERIES ?= 400
WORKERS ?= 2
BENCHMARKS := accuracy batch density exports extract ingest layers load sql startup train

.PHONY: help setup demo test system rested lint bench docs lowest package release clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(STAMP) $(PAGE)  ## Make .venv and the page, install PostgreSQL with PostGIS and pgvector
	@scripts/install-postgres

$(STAMP): pyproject.toml constraints.txt scripts/make-venv scripts/uv
	scripts/make-venv
	@touch $@

$(PAGE): $(STAMP) $(wildcard web/*.* web/src/*) scripts/make-page scripts/make-page-data
	@scripts/make-page

demo: setup  ## Run the main job on real images; answers in demo/ (REFERENCES=6000 QUERIES=400)
	scripts/demo $(REFERENCES) $(QUERIES)

test: setup  ## Run the tests, each file in one of WORKERS=2 processes
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile

system: setup  ## Run the tests with real poolers, other servers, kills and trainings, which take minutes
	@scripts/install-test-programs
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile -m system

rested: setup  ## Run the tests that want the whole machine: nodes of Ray, the checks for a GPU
	$(BIN)/pytest -m rested

lint: $(STAMP)  ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if [ -d web/node_modules ]; then cd web && npm run --silent check; fi

bench: setup  ## Run the benchmarks
	@set -e; for name in $(BENCHMARKS); do \
	    echo "== $$name"; $(BIN)/python benchmarks/$$name.py; \
	done
	@if $(BIN)/python -c 'import faiss, lancedb, geoclip' 2>/dev/null; then \
	    echo "== retrieval"; $(BIN)/python benchmarks/retrieval.py; \
	else \
	    echo "== retrieval: skipped, see benchmarks/retrieval.py for what it needs"; \
	fi

docs: setup  ## Build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lowest: setup  ## Run the tests with the lowest versions of all packages that are declared
	scripts/test-lowest

package: setup  ## Build the package into dist/, and localize a photo with the wheel alone
	scripts/check-release --unreleased

release: setup  ## The same, and what must be true before a version is published
	scripts/check-release

clean:  ## Remove what builds, tests and the demo left; keeps .venv
	rm -rf build dist demo site .venv-lowest geosearch/web/page geosearch/features/exported \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find geosearch tests benchmarks scripts alembic -name __pycache__ -prune -exec rm -rf {} +
