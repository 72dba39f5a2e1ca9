# `make help` lists what there is. Everything runs in .venv, which `make setup` makes.
PYTHON ?= python3
BIN := .venv/bin
BUNDLE_CLI := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/osipi-connector/bundle-cli

.DEFAULT_GOAL := help
.PHONY: help setup run check test test-slow test-thorough fuzz test-histories test-scale test-unity unity-jars test-spark spark soak-follow soak-faults bench tune figures schema lock bundle-cli runtimes wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## make .venv with everything checks and tests need

.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

run: setup ## bring 1,000 simulated tags into Delta tables under ./lakehouse
	$(BIN)/python -m engine run

check: setup ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/figures.py --check

test: setup ## the default tests (under five minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: setup test-thorough ## what takes its time: races, kills, following, variants; and test-thorough
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow and not (scale or unity or spark or runtimes)" --hypothesis-profile=thorough

test-thorough: setup ## the property tests once more, with all their examples: by default they try a quarter
	$(BIN)/python -m pytest -n auto --dist worksteal -m "hypothesis and not (slow or scale or unity or spark or runtimes)" --hypothesis-profile=thorough

fuzz: setup ## fuzz what reads foreign bytes, guided by coverage: SECS=60 SEED=1 (Linux on x86)
	$(BIN)/pip install -q -c requirements.lock -e '.[fuzz]'
	$(BIN)/python -m tests.fuzzing.play --secs $(or $(SECS),60) --seed $(or $(SEED),1)

test-histories: setup ## random histories against random runs, kills and repairs: SECS=600 SEED=1
	$(BIN)/python -m tests.histories.play --secs $(or $(SECS),600) --seed $(or $(SEED),1)

test-scale: setup ## 30,000 tags through the simulator, exact and within its memory
	$(BIN)/python -m pytest -m scale

test-unity: setup unity-jars ## Unity Catalog: the contract, crashes and races on the real server
	$(BIN)/python -m pytest -m unity

soak-follow: setup ## follow for ten minutes: drift, freshness, memory, and how soon it stops
	$(BIN)/python -m tests.follow.soak

soak-faults: setup ## follow for ten minutes while troubles of every kind come and go: SEED=1
	$(BIN)/python -m tests.follow.soak_faults --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

unity-jars: ## fetch the open-source Unity Catalog server into a cache
	-bash tests/unity/fetch_jars.sh

test-spark: setup spark ## Apache Spark reads, changes and streams our tables, and runs go on from there
	$(BIN)/python -m pytest -m spark

spark: setup ## install Apache Spark and Delta Lake into a cache
	-PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/spark/fetch_spark.sh

bench: setup ## all benchmarks, results in benchmarks/results, figures in README
	$(BIN)/python benchmarks/run.py all
	$(BIN)/python benchmarks/figures.py

tune: setup ## find good settings against the simulator, with a chart
	$(BIN)/python benchmarks/tune.py

figures: setup ## write the figures of README from benchmarks/results
	$(BIN)/python benchmarks/figures.py

schema: setup ## write config/schema.json from the model
	$(BIN)/python -m engine config schema > config/schema.json

lock: setup ## pin what development and CI install
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --all-extras pyproject.toml -o requirements.lock

bundle-cli: ## build the Databricks CLI into the user's cache, for the tests of the bundle (needs Go)
	@mkdir -p $(BUNDLE_CLI) && rm -f $(BUNDLE_CLI)/unavailable
	GOBIN=$(BUNDLE_CLI) go install github.com/databricks/cli@latest || { touch $(BUNDLE_CLI)/unavailable; exit 1; }

runtimes: setup ## install the wheel beside the pins of each Databricks Runtime, and run the example there (needs uv)
	$(BIN)/python -m pytest -m runtimes

wheel: setup ## build the wheel into dist
	$(BIN)/pip install -q build
	$(BIN)/python -m build --wheel

clean: ## remove what was built or written here
	rm -rf .venv dist build lakehouse .pytest_cache .mypy_cache .ruff_cache .hypothesis
