# Two commands for users: `make demo` and `make test`. Both set up .venv first; a second time that costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests.
WORKERS ?= 2
STAMPS := .make
INPUTS := pyproject.toml constraints.txt

.PHONY: venv demo test test-all lint examples clean
.DELETE_ON_ERROR:

venv: $(STAMPS)/run

demo: $(STAMPS)/run
	$(BIN)/bench demo

test: $(STAMPS)/test
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(STAMPS)/test
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# The plug-in goes into a folder of its own, which only these commands see: the tests count what is registered.
examples: $(STAMPS)/plugins
	PYTHONPATH=$(CURDIR)/$(STAMPS)/plugins $(BIN)/pip check --disable-pip-version-check
	PYTHONPATH=$(CURDIR)/$(STAMPS)/plugins $(BIN)/bench verify torchcam --layer layer4
	PYTHONPATH=$(CURDIR)/$(STAMPS)/plugins $(BIN)/pytest -p no:cacheprovider examples/bench-torchcam

lint: $(STAMPS)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(STAMPS) build dist *.egg-info examples/*/build examples/*/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# A stamp lies inside .venv's lifetime: without the interpreter it counts as missing.
ifeq ($(wildcard $(BIN)/python),)
.PHONY: $(STAMPS)/run $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/plugins
endif

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/run: $(INPUTS) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: $(STAMPS)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

$(STAMPS)/plugins: $(STAMPS)/test $(wildcard examples/bench-torchcam/*.*)
	rm -rf $@
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --target $@ \
		torchcam ./examples/bench-torchcam

$(STAMPS)/lint: $(STAMPS)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lint]'
	@touch $@
