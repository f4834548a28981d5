# make serve: the demo on http://127.0.0.1:8000        make test: everything that CI checks
# make chaos: what happens if Redis, nodes or networks fail
# make check: the same without the slow tests, before each commit
PORT ?= 8000
BIN := .venv/bin

.PHONY: serve test check lint types unit node coverage oldest newest others checklist bench bench-quick lock clean

serve: .venv-serve client
	@exec $(BIN)/python -m roomkey serve --demo --port $(PORT)

test: .venv-dev client javascript lint types
	@$(MAKE) -j 2 node unit             # the npm packages' tests mostly wait
	@$(MAKE) oldest newest

# No end-to-end tests, fuzzing, long state machines or processes that start, and fewer examples of Hypothesis.
check: .venv-dev client lint types
	$(BIN)/python -m pytest -q -n auto --dist loadgroup -m "not long" --ignore tests/e2e --hypothesis-profile check

lint: .venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv-dev
	$(BIN)/mypy

# Tests wait for sockets and databases: with one worker for each core, half of the machine would be idle.
export PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell getconf _NPROCESSORS_ONLN | awk '{ print 2 * $$1 }')

# Without compiled files each worker would rewrite the assertions of the whole suite.
check unit coverage oldest newest others: export PYTHONDONTWRITEBYTECODE :=

unit: .venv-dev packages
	$(BIN)/python -m pytest -n auto --dist loadgroup

# npm writes the first file when it installs. It is older than a lock file that has changed since.
NPM_CI := { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent; }

# Compiles the npm packages, which the tests of the Python suite use, too.
.PHONY: packages
packages:
	@if command -v npm >/dev/null; then for package in packages/*/; do \
		(cd $$package && $(NPM_CI) && npm run --silent build) || exit 1; \
	done; \
	elif [ "$$CI" = true ]; then echo "npm is missing, and CI needs it"; exit 1; \
	else echo "npm is missing: the npm packages are not tested"; fi

# Tests the npm packages with real servers of several versions of socket.io.
node: packages
	@if command -v npm >/dev/null; then for package in packages/*/; do \
		(cd $$package && npm run --silent test:built) || exit 1; \
	done; fi

# Lists the lines that no test reaches. It takes 1.5 times as long, and does not count code in other processes.
coverage: .venv-dev client javascript
	$(BIN)/python -m pytest -n auto --dist loadgroup --cov --cov-report=term:skip-covered

# The guard depends on python-socketio's private names, so it is also tested with the oldest supported version.
oldest: .venv-dev
	@sh scripts/oldest.sh

# Tests the newest installed Python and, in CI, the versions between it and the one in .venv.
newest others: .venv-dev
	@sh scripts/pythons.sh $@

# Faults of Redis, nodes and networks, with thousands of clients and long outages, on Redis and on Valkey: 10 minutes. It
# writes what it counted to bench/results/chaos.json. CI runs the short version.
.PHONY: chaos bench-cluster
chaos: .venv-dev
	CHAOS=full $(BIN)/python -m pytest -q -n 0 tests/cluster

# What several nodes cost, next to Node.js and python-socketio on Redis. It writes bench/results/cluster.json.
bench-cluster: .venv-dev
	cd bench/cluster && $(NPM_CI)
	$(BIN)/python bench/cluster/run.py

# docs/security/checklist.md, from the markers on the tests.
checklist: .venv-dev
	$(BIN)/python scripts/checklist.py

# bench/socketio needs Node for its peers. On a quiet machine, everything takes less than 25 minutes. A bound that a
# verification exceeds does not stop the rest.
bench: .venv-dev
	-$(BIN)/python bench/verify.py --write
	$(BIN)/python bench/instructions.py --write
	$(BIN)/python bench/sync.py
	$(BIN)/python bench/socketio/growth.py
	$(BIN)/python bench/socketio/run.py

# The same method, for the main operations, with shorter turns; writes nothing.
bench-quick: .venv-dev
	$(BIN)/python bench/socketio/growth.py --quick --peers roomkey,node
	$(BIN)/python bench/socketio/run.py --quick
	$(BIN)/python bench/sync.py --quick

# Both environments use one folder, so that the packages of a developer's environment also serve the demo.
.PHONY: .venv-serve .venv-dev
.venv-serve:
	@[ -x $(BIN)/pytest ] || sh scripts/venv.sh .venv requirements/serve.txt
.venv-dev:
	@sh scripts/venv.sh .venv requirements/dev.txt

# The official Socket.IO client for the page: copied from npm, or loaded from its CDN where there is no npm.
.PHONY: client javascript
client:
	@$(BIN)/python scripts/vendor_client.py

javascript:
	@if command -v npm >/dev/null; then cd tests/js && $(NPM_CI); \
	elif [ "$$CI" = true ]; then echo "npm is missing, and CI needs it"; exit 1; \
	else echo "npm is missing: the tests with JavaScript clients are skipped"; fi

# Pin the newest versions: with hashes and extras, and without the address of any registry.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate
lock:
	$(COMPILE) --group install -o requirements/install.txt
	$(COMPILE) -c requirements/install.txt --extra server pyproject.toml -o requirements/serve.txt
	$(COMPILE) -c requirements/install.txt --extra server --extra redis --extra flask --extra django --extra starlette --group dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf .venv .venv-oldest* .venv-3.* .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/artifacts tests/js/node_modules \
		bench/socketio/node_modules bench/cluster/node_modules packages/*/node_modules packages/*/dist
