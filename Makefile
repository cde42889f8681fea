# The two commands of Millstream, each with its own set-up: `make demo` and `make test`.
#
# Everything lives in .venv. A stamp file remembers which set is installed there, so that a re-run takes no time; a
# change of pyproject.toml or constraints.txt, or a checkout that was moved, installs again.

PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
# The demo needs the first set, the tests need the second, which contains the first.
RUN_STAMP := .venv/installed-run
DEV_STAMP := .venv/installed-dev
comma := ,

# A .venv remembers absolute paths: in a checkout that was moved or copied it would run the code of the old place.
ifneq "$(shell cat .venv/checkout 2>/dev/null)" "$(CURDIR)"
MOVED := moved
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test quick lint types format clean moved

help: ## Show this list
	@echo 'Millstream: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  make demo ARGS="--events 20000 --rate max --no-view --report r.json"'
	@echo '  make test PYTEST_ARGS="-k batch -x"'
	@echo '  make test PYTHON=python3.12      another Python, 3.11 or newer, for a new .venv'

demo: $(RUN_STAMP) ## Run broker, worker and producer on the bundled stream; flags in ARGS="…"
	@exec $(BIN)/millstream demo $(ARGS)

test: lint types ## Check format, lint, types, and run the tests; pytest's flags in PYTEST_ARGS="…"
	@echo '==> tests (pytest)'
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

quick: lint types ## The same without a broker and without the slow tests, under two minutes
	@echo '==> tests without a broker, and without the slow ones (pytest)'
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not broker and not slow' $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## Check format and lint
	@echo '==> format (ruff format --check)'
	@$(BIN)/ruff format --check .
	@echo '==> lint (ruff check)'
	@$(BIN)/ruff check .

types: $(DEV_STAMP) ## Check types
	@echo '==> types (mypy)'
	@$(BIN)/mypy

format: $(DEV_STAMP) ## Format the code and repair what the linter can repair
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove .venv, caches and build results
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,EXTRAS,WHAT FOR): make .venv if it is missing, broken or of another place, and install the package there.
define install
	@command -v '$(PYTHON)' >/dev/null 2>&1 || { \
	  echo "error: '$(PYTHON)' not found. Install Python 3.11 or newer, or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Millstream needs Python 3.11 or newer; '$(PYTHON)' is $$('$(PYTHON)' -V 2>&1)." \
	    "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@[ "$$(cat .venv/checkout 2>/dev/null)" = "$$(pwd -P)" ] && $(BIN)/python -c 'import pip' >/dev/null 2>&1 || { \
	  echo '==> making .venv'; \
	  '$(PYTHON)' -m venv --clear .venv || { \
	    echo "error: '$(PYTHON)' could not make .venv (on Debian and Ubuntu: apt-get install python3-venv)" >&2; \
	    exit 1; }; \
	  pwd -P > .venv/checkout; }
	@echo '==> installing Millstream $(2) into .venv (once; torch is large, this takes some minutes)'
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[$(1)]'
endef

$(RUN_STAMP): pyproject.toml constraints.txt $(MOVED)
	$(call install,broker,and its embedded broker)
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt $(MOVED)
	$(call install,broker$(comma)dev,with broker and test tools)
	@touch $(RUN_STAMP) $@
