# Everything starts from a bare Python: `make demo` and `make test` set up .venv first, once.
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo test check format bench web clean

help:
	@echo 'make install  set up $(VENV): symgnn, its dependencies, the tests and tools'
	@echo 'make demo     train on the built-in motion, evaluate, write a report (under three minutes)'
	@echo 'make test     all tests'
	@echo 'make check    format, lint and types'
	@echo 'make format   put the format right, and what lint can put right'
	@echo 'make bench    speed on this machine, beside its floor'
	@echo 'make web      build the live page anew from web/ (needs node and npm)'
	@echo 'make clean    remove $(VENV) and all caches; runs/ stays'

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("symgnn needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/symgnn demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(READY)
	$(BIN)/symgnn bench

web:
	cd web && npm ci && npm run build

clean:
	rm -rf $(VENV) web/node_modules build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
