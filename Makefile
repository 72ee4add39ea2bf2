# make demo         path-integral water, one command (two to four minutes on 2 cores)
# make test         lint, types, tests (what CI runs); WORKERS=4 with more cores and memory
# make test-physics slower physics against exact references
PYTHON ?= python3
VENV ?= .venv
NEQUIP_VENV ?= .venv-nequip
WORKERS ?= 2
BIN := $(VENV)/bin
NEQUIP_TESTS := $(wildcard tests/potentials/test_nequip*.py tests/potentials/test_deepmd*.py)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NEQUIP_INSTALL := $(NEQUIP_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-physics lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "creating $(VENV) and installing pimd (a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing what the tests need ..."
	@$(PIP_INSTALL) -e '.[test]'
	@$(PIP_INSTALL) -c constraints-mace.txt -e '.[test-backends]'
	@touch $@

# NequIP wants another e3nn than MACE, so its tests have an environment of their own
$(NEQUIP_VENV)/installed-test: pyproject.toml constraints.txt constraints-nequip.txt
	@echo "creating $(NEQUIP_VENV) for the tests of NequIP and DeePMD (a few minutes) ..."
	@$(PYTHON) -m venv $(NEQUIP_VENV)
	@$(NEQUIP_INSTALL) -e '.[test]'
	@$(NEQUIP_INSTALL) -c constraints-nequip.txt -e '.[test-nequip]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/pimd run inputs/water_committee/input.xml --steps 200 --fresh

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint $(NEQUIP_VENV)/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
	$(NEQUIP_VENV)/bin/python -m pytest $(NEQUIP_TESTS)

test-physics: $(VENV)/installed-test
	$(BIN)/python -m pytest -m physics -n $(WORKERS)

clean:
	rm -rf $(VENV) $(NEQUIP_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
