# make demo: everything from demonstrations to videos. make test: lint, types, import directions, tests.
# make docs: the documentation as web pages, in docs/_build.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test docs clean

demo: .venv/installed
	$(BIN)/infogail demo --force

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

docs: .venv/installed
	$(BIN)/python -m sphinx --builder html --fresh-env --fail-on-warning --keep-going --nitpicky --quiet docs docs/_build

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	# Torch first and by itself: pinned exactly, so that no resolver goes looking for another build.
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)" --constraint constraints.txt
	$(BIN)/pip install --quiet --editable '.[dev]' --constraint constraints.txt
	# By itself, for the protobuf that it pins but does not need here; see pyproject.toml.
	$(BIN)/pip install --quiet --no-deps "$$(grep '^commonroad-io==' constraints.txt)"
	touch $@

clean:
	rm -rf .venv build docs/_build *.egg-info
