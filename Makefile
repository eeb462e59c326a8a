PYTHON ?= python

.PHONY: check docs static test

check: static test

# Formatting, lint and the rule that imports go one way.
static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"
	$(MAKE) --no-print-directory docs

# The site, into build/site; any warning is an error. Its notice of a successor is not about us.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

test:
	$(PYTHON) -m pytest
