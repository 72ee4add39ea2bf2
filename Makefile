# make demo         path-integral water, one command (about two minutes on 2 cores)
# make test         lint, types, tests (what CI runs)
# make test-physics slower physics against exact references
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-physics lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "creating $(VENV) and installing pimd (a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing what the tests need ..."
	@$(PIP_INSTALL) -e '.[test]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/pimd run inputs/water/input.xml --steps 200 --fresh

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

test-physics: $(VENV)/installed-test
	$(BIN)/python -m pytest -m physics

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
