# Cinelink. `make demo` runs the whole job on a bare machine; `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help setup demo run peers test field trials bench clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

.venv/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install the Debian package python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: install one and say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "venv is missing: install the Debian package python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# Every package is pinned and checked by its hash. Our own is put in place from this folder; its build backend is pinned too.
.venv/.runtime: .venv/pyvenv.cfg requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing Cinelink and what it needs (the first time only)"
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock -r requirements-build.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "Installed: $$(du -sh .venv | cut -f1) in .venv"
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@echo "Installing what the tests need (the first time only)"
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

setup: .venv/.runtime ## .venv with .venv/bin/cinelink

demo: setup ## the whole job with sandbox peers; ONCE=1, VIDEO=, ORDER=, DIR=
	@$(BIN)/cinelink demo $(if $(ONCE),--once) $(if $(DIR),--dir "$(DIR)") \
	  $(if $(VIDEO),--video "$(VIDEO)") $(if $(ORDER),--order "$(ORDER)")

run: setup ## the engine, with the settings of cinelink.toml
	@$(BIN)/cinelink serve

peers: .venv/.dev
	@sh tests/peers/install.sh

test: .venv/.dev peers ## lint, types, import rules, and all tests
	@echo "== ruff ==";          $(BIN)/ruff check .
	@echo "== format ==";        $(BIN)/ruff format --check .
	@echo "== types ==";         $(BIN)/mypy
	@echo "== import rules ==";  $(BIN)/lint-imports
	@echo "== tests ==";         $(BIN)/pytest -m "not field and not trial" --durations=10

field: .venv/.dev peers ## the main job over real data in CINELINK_FIELD_DATA
	@$(BIN)/pytest -m field tests/field -s

trials: .venv/.dev peers ## the long figures: hundreds of kills, big files
	@$(BIN)/pytest -m trial tests/trials -s

bench: .venv/.dev ## ratios beside a peer
	@$(BIN)/python -m tests.benchmarks

clean: ## forget everything that was installed or made
	rm -rf .venv .peers demo-data cinelink-data
