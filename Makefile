PYTHON ?= python

.PHONY: check static test

check: static test

# Formatting, lint and the rule that imports go one way.
static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"

test:
	$(PYTHON) -m pytest
