# Two commands matter: `make demo` and `make test`. Both set up everything they need in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PARTS := pyproject.toml setup.py constraints.txt
# One thread a worker: two pytest workers with all cores each only get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test slow lint types wheel docs docs-serve constraints clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, run the benchmark on embedded cells, print a leaderboard, write cytobench-demo/"
	@echo "make test   set up and run the tests (make slow: the long ones)"
	@echo "make lint   ruff;  make types   mypy;  make wheel   build dist/*.whl;  make clean   remove what was made"
	@echo "make docs   build the documentation into site/;  make docs-serve   show it while it is written"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "CytoBench needs Python 3.11 or newer, and '$(PYTHON)' is older; try: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "'$(PYTHON)' cannot make virtual environments; install its venv package (Debian: python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(PARTS)
	@echo "Installing CytoBench and what it needs into $(VENV) (PyTorch is large: some minutes the first time) …"
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/cytobench demo --out cytobench-demo

test: $(VENV)/.tools
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

slow: $(VENV)/.tools
	$(PYTEST) -n 2 --dist worksteal -m slow

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools
	$(BIN)/mypy

wheel: $(VENV)/.installed
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Built: site/index.html"

docs-serve: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --watch cytobench --watch backbones --watch tasks --watch leaderboards

constraints: $(VENV)/.tools
	@{ echo '# The versions CytoBench was last tested with; `make` installs these. Regenerate: make constraints.'; \
	  $(PIP) freeze --exclude-editable | grep -viE '^(nvidia|cuda|triton|setuptools|pip)' | grep -v ' @ '; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist site *.egg-info cytobench-demo .mypy_cache .ruff_cache .pytest_cache
