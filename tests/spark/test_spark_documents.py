"""The SQL of the guides, word for word but for the name of the catalog, which Spark does not let us choose."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import config
from engine.commands.views.main import View, views_of
from engine.run import run
from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.faults.plan import Damage, Do, FaultRule, Match
from tests.bundle.bundle import dashboard_queries
from tests.command_line.test_views import in_duckdb, rows
from tests.documents.test_guides import OTHERS, QUERIES
from tests.spark.session import Spark

pytestmark = pytest.mark.spark

MINUTE = timedelta(minutes=1)


async def _runs(folder: Path) -> None:
    """Two runs. Of the tags one is not there, one has a damaged record, one sends what is no answer, and one is deleted
    between the runs.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    damaged = {name: f"{now - ago:%Y-%m-%dT%H:%M:%SZ}" for name, ago in (("start", 31 * MINUTE), ("end", 30 * MINUTE))}
    spoilt = FaultRule(do=Do(body="[1]"), match=Match(route="streams/*/recorded", tag="*.000003"))
    faults = FaultPlan(rules=(spoilt,), damaged=(Damage(tag="*.000004", **damaged),))
    begin = f"{now - timedelta(days=1):%Y-%m-%d}T00:00:00Z"
    simulator = Simulator(
        SimulatorOptions(tags=50, elements=130, frames_per_day=48, future_tags=1, begin=begin, faults=faults)
    )
    async with simulator.serve() as url:
        document = {
            "pipeline": "plant",
            "pi_web_api": {"url": url, "auth_type": "anonymous"},
            "extraction": {
                "tag_name_filter": "*",
                "tags": ["NOTHING"],
                "start_date": "now-1h",
                "future_horizon": "2h",
                "sampled": {"interval": "10m", "kinds": ["average", "maximum"]},
            },
            "asset_framework": {"enabled": True},
            "event_frames": {"enabled": True},
            "storage": {"root": str(folder)},
        }
        await run(config.from_mapping(document, env={}).config)
        simulator.change({"tag": 5, "action": "delete_point"})
        await run(config.from_mapping(document, env={}).config)


@pytest.fixture(scope="module")
def lake(spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Spark:
    """The tables of runs, under their names; and a stand-in for what only a workspace has."""
    folder = tmp_path_factory.mktemp("lake")
    asyncio.run(_runs(folder))
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


@pytest.mark.parametrize("view", [*views_of(config.from_mapping({}, env={}).config)], ids=lambda view: view.name)
def test_a_view_answers_as_another_engine_does(lake: Spark, view: View) -> None:
    """DuckDB reads the same tables by another reader. With time, what was ahead arrives: then they are asked once more."""
    [detail] = lake.records("DESCRIBE DETAIL spark_catalog.bronze.pi_tags")
    lake.sql(for_spark(view.statement))
    with in_duckdb(Path(str(detail["location"]).removeprefix("file:")).parents[2]) as other:
        for last in (False, True):
            found = sorted(map(plain, lake.records(for_spark(f"SELECT * FROM {view.name}"))))
            wanted = sorted(map(plain, rows(other, f"SELECT * FROM {view.name.removeprefix('main.')}")))
            if found == wanted or last:
                break
    assert found
    assert found == wanted


def plain(row: dict[str, Any]) -> str:
    """A row as text: times as microseconds, dates as days."""

    def told(value: Any) -> Any:
        if isinstance(value, datetime):
            return round((value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        if isinstance(value, date):
            return (value - date(1970, 1, 1)).days
        return None if isinstance(value, float) and value != value else value

    return repr({name: told(value) for name, value in sorted(row.items())})


def for_spark(statement: str) -> str:
    found, times = re.subn(r"\b(?:main|system)\.(?=\w+)", "spark_catalog.", statement)
    assert times
    return found


# The schemas of the target dev are those of the tables with a suffix.
DASHBOARD = {name: query.replace("_dev`", "`") for name, query in dashboard_queries("dev").items()}


@pytest.mark.parametrize("name", DASHBOARD)
def test_every_query_of_the_dashboard_runs_on_the_tables_of_a_run(lake: Spark, name: str) -> None:
    found = lake.records(DASHBOARD[name].replace("`main`.", "spark_catalog."))
    assert found or name == "behind"


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_runs_on_the_tables_of_a_run(lake: Spark, query: str) -> None:
    found = lake.records(for_spark(query))
    if not any(words in query for words in ("w.status <> 'ok'", "CURRENT_DATE()", "command = 'verify'")):
        assert found
    if "AS silent" in query:
        assert found == [{"silent": 0}]
    if "run_id, shard" in query:
        assert found[0]["status"] == "incomplete"
        assert "NOTHING" in found[0]["error"]
