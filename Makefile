# make install | demo | test | check | bench       (pins: renew constraints.txt)
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= auto
ELEMENT := tests/interop/element

.PHONY: install demo test check bench pins clean

install: .venv/.python .venv/.node

.venv/.python: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Only the interop tests need Node; without it they are skipped loudly (and fail in CI).
# Without it no stamp is left, so that a later `make install` looks again.
.venv/.node: .venv/.python $(wildcard $(ELEMENT)/package-lock.json)
	@if node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null; then \
		npm ci --prefix $(ELEMENT) --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "Node.js 20 or newer is NOT HERE: the interop tests with matrix-js-sdk will be SKIPPED."; fi

demo: .venv/.python
	$(BIN)/botschaft demo $(ARGS)

# Files are tried side by side, each in one process. `make test WORKERS=0` is one after the other, `WORKERS=` without pytest-xdist.
test: install
	$(BIN)/python -m pytest --cov --cov-report=term $(if $(WORKERS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder,-p no:xdist) $(ARGS)

check: .venv/.python
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.bench $(ARGS)

# Needs `uv`. Hashes of every platform, no address of any index. Extras stay in the pins: without them pip looks at newer
# releases of a package that is also wanted with an extra, and refuses the whole file on the day there is one.
pins:
	uv pip compile --quiet --universal --all-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --no-strip-extras \
		pyproject.toml -o constraints.txt

clean:
	rm -rf .venv build dist $(ELEMENT)/node_modules
