PYTHON ?= python

.PHONY: check clients coverage docs slow static test

check: static coverage slow

# Formatting, lint, the rule that imports go one way, types, the page's scripts, the documentation.
static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"
	$(PYTHON) -m mypy
	.ci/lint-js
	$(MAKE) --no-print-directory docs

# The site, into build/site; any warning is an error. Its notice of a successor is not about us.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

test:
	$(PYTHON) -m pytest

# What is handed to other programs and taken back, with those that are installed here: the extras
# `export` and `xlsx`, pycocotools, datasets, polars, duckdb, LibreOffice, and Label Studio, whose
# program CLUSTERKIT_LABEL_STUDIO names where it has an environment of its own.
clients:
	$(PYTHON) -m pytest -n 0 -m "slow or not slow" tests/exporting tests/data/test_workbooks.py tests/formats/test_spreadsheets.py

# Counting lines makes the tests half as slow again: not part of .ci/run.
coverage:
	$(PYTHON) -m pytest --cov clusterkit --cov-report term

slow:
	$(PYTHON) -m pytest -m slow
