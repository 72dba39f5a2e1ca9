"""The SQL of the guides, word for word but for the name of the catalog, which Spark does not let us choose."""

from __future__ import annotations

import asyncio
import re

import pytest

import config
from engine.app import run
from tests.documents.test_guides import OTHERS, QUERIES
from tests.spark.session import Spark
from writers import PI_QUARANTINE, open_lakehouse

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def lake(spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Spark:
    """The tables of a run, one tag of which failed, under their names; and a stand-in for what only a workspace has."""
    folder = tmp_path_factory.mktemp("lake")
    document = {
        "pipeline": "plant",
        "development": {"simulator": {"tags": 50, "future_tags": 1, "history": "2h"}},
        "pi_web_api": {"auth_type": "anonymous"},
        "extraction": {"tag_name_filter": "*", "tags": ["NOTHING"], "start_date": "now-1h", "future_horizon": "2h"},
        "storage": {"root": str(folder)},
    }
    asyncio.run(run(config.from_mapping(document, env={}).config))
    open_lakehouse(folder).table(PI_QUARANTINE).open()  # a run creates the quarantine when it needs it
    for statement in OTHERS:
        if statement.startswith("CREATE SCHEMA"):
            spark.sql(for_spark(statement))
    for log in sorted(folder.glob("main/*/*/_delta_log")):
        schema, name = log.parts[-3:-1]
        spark.sql(f"CREATE TABLE spark_catalog.{schema}.{name} USING delta LOCATION '{log.parent}'")
    spark.sql("CREATE SCHEMA spark_catalog.billing")
    spark.sql(
        "CREATE TABLE spark_catalog.billing.usage USING delta AS SELECT DATE '2026-01-01' AS usage_date, "
        "'JOBS' AS sku_name, 1.5 AS usage_quantity, MAP('product', 'osipi-connector') AS custom_tags"
    )
    return spark


def for_spark(statement: str) -> str:
    found, times = re.subn(r"\b(?:main|system)\.(?=\w+)", "spark_catalog.", statement)
    assert times
    return found


# Queries for what this run has none of: repaired windows, holes, rejected pieces, deleted tags.
NOTHING_FOUND = (
    "w.status <> 'ok'", "CURRENT_DATE()", "command = 'verify'", "'recorded.holes'", "pi_quarantine",
    "t.deleted_at IS NOT NULL",
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_runs_on_the_tables_of_a_run(lake: Spark, query: str) -> None:
    found = lake.records(for_spark(query))
    if not any(words in query for words in NOTHING_FOUND):
        assert found
    if "AS silent" in query:
        assert found == [{"silent": 0}]
    if "run_id, shard" in query:
        assert found[0]["status"] == "incomplete"
        assert "NOTHING" in found[0]["error"]
