"""The views answer what they say, by a SQL engine on the tables of a run; and are created by a warehouse, if there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from deltalake import DeltaTable, QueryBuilder
from sqlglot import exp

import config
from engine.commands.views.main import views_of
from engine.run import run
from tests.command_line.conftest import Called, written

NAMES = [
    "pi_current_values",
    "pi_freshness_by_unit",
    "pi_tag_progress",
    "pi_timeseries_by_asset",
    "pi_timeseries_by_frame",
]


def document(root: Path) -> dict[str, Any]:
    return {
        "pipeline": "plant",
        "development": {"simulator": {"tags": 20, "elements": 130, "frames_per_day": 480, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
        "asset_framework": {"enabled": True, "values": {"enabled": True, "attributes": "Feed doubled"}},
        "event_frames": {"enabled": True},
        "extraction": {"tag_name_filter": "*", "start_date": "now-20m"},
        "storage": {"root": str(root)},
    }


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    import asyncio

    root = tmp_path_factory.mktemp("lake")
    assert asyncio.run(run(config.from_mapping(document(root), env={}).config)).exit_code == 0
    with in_duckdb(root) as database:
        yield database


def in_duckdb(root: Path) -> duckdb.DuckDBPyConnection:
    """The tables of a lake, and the views over them, in the catalog `main_catalog`."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS main_catalog")
    for path in sorted(root.glob("main/*/*/_delta_log")):
        schema, name = path.parts[-3:-1]
        found = pa.table(
            QueryBuilder().register("t", DeltaTable(str(path.parent))).execute("SELECT * FROM t").read_all()
        )
        database.execute(f"CREATE SCHEMA IF NOT EXISTS main_catalog.{schema}")
        database.register("arriving", found)
        database.execute(f"CREATE TABLE main_catalog.{schema}.{name} AS SELECT * FROM arriving")
    for view in views_of(config.from_mapping({}, env={}).config):
        tree = sqlglot.parse_one(view.statement, read="databricks")
        for table in tree.find_all(exp.Table):
            if table.catalog:
                table.set("catalog", exp.to_identifier("main_catalog"))
        query = tree.expression.sql(dialect="duckdb")
        database.execute(f"CREATE VIEW {view.name.replace('main.', 'main_catalog.', 1)} AS {query}")
    return database


def rows(lake: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    found = lake.sql(
        query.replace("bronze.", "main_catalog.bronze.").replace("checkpoints.", "main_catalog.checkpoints.")
    )
    return pa.RecordBatchReader.from_stream(found).read_all().to_pylist()


def test_events_of_an_attribute_that_is_read_itself_have_its_element(lake: duckdb.DuckDBPyConnection) -> None:
    read = {
        row["tag_webid"] for row in rows(lake, "SELECT tag_webid FROM bronze.pi_tags WHERE point_class = 'attribute'")
    }
    assert read
    for view in ("pi_timeseries_by_asset", "pi_current_values"):
        found = rows(lake, f"SELECT * FROM bronze.{view} WHERE attribute_name = 'Feed doubled'")
        assert {row["tag_webid"] for row in found} == read
        assert all(row["element_path"] == row["attribute_path"].partition("|")[0] for row in found)


def shown(lake: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Attributes, each with one of the series that may hold its values: that of its tag, or its own."""
    found = rows(lake, "SELECT * FROM bronze.pi_asset_attributes")
    return [
        {**one, "tag_webid": series}
        for one in found
        for series in (one["tag_webid"], one["attribute_webid"])
        if series is not None
    ]


def test_events_have_the_path_of_each_attribute_that_shows_their_tag(lake: duckdb.DuckDBPyConnection) -> None:
    attributes = shown(lake)
    events = rows(lake, "SELECT tag_webid, timestamp, sequence FROM bronze.pi_timeseries")
    by_tag: dict[str, list[str]] = {}
    for one in attributes:
        by_tag.setdefault(one["tag_webid"], []).append(one["attribute_path"])
    wanted = sorted(
        (one["timestamp"], one["sequence"], path) for one in events for path in by_tag.get(one["tag_webid"], ())
    )
    found = rows(lake, "SELECT * FROM bronze.pi_timeseries_by_asset")
    assert sorted((one["timestamp"], one["sequence"], one["attribute_path"]) for one in found) == wanted
    assert wanted
    assert all(one["attribute_path"].startswith(one["element_path"] + "|") for one in found)


def within(frame: dict[str, Any], at: Any) -> bool:
    return frame["start_time"] <= at and (frame["end_time"] is None or at <= frame["end_time"])


def test_events_within_each_frame_are_those_of_the_tags_of_its_elements(lake: duckdb.DuckDBPyConnection) -> None:
    elements = rows(lake, "SELECT event_frame_webid, element_webid FROM bronze.pi_event_frame_elements")
    attributes = shown(lake)
    frames = {one["event_frame_webid"]: one for one in rows(lake, "SELECT * FROM bronze.pi_event_frames")}
    events = rows(lake, "SELECT tag_webid, timestamp, sequence FROM bronze.pi_timeseries")
    wanted = sorted(
        (one["event_frame_webid"], attribute["attribute_path"], event["timestamp"], event["sequence"])
        for one in elements
        for attribute in attributes
        if attribute["element_webid"] == one["element_webid"]
        for event in events
        if event["tag_webid"] == attribute["tag_webid"] and within(frames[one["event_frame_webid"]], event["timestamp"])
    )
    found = rows(lake, "SELECT * FROM bronze.pi_timeseries_by_frame")
    key = ("event_frame_webid", "attribute_path", "timestamp", "sequence")
    assert sorted(tuple(one[name] for name in key) for one in found) == wanted
    assert wanted
    assert any(frames[one[0]]["end_time"] is None for one in wanted), "a frame that is open"


def test_the_current_value_is_the_newest_event_of_each_tag(lake: duckdb.DuckDBPyConnection) -> None:
    newest: dict[str, tuple[Any, ...]] = {}
    for one in rows(lake, "SELECT * FROM bronze.pi_timeseries"):
        key = (one["timestamp"], one["sequence"])
        if one["tag_webid"] not in newest or key > newest[one["tag_webid"]][:2]:
            newest[one["tag_webid"]] = (*key, one["value_string"])
    found = rows(lake, "SELECT * FROM bronze.pi_current_values")
    assert {one["tag_webid"]: (one["timestamp"], one["value_string"]) for one in found} == {
        tag: (at, text) for tag, (at, _, text) in newest.items()
    }
    assert len(found) > len(newest), "a row for each attribute that shows it"


def test_progress_has_one_row_a_tag(lake: duckdb.DuckDBPyConnection) -> None:
    marks = rows(lake, "SELECT * FROM checkpoints.pi_watermarks WHERE dataset = 'recorded' AND low < high")
    found = {one["tag_webid"]: one for one in rows(lake, "SELECT * FROM bronze.pi_tag_progress")}
    assert len(found) == 20 + len(rows(lake, "SELECT * FROM bronze.pi_tags WHERE point_class = 'attribute'"))
    for one in marks:
        assert found[one["tag_webid"]]["read_up_to"] >= one["high"]
        assert found[one["tag_webid"]]["status"] == "ok"


def test_units_are_as_fresh_as_the_tags_in_them(lake: duckdb.DuckDBPyConnection) -> None:
    high = {one["tag_webid"]: one["read_up_to"] for one in rows(lake, "SELECT * FROM bronze.pi_tag_progress")}
    attributes = shown(lake)
    found = rows(lake, "SELECT * FROM bronze.pi_freshness_by_unit")
    assert {one["depth"] for one in found} == {0, 1}
    for one in found:
        inside = {
            a["tag_webid"]
            for a in attributes
            if a["tag_webid"] in high
            and a["attribute_path"].startswith((one["element_path"] + "\\", one["element_path"] + "|"))
        }
        assert one["tags"] == len(inside)
        assert one["all_read_up_to"] == min(high[tag] for tag in inside)


# --- the command -------------------------------------------------------------------------


def test_show_prints_the_statements_for_the_configured_names(called: Called, here: Path) -> None:
    written(here, "http://127.0.0.1:9/piwebapi", unity_catalog={"schema": "my-schema", "tables": {"tags": "points"}})
    done = called("views", "show", "-c", "plant.yaml")
    assert done.code == 0
    statements = [text for text in done.out.split(";\n") if text.strip()]
    assert [re.findall(r"VIEW main\.`my-schema`\.(\w+)", text) for text in statements] == [[name] for name in NAMES]
    assert f"delta.`{here}/lakehouse/main/my-schema/points`" in done.out
    assert called("views", "show", "pi_tag_progress", "-c", "plant.yaml").out.count("CREATE") == 1
    done = called("views", "show", "nothing", "-c", "plant.yaml")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: there is no view 'nothing'")


def test_create_is_refused_for_tables_at_a_path(called: Called, here: Path) -> None:
    written(here, "http://127.0.0.1:9/piwebapi")
    done = called("views", "create", "-c", "plant.yaml", "--warehouse", "w1")
    assert done.code == 2
    assert done.err.splitlines()[0] == (
        "error: views are created in Unity Catalog, and these tables are under storage.root"
    )


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1)])
def test_create_has_a_warehouse_carry_them_out(
    called: Called, here: Path, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    from databricks.sdk.service.sql import StatementState

    from config import workspace

    asked: list[tuple[str, str]] = []

    def execute_statement(statement: str, warehouse: str, **_: Any) -> Any:
        asked.append((statement, warehouse))
        error = SimpleNamespace(message="TABLE_OR_VIEW_NOT_FOUND")
        return SimpleNamespace(status=SimpleNamespace(state=StatementState(state), error=error))

    client = SimpleNamespace(statement_execution=SimpleNamespace(execute_statement=execute_statement))
    monkeypatch.setattr(workspace, "workspace_client", lambda: client)
    written(here, "http://127.0.0.1:9/piwebapi", storage={"root": None})
    done = called("views", "create", "-c", "plant.yaml", "--warehouse", "w1")
    if code:
        assert done.code != 0
        assert "main.bronze.pi_current_values was not created: TABLE_OR_VIEW_NOT_FOUND" in done.err
        return
    assert done.out.split() == [word for name in NAMES for word in (f"main.bronze.{name}", "created")]
    assert [warehouse for _, warehouse in asked] == ["w1"] * len(NAMES)
    assert all("FROM main.bronze." in text or "FROM main.checkpoints." in text for text, _ in asked)
