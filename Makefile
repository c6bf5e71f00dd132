# Cinelink. `make demo` runs the whole job on a bare machine; `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo run peers test field trials bench clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

# A stamp for each step: an interrupted one is done again, a finished one takes no time.
.venv/.made:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install the Debian package python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: install one and say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "venv is missing: install the Debian package python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

# Every package is pinned and checked by its hash. What pip says is kept; what it fetched is added up from that.
define install
@$(BIN)/pip install --progress-bar off --require-hashes $(1) > .venv/pip.log 2>&1 || \
  { tail -n 20 .venv/pip.log; exit 1; }
@awk '/^ *Downloading / { n = substr($$(NF-1), 2); u = substr($$NF, 1, 2); files++; \
    mb += n * (u == "kB" ? 1e-3 : u == "MB" ? 1 : u == "GB" ? 1e3 : 1e-6) } \
  END { printf "Downloaded %.0f MB in %d files\n", mb, files }' .venv/pip.log
endef

# Our own packages are put in place from this folder, so their build backend is pinned too.
.venv/.runtime: .venv/.made requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing Cinelink and what it needs into .venv (the first time only)"
	$(call install,-r requirements.lock -r requirements-build.lock)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@echo "Installing what the tests need into .venv (the first time only)"
	$(call install,-r requirements-dev.lock)
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
	@echo "== lint ==";          $(BIN)/ruff check .
	@echo "== format ==";        $(BIN)/ruff format --check .
	@echo "== types ==";         $(BIN)/mypy
	@echo "== import rules ==";  $(BIN)/lint-imports --no-logo
	@echo "== tests ==";         $(BIN)/pytest -m "not field and not trial" --durations=10

field: export CINELINK_FIELD_DATA ?= ../shared/data
field: .venv/.dev peers ## the main job over real data in CINELINK_FIELD_DATA
	@$(BIN)/pytest -m field tests/field -s

trials: .venv/.dev peers ## the long figures: hundreds of kills, big files
	@$(BIN)/pytest -m trial tests/trials -s

bench: .venv/.dev ## ratios beside a peer
	@$(BIN)/python -m tests.benchmarks

clean: ## forget everything that was installed or made
	rm -rf .venv .peers demo-data cinelink-data .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
