PYTHON ?= python

.PHONY: check static test slow

check: static test slow

# Formatting, lint, the rule that imports go one way, types, and the page's scripts.
static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"
	$(PYTHON) -m mypy
	.ci/lint-js

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m slow
