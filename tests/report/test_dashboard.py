"""The dashboard of the bundle: its queries answer on written tables, with the figures of the page; its widgets fit them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from databricks.sdk.service.dashboards import Dashboard
from sqlglot import exp

import config
from engine.commands.report.compute import Report, read_report
from engine.plan.gap_ledger import GapReason
from tests.bundle.bundle import dashboard, dashboard_queries, variables
from tests.exactness.reading import read_table
from tests.report.conftest import Lake
from tests.report.sample import EVIL, NOW_MICROS

NOW = NOW_MICROS + 4 * 60_000_000
QUERIES = dashboard_queries("dev")
PAGES = dashboard("dev")["serialized_dashboard"]["pages"]
WIDGETS = [(page["name"], each) for page in PAGES for each in page["layout"]]
EPOCH = date(1970, 1, 1)
# Of a type of widget another version is not drawn.
VERSIONS = {"counter": 2, "table": 2, "bar": 3}


@pytest.fixture(scope="module")
def database(hostile: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables under the names of the target dev."""
    names = variables("dev")
    schemas = {"bronze": "schema", "checkpoints": "checkpoint_schema", "monitoring": "monitoring_schema"}
    found = duckdb.connect()
    found.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS main_catalog")
    for folder, role in schemas.items():
        found.execute(f"CREATE SCHEMA main_catalog.{names[role]}")
        for log in hostile.tables.glob(f"{folder}/*/_delta_log"):
            found.register("arriving", read_table(log.parent))
            found.execute(f"CREATE TABLE main_catalog.{names[role]}.{log.parent.name} AS SELECT * FROM arriving")
    yield found
    found.close()


def answer(database: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    tree = sqlglot.parse_one(QUERIES[name], read="databricks")
    for table in tree.find_all(exp.Table):
        if table.catalog:
            assert table.catalog == variables("dev")["catalog"]
            table.set("catalog", exp.to_identifier("main_catalog"))
    for now in list(tree.find_all(exp.CurrentTimestamp)):
        now.replace(sqlglot.parse_one("CAST('2024-03-05 12:04:00+00' AS TIMESTAMPTZ)", read="duckdb"))
    return pa.RecordBatchReader.from_stream(database.sql(tree.sql(dialect="duckdb"))).read_all().to_pylist()


@pytest.fixture(scope="module")
def report(hostile: Lake) -> Report:
    return read_report(config.load(hostile.config, env={}).config, NOW, days=30)


def test_the_pipelines_are_as_the_page_says(database: duckdb.DuckDBPyConnection, report: Report) -> None:
    [found] = answer(database, "progress")
    state = report.status.progress
    assert state.high is not None
    assert state.freshness is not None
    assert found["pipeline"] == "plant"
    assert (found["tags"], found["failing"], found["events"]) == (state.tags, len(state.failing), state.rows)
    ends = [round(found[name].timestamp() * 1e6) for name in ("all_read_up_to", "newest")]
    assert tuple(ends) == state.high
    assert found["worst_seconds_behind"] == pytest.approx(state.freshness.worst, abs=1)
    histogram = {row["behind"]: row["tags"] for row in answer(database, "freshness")}
    assert histogram == {name: tags for name, tags in state.freshness.histogram if tags}


def test_what_is_wrong_is_as_the_page_says(database: duckdb.DuckDBPyConnection, report: Report) -> None:
    status, gaps = report.status, report.gaps
    failing = [(row["tag"], row["status"], row["why"]) for row in answer(database, "failing")]
    assert failing == [(status.names[each.tag_webid], each.status, each.last_error) for each in status.progress.failing]
    assert EVIL in failing[0][0]
    assert [row["tag"] for row in answer(database, "behind")] == [
        status.names[each.tag_webid] for each in status.progress.behind
    ]
    holes = [gap for gap in gaps.ledger.gaps if gap.reason is GapReason.HOLE]
    found = answer(database, "holes")
    assert [(row["tag"], row["why"]) for row in found] == [(gaps.names[hole.web_id], hole.error) for hole in holes]
    assert [round(row["hole_start"].timestamp() * 1e6) for row in found] == [hole.start for hole in holes]
    assert answer(database, "hole_count") == [{"holes": len(holes)}] == [{"holes": 1}]


def test_the_days_are_as_the_page_says(database: duckdb.DuckDBPyConnection, report: Report) -> None:
    busy = {EPOCH + timedelta(days=day.day): day for day in report.days if day.runs}

    def by_day(name: str, value: str, kind: str | None = None) -> dict[date, float]:
        return {row["day"]: row[value] for row in answer(database, name) if kind is None or row["kind"] == kind}

    assert by_day("days", "events") == {day: one.events for day, one in busy.items()}
    assert by_day("days", "requests") == {day: one.requests for day, one in busy.items()}
    assert by_day("days", "repeated") == {day: one.retries for day, one in busy.items()}
    assert by_day("days", "refused") == {day: one.throttled for day, one in busy.items()}
    assert by_day("days", "bytes_received") == {day: one.bytes_fetched for day, one in busy.items()}
    assert by_day("days", "worst_seconds") == {day: one.worst_secs for day, one in busy.items()}
    for kind in ("inserted", "changed", "deleted"):
        assert by_day("corrections", "events", kind) == {day: getattr(one, kind) for day, one in busy.items()}
    assert by_day("requests", "requests", "first tries") == {
        day: one.requests - one.retries for day, one in busy.items()
    }
    assert by_day("requests", "requests", "repetitions") == {day: one.retries for day, one in busy.items()}
    runs: Counter[date] = Counter()
    not_well: Counter[date] = Counter()
    for row in answer(database, "run_days"):
        runs[row["day"]] += row["runs"]
        not_well[row["day"]] += row["runs"] * row["how"].endswith(("failed", "incomplete"))
    assert runs == {day: one.runs for day, one in busy.items()}
    assert not_well == {day: one.not_well for day, one in busy.items()}
    assert len(busy) == 30


def test_the_runs_and_rows_are_as_the_page_says(database: duckdb.DuckDBPyConnection, report: Report) -> None:
    newest = answer(database, "runs")
    assert len(newest) == 50
    told = {(run.run_id, run.status, run.events, run.tags_failed) for run in report.status.runs if run.status}
    assert told <= {(row["run_id"], row["status"], row["events"], row["tags_failed"]) for row in newest}
    rows = {one.name: (one.existing, one.deleted) for one in report.tables}
    for name in ("assets", "frames"):
        for row in answer(database, name):
            assert (row["existing"], row["gone"]) == rows[row["name"]]
    frames = sum(row["frames"] for row in answer(database, "frame_days"))
    assert frames == rows["pi_event_frames"][0]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_has_the_columns_that_its_widgets_show(database: duckdb.DuckDBPyConnection, name: str) -> None:
    using = [widget for _, each in WIDGETS for widget in [each["widget"]] if reads(widget)["datasetName"] == name]
    assert using, "no query is asked for nothing"
    rows = answer(database, name)
    for widget in using:
        query, spec = reads(widget), widget["spec"]
        assert spec["version"] == VERSIONS[spec["widgetType"]]
        known = {each["name"] for each in query["fields"]}
        shown = spec["encodings"].get("columns") or spec["encodings"].values()
        assert {each["fieldName"] for each in shown} == known
        for each in query["fields"]:
            column = each["expression"].rpartition("(")[2].strip("`)")
            assert not rows or column in rows[0], each
            assert each["name"] in {column, each["expression"].replace("`", "").lower()}
            assert query["disaggregated"] == (each["name"] == column)


def reads(widget: dict[str, Any]) -> dict[str, Any]:
    [query] = widget["queries"]
    assert query["name"] == "main_query"
    found: dict[str, Any] = query["query"]
    return found


def test_widgets_lie_beside_each_other_on_a_grid_of_six_columns() -> None:
    names = [each["widget"]["name"] for _, each in WIDGETS]
    assert len(set(names)) == len(names)
    for page in PAGES:
        assert page["pageType"] == "PAGE_TYPE_CANVAS"
        places = [each["position"] for each in page["layout"]]
        assert all(at["x"] >= 0 and at["x"] + at["width"] <= 6 for at in places)
        for one, other in combinations(places, 2):
            beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            below = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
            assert beside or below, (page["name"], one, other)


@pytest.mark.parametrize("target", ["dev", "prod"])
def test_its_keys_are_those_of_the_api_and_nothing_is_left_to_fill_in(target: str) -> None:
    found = dashboard(target)
    assert set(found) <= {each.name for each in fields(Dashboard)}
    catalog = variables(target)["catalog"]
    for query in dashboard_queries(target).values():
        assert "${" not in query
        assert f"`{catalog}`." in query
        assert query.endswith("\n"), "lines are joined as they are"


def test_the_two_targets_ask_different_tables() -> None:
    prod = dashboard_queries("prod")
    assert all(prod[name] != query for name, query in QUERIES.items())
