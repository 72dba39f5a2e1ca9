# `make help` lists what there is. Everything runs in .venv, which `make setup` makes.
PYTHON ?= python3
BIN := .venv/bin
PROSE := README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs benchmarks/README.md config/examples
PAGES := README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md $(wildcard docs/*.md docs/reference/*.md)
BUNDLE_CLI := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/osipi-connector/bundle-cli

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(MAKEFILE_LIST))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## make .venv with everything checks and tests need

.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

run: setup ## bring 1,000 simulated tags into Delta tables under ./lakehouse
	$(BIN)/python -m engine run

check: setup ## lint, format, types, layers; figures, reference, words and sentences of the documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/figures.py --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/codespell $(PROSE)
	$(BIN)/python docs/readability.py $(PAGES)

test: setup ## the default tests
	$(BIN)/python -m pytest -n auto

test-slow: setup ## what takes its time: races, kills, following, variants
	$(BIN)/python -m pytest -n auto -m "slow and not (scale or unity or spark or runtimes or faults)" --hypothesis-profile=thorough

test-thorough: setup ## the property tests once more, with all their examples: by default they try a tenth
	$(BIN)/python -m pytest -n auto -m "hypothesis and not (slow or scale or unity or spark or runtimes or faults)" --hypothesis-profile=thorough

fuzz: setup ## fuzz what reads foreign bytes, guided by coverage: SECS=60 SEED=1, or RUNS=2500 each (Linux on x86)
	$(BIN)/pip install -q -c requirements.lock -e '.[fuzz]'
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzzing.play --secs $(or $(SECS),60) --seed $(or $(SEED),1) --runs $(or $(RUNS),-1)

test-histories: setup ## random histories against random runs, kills and repairs: SECS=600 SEED=1
	$(BIN)/python -m tests.histories.play --secs $(or $(SECS),600) --seed $(or $(SEED),1)
	$(BIN)/python -m pytest -n auto -m "not scale" --hypothesis-profile=thorough \
		tests/assets/test_assets_change.py tests/assets/test_change_during_crawl.py tests/event_frames/test_event_frame_histories.py

test-scale: setup ## 30,000 tags through the simulator, exact and within its memory
	$(BIN)/python -m pytest -m scale

test-faults: setup ## the matrix of faults, each with every dataset: EVERY=1, or each n-th cell (odd: all datasets have a turn)
	FAULTS_EVERY=$(or $(EVERY),1) $(BIN)/python -m pytest -n auto -m "(faults or not faults) and not slow" tests/faults

test-unity: setup unity-jars ## Unity Catalog: the contract, crashes and races on the real server
	$(BIN)/python -m pytest -m unity

soak-follow: setup ## follow for ten minutes: drift, freshness, memory, and how soon it stops
	$(BIN)/python -m tests.follow.soak

soak: setup ## follow for MINUTES=10 with kills and closed connections, and troubles of every kind: SEED=1
	$(BIN)/python -m tests.follow.soak_faults --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

unity-jars: ## fetch the open-source Unity Catalog server into a cache
	-bash tests/unity/fetch_jars.sh

test-spark: setup spark ## Apache Spark reads, changes and streams our tables, and runs go on from there
	$(BIN)/python -m pytest -m "spark and not slow"

test-spark-slow: setup spark ## a week of history on Spark, with executors killed at random
	$(BIN)/python -m pytest -m "spark and slow"

spark: setup ## install Apache Spark and Delta Lake into a cache
	-PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/spark/fetch_spark.sh

native: setup ## build and install the native decoder: faster, off the interpreter lock (needs Rust)
	$(BIN)/pip install -q --force-reinstall --no-deps ./native

native-wheel: setup ## build the wheel of the native decoder into dist
	$(BIN)/pip wheel -q --no-deps -w dist ./native

test-native: native ## the native decoder: its own tests, the same rows as Python's, whole runs with it, its instructions
	cargo test --release --manifest-path native/Cargo.toml
	$(BIN)/python -m pytest -n auto tests/piweb_protocol tests/exactness tests/digital_states tests/corrections
	$(BIN)/python -m pytest tests/benching/test_benchmarks_against_simulator.py -k decoders -m "slow or not slow"
	$(BIN)/python benchmarks/instructions.py

bench: setup ## all benchmarks, results in benchmarks/results, figures in README
	$(BIN)/python benchmarks/run.py all
	$(BIN)/python benchmarks/figures.py

tune: setup ## find good settings against the simulator, with a chart
	$(BIN)/python benchmarks/tune.py

figures: setup ## write the figures of README from benchmarks/results
	$(BIN)/python benchmarks/figures.py

docs: setup ## write the pages of docs/reference and config/connector_config.yaml from the code
	$(BIN)/python docs/generate.py

site: setup ## build the documents as a site into ./site; every link is checked
	$(BIN)/pip install -q -c requirements.lock -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

picture: setup ## draw the report for the documents (needs chromium)
	set -e; folder=$$(mktemp -d); $(BIN)/python -m tests.report.sample "$$folder"; mkdir -p docs/images; \
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1440 \
	  --screenshot=docs/images/report.png "file://$$folder/report.html"; rm -r "$$folder"

schema: setup ## write config/schema.json from the model
	$(BIN)/python -m engine config schema > config/schema.json

licences: setup ## write docs/licences.md from the metadata of what is installed
	$(BIN)/python -m tests.documents.licences > docs/licences.md

faults-page: setup ## write docs/faults.md from the matrix of faults
	$(BIN)/python -m tests.faults.page > docs/faults.md

audit: setup ## look for known weaknesses of the pinned packages (needs pypi.org)
	$(BIN)/python -m uv tool run pip-audit -r requirements.lock --no-deps --disable-pip

lock: setup ## pin what development and CI install
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --all-extras pyproject.toml -o requirements.lock

bundle-cli: ## build the Databricks CLI into the user's cache, for the tests of the bundle (needs Go)
	@mkdir -p $(BUNDLE_CLI) && rm -f $(BUNDLE_CLI)/unavailable
	GOBIN=$(BUNDLE_CLI) go install github.com/databricks/cli@latest || { touch $(BUNDLE_CLI)/unavailable; exit 1; }

runtimes: setup ## install the wheel beside the pins of each Databricks Runtime, and run the example there; run those for Airflow and Dagster (needs uv)
	$(BIN)/python -m pytest -m runtimes tests/packaging/test_runtimes.py

schedulers: setup ## install Airflow and Dagster in environments of their own, and run the examples for them (needs uv)
	$(BIN)/python -m pytest -m runtimes tests/packaging/test_schedulers.py

wheel: setup ## build the wheel into dist
	$(BIN)/pip install -q build
	$(BIN)/python -m build --wheel

clean: ## remove what was built or written here
	rm -rf .venv dist build site lakehouse .pytest_cache .mypy_cache .ruff_cache .hypothesis
