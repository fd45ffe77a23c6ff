# Each target sets up what it needs: a virtual environment from the lock, and for the tests the
# programs from npm where Node.js is installed. The second time, both are there already.

PYTHON ?= python3
ARGS ?=
# Most tests wait, for a turn or an outage: two at a time suit two cores.
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready
NODE := tests/support/node
NODE_READY := $(NODE)/node_modules/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint lint-style lint-format lint-types lint-types-again lint-imports
.PHONY: format bench schema lock clean

help:
	@echo 'make demo ARGS="--for 20s"   everything at once on a private database'
	@echo 'make test ARGS="-k name"     the tests, on real servers; WORKERS=0: one after another'
	@echo 'make soak                    the tests that take minutes'
	@echo 'make lint                    ruff, mypy, pyright and the import ladder'
	@echo 'make format                  what ruff can mend by itself'
	@echo 'make bench                   the benchmarks, side by side with what they compare to'
	@echo 'make schema                  publish the schemas of the configuration file and the webhook anew'
	@echo 'make lock ARGS="--upgrade"   write requirements/dev.txt anew'
	@echo 'make clean                   remove what these targets have installed'
	@echo 'Another Python than python3: make PYTHON=python3.12 TARGET'

demo: $(READY)
	@$(BIN)/pulsebase demo $(ARGS)

test: $(READY) $(NODE_READY)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

soak: $(READY) $(NODE_READY)
	$(BIN)/python -m pytest -m soak $(ARGS)

# With `make --keep-going lint`, each of them has its say.
lint: lint-style lint-format lint-types lint-types-again lint-imports

lint-style: $(READY)
	$(BIN)/ruff check .

lint-format: $(READY)
	$(BIN)/ruff format --check .

lint-types: $(READY)
	$(BIN)/mypy

lint-types-again: $(READY)
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --warnings

lint-imports: $(READY)
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) $(NODE_READY)
	$(BIN)/python -m bench $(ARGS)

schema: $(READY)
	$(BIN)/pulsebase check-config --schema > docs/reference/pulsebase.schema.json
	$(BIN)/python -m pulsebase.notifiers.support.payload > docs/reference/webhook.schema.json

# pip-compile reads the project's extras as a package called pulsebase, and would pin that too,
# with the path of this folder. Lines that begin with -- would be addresses of this machine's mirrors.
lock: $(READY)
	CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --generate-hashes \
		--allow-unsafe --strip-extras --extra all --output-file requirements/dev.txt $(ARGS) \
		pyproject.toml requirements/dev.in
	sed -e '/^--/d' -e '/^# WARNING: pip install/,/^    # via pulsebase (pyproject.toml)/d' \
		requirements/dev.txt > requirements/dev.txt.new
	mv requirements/dev.txt.new requirements/dev.txt
	cd $(NODE) && npm install --package-lock-only --ignore-scripts

clean:
	rm -rf .venv $(NODE)/node_modules

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"pulsebase needs Python 3.11 or newer: name one with make PYTHON=python3.11 ...")'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		--no-deps --editable .
	@touch $@

# npm leaves install scripts out, so the symbolic links that one of them would make are made here.
$(NODE_READY): $(NODE)/package.json $(NODE)/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo 'Node.js is not installed: the tests over HTTP will be skipped'; \
	else \
		cd $(NODE) && npm ci --ignore-scripts && \
		for name in pg16 pg17; do \
			if [ -d node_modules/$$name ]; then \
				(cd node_modules/$$name && node scripts/hydrate-symlinks.js) || exit 1; \
			fi; \
		done && \
		touch node_modules/.ready; \
	fi
