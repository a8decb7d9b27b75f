# Two commands do all the set-up: `make demo` and `make test`. Both leave their environment in .venv.

PYTHON := .venv/bin/python
UV := .venv/bin/uv

.PHONY: demo env test check lock docs clean
.DELETE_ON_ERROR:

.venv/bin/uv: requirements/uv.txt .python-version
	$(call find_python) -m venv .venv
	$(PYTHON) -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

# The first interpreter that is Python 3.12; a pyenv shim may exist without one behind it.
find_python = $$(for python in python3.12 python3 python; do \
	if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; \
	then echo $$python; exit; fi; done; echo Python-3.12-is-needed)

.venv/core.installed: .venv/bin/uv requirements/core.txt pyproject.toml
	$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements/core.txt
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/all.installed: .venv/core.installed requirements/all.txt
	$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements/all.txt
	@touch $@

# Build, verify and open the embedded synthetic release.
demo: .venv/core.installed
	$(PYTHON) cli.py build --release demo
	$(PYTHON) cli.py verify dist/demo
	$(PYTHON) docs/examples/open_demo.py

# Install everything: training, models, benchmark, tests.
env: .venv/all.installed

# Run every test, a file at a time in up to four processes of one thread each. PYTEST_ADDOPTS
# passes options to pytest; "-n 0" runs all in one process.
test: .venv/all.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile

# Style, types, direction of imports.
check: .venv/all.installed
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	rm -rf build && $(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --target build/typed .
	cd build/typed && ../../$(PYTHON) -m mypy --config-file ../../pyproject.toml -p cellresponse
	.venv/bin/lint-imports

# Compile the pinned requirements anew. It uses the package index that uv is set up with.
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate
lock: .venv/bin/uv
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements/all.txt
	$(COMPILE) --group build -c requirements/all.txt pyproject.toml -o requirements/core.txt

# What is generated from the evidence and the rules: descriptor, catalogue, tables. Tests compare.
docs: .venv/core.installed
	$(PYTHON) -m cellresponse.curation.descriptor
	$(PYTHON) docs/write_tables.py

clean:
	rm -rf build dist .venv
