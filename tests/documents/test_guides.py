"""Every YAML, SQL and Python of the guides is loaded, run or parsed, and what they name exists."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from datetime import datetime
from pathlib import Path

import click
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlglot
import yaml
from deltalake import DeltaTable, QueryBuilder
from sqlglot import exp

import config
import osipi_connector
from config.yaml_text import parse
from engine.cli import commands, main
from engine.datasets.registry import DATASETS
from engine.run import run
from tests.bundle.bundle import definition, jobs
from writers import (
    PI_CONNECTOR_METRICS,
    PI_QUARANTINE,
    PI_TIMESERIES,
    HoleChange,
    Landing,
    LandingRun,
    Move,
    add_rows,
    open_lakehouse,
)
from writers.tables import TIMESTAMP

ROOT = Path(__file__).parents[2]
GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
# Privileges of Unity Catalog that the guides may speak of.
PRIVILEGES = {
    "USE CATALOG", "USE SCHEMA", "SELECT", "MODIFY", "CREATE TABLE", "EXTERNAL USE SCHEMA", "CREATE EXTERNAL TABLE",
    "EXTERNAL USE LOCATION",
}  # fmt: skip


def blocks(language: str) -> list[tuple[str, int, str]]:
    found = []
    for guide in GUIDES:
        texts = re.findall(rf"```{language}\n(.*?)```", (ROOT / guide).read_text(), flags=re.DOTALL)
        found += [(guide, number, text) for number, text in enumerate(texts)]
    return found


def statements() -> list[str]:
    return [text.strip() for _, _, block in blocks("sql") for text in block.split(";") if text.strip()]


SPECS = (*DATASETS.tables, PI_CONNECTOR_METRICS, PI_QUARANTINE)
_SQL_TYPES = {pa.int32(): "INT", pa.int64(): "BIGINT", pa.string(): "STRING", TIMESTAMP: "TIMESTAMP"}
QUERIES = [text for text in statements() if text.startswith("SELECT")]
OTHERS = [text for text in statements() if not text.startswith("SELECT")]


@pytest.mark.parametrize(("guide", "number", "text"), blocks("yaml"))
def test_every_configuration_loads(guide, number, text):
    assert loaded(text).warnings == (), (guide, number)


@pytest.mark.parametrize(
    ("guide", "number", "text"), [b for b in blocks("yaml") if "url:" in b[2] and "tag_name" in b[2]]
)
def test_every_whole_configuration_could_run(guide, number, text):
    config.check_runnable(loaded(text).config)


def loaded(text: str) -> config.Loaded:
    """The configuration, where every variable is set and every file is there."""
    there = re.sub(r"\$\{file:/[\w./-]+\}", "${env:FILE}", text)
    return config.from_mapping(parse(there, "a guide"), env=dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", there), "x"))


# Of the first run: it ends long before the second, so that whoever counts what was deleted in between is found out.
BEFORE = {"tag_name_filter": "*", "start_date": "now-1h", "end_date": "now-40m", "future_horizon": "2h"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake(folder):
    """The tables of real runs, one tag of which failed and three of which were deleted in between, and of a
    verification, under the names the guides use; and a stand-in for what only a workspace has.
    """
    document = {
        "pipeline": "plant",
        "development": {"simulator": {"tags": 53, "future_tags": 1, "history": "2h", "elements": 60}},
        "asset_framework": {"enabled": True},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
        "extraction": {
            "tag_name_filter": "*",
            "tags": ["NOTHING"],
            "start_date": "now-1h",
            "future_horizon": "2h",
            "sampled": {"interval": "10m", "kinds": ["average", "maximum"]},
        },
        "storage": {"root": str(folder)},
    }
    asyncio.run(run(config.from_mapping(document | {"extraction": BEFORE}, env={}).config))
    document["development"]["simulator"]["tags"] = 50
    asyncio.run(run(config.from_mapping(document, env={}).config))
    (folder / "plant.yaml").write_text(yaml.safe_dump(document))
    assert main(["verify", "-c", str(folder / "plant.yaml"), "--run-id", "tonight"]) == 0
    trouble(folder)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute("ATTACH ':memory:' AS main_catalog")
    for path in sorted(folder.glob("main/*/*/_delta_log")):
        schema, name = path.parts[-3:-1]
        table = DeltaTable(str(path.parent))
        found = pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())
        database.execute(f"CREATE SCHEMA IF NOT EXISTS main_catalog.{schema}")
        database.register("arriving", found)
        database.execute(f"CREATE TABLE main_catalog.{schema}.{name} AS SELECT * FROM arriving")
    database.execute("ATTACH ':memory:' AS system_catalog; CREATE SCHEMA system_catalog.billing")
    database.execute(
        "CREATE TABLE system_catalog.billing.usage AS SELECT DATE '2026-01-01' AS usage_date, 'JOBS' AS sku_name, "
        "1.5 AS usage_quantity, MAP {'product': 'osipi-connector'} AS custom_tags"
    )
    yield database
    database.close()


def trouble(folder) -> None:
    """Leave what runs against a damaged archive leave: holes that open, shrink and close, also of a point that is gone;
    tags that fail, one of which is read again; a piece that was no answer.
    """
    lakehouse = open_lakehouse(str(folder))
    landing = Landing(lakehouse, PI_TIMESERIES, LandingRun(pipeline="plant", dataset="recorded", run_id="trouble"))
    marks = landing.open()
    gone = pc.is_valid(tags_of(folder)["deleted_at"])
    [one, two, three, *_] = tags_of(folder).filter(pc.invert(gone))["tag_webid"].to_pylist()
    [away, *_] = tags_of(folder).filter(gone)["tag_webid"].to_pylist()
    low, sec = marks[one].low, 1_000_000
    for moves, holes in (
        ([], [(one, 0, 9, "x"), (two, 5, 7, "y"), (away, 1, 2, "z")]),
        ([], [(one, 3, 4, None), (two, 5, 7, "y again")]),
        ([], [(three, 0, 1, "mended")]),
        ([(two, "failed", "why"), (three, "failed", "was down")], [(three, 0, 1, None), (one, 8, 9, None)]),
        ([(three, "ok", None)], []),
    ):
        batch = landing.begin()
        batch.note_holes([HoleChange(tag, low + start * sec, low + end * sec, why) for tag, start, end, why in holes])
        batch.commit([Move(t, marks[t].high, marks[t].high, status=told, last_error=why) for t, told, why in moves])
    piece = {"run_id": "trouble", "pipeline": "plant", "found_at": low, "tag_webid": one, "tag_name": "ONE"}
    piece |= {"window_start": low, "window_end": low + 1, "reason": "an event has no time", "excerpt": '{"Value": 1}'}
    add_rows(lakehouse, PI_QUARANTINE, [piece])


def tags_of(folder) -> pa.Table:
    return pa.table(DeltaTable(str(folder / "main/bronze/pi_tags")).to_pyarrow_table())


def answer(database, query: str) -> list[dict]:
    return pa.RecordBatchReader.from_stream(database.sql(for_duckdb(query))).read_all().to_pylist()


def for_duckdb(query: str) -> str:
    tree = sqlglot.parse_one(query, read="databricks")
    for table in tree.find_all(exp.Table):
        assert table.catalog in {"main", "system"}, query
        table.set("catalog", exp.to_identifier(f"{table.catalog}_catalog"))
    return tree.sql(dialect="duckdb")


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_runs_on_the_tables_of_a_run(lake, query):
    found = answer(lake, query)
    if "CURRENT_DATE()" not in query:
        assert found


def test_the_query_on_silence_says_no_tag_is_silent(lake):
    [query] = [text for text in QUERIES if "AS silent" in text]
    assert answer(lake, query) == [{"silent": 0}]


def test_the_queries_on_freshness_agree_with_status(lake, folder, capsys):
    capsys.readouterr()
    main(["status", "-c", str(folder / "plant.yaml"), "--json"])
    told = json.loads(capsys.readouterr().out)
    [query] = [text for text in QUERIES if "all_read_up_to, MAX" in text]
    [summed] = answer(lake, query)
    assert (summed["pipeline"], summed["tags"]) == ("plant", told["tags"] - told["tags_unread"])
    ends = [f"{summed[name]:%Y-%m-%dT%H:%M:%S.%f}"[:19] for name in ("all_read_up_to", "newest")]
    assert ends == [told["high"]["min"][:19], told["high"]["max"][:19]]
    assert summed["worst_seconds_behind"] == pytest.approx(told["freshness_seconds"]["worst"], abs=60)
    assert summed["worst_seconds_behind"] < 600

    [query] = [text for text in QUERIES if "seconds_behind DESC LIMIT 20" in text]
    every = answer(lake, query.replace("LIMIT 20", ""))
    assert len(every) == summed["tags"] == 50
    assert {row["read_up_to"] for row in every} >= {summed["all_read_up_to"], summed["newest"]}
    [query] = [text for text in QUERIES if "t.deleted_at IS NOT NULL" in text]
    away = answer(lake, query)
    assert {row["name"] for row in away} == {tag["name"] for tag in told["went_away"]}
    assert len(away) == 3
    assert not {row["name"] for row in every} & {row["name"] for row in away}


def test_the_query_on_holes_agrees_with_status(lake, folder, capsys):
    capsys.readouterr()
    assert main(["status", "-c", str(folder / "plant.yaml"), "--json", "--gaps"]) == 1
    told = json.loads(capsys.readouterr().out)
    [query] = [text for text in QUERIES if "hole_start" in text]
    found = answer(lake, query)
    held = [w for w in told["gaps"]["windows"] if w["reason"] == "cannot be read"]
    assert sorted((row["tag_webid"], f"{row['hole_start']:%H:%M:%S.%f}", row["last_error"]) for row in found) == sorted(
        (tag, at(window["start"]), why) for window in held for tag, why in window["errors"].items()
    )
    lengths = [(row["hole_end"] - row["hole_start"]).total_seconds() for row in found]
    assert sorted(zip([row["last_error"] for row in found], lengths, [row["attempts"] for row in found], strict=True)) == [
        ("x", 3.0, 1), ("x", 4.0, 1), ("y again", 2.0, 2),
    ]  # fmt: skip
    assert all(row["asked_again_at"] > row["found_at"] for row in found)


def at(text: str) -> str:
    """The time of day of an instant, to the microsecond."""
    return f"{datetime.fromisoformat(text):%H:%M:%S.%f}"


def test_the_query_on_failed_tags_tells_only_of_those_that_fail_now(lake):
    [query] = [text for text in QUERIES if "w.status <> 'ok'" in text]
    assert [(row["status"], row["last_error"]) for row in answer(lake, query)] == [("failed", "why")]


def test_the_query_on_runs_tells_of_the_failed_tag(lake):
    [query] = [text for text in QUERIES if "run_id, shard" in text]
    [_, row, first] = answer(lake, query)
    assert (first["command"], first["status"], first["corrections"]) == ("run", "succeeded", 0)
    assert (row["command"], row["status"]) == ("run", "incomplete")
    assert "NOTHING" in row["error"]


@pytest.mark.parametrize("statement", OTHERS)
def test_every_other_statement_is_one_a_workspace_knows(statement):
    granted = re.fullmatch(
        r"GRANT ([A-Z, ]+) ON (?:CATALOG main|SCHEMA main\.\w+|EXTERNAL LOCATION \w+) TO `[\w-]+`", statement
    )
    if granted:
        assert set(granted[1].split(", ")) <= PRIVILEGES
    elif "ADD COLUMNS" in statement:
        altered = sqlglot.parse_one(statement, read="databricks")
        [spec] = [spec for spec in SPECS if spec.name == altered.find(exp.Table).name]
        added = {column.name: column.args["kind"].sql("databricks") for column in altered.find_all(exp.ColumnDef)}
        kinds = {name: spec.schema.field(name).type for name in spec.later_columns}
        assert added == {name: _SQL_TYPES[kind] for name, kind in kinds.items()}
    elif statement.startswith(("CREATE SCHEMA", "MERGE")):
        assert isinstance(sqlglot.parse_one(statement, read="databricks"), exp.Create | exp.Merge)
    else:
        assert re.fullmatch(
            r"CREATE EXTERNAL LOCATION IF NOT EXISTS \w+ URL 's3://[\w/-]+' WITH \(STORAGE CREDENTIAL \w+\)|"
            r"ALTER TABLE main(\.\w+){2} SET TBLPROPERTIES \('delta\.[\w.]+' = '\w+'\)|"
            r"SHOW GRANTS `[\w-]+` ON SCHEMA main\.\w+|ALTER TABLE main(\.\w+){2} DROP FEATURE \w+( TRUNCATE HISTORY)?",
            statement,
        )


def test_the_grants_cover_every_schema_that_is_written_to():
    names = config.UnityCatalogConfig()
    for schema in (names.schema_name, names.checkpoint_schema, names.monitoring_schema):
        assert any(f"SELECT, MODIFY, CREATE TABLE, EXTERNAL USE SCHEMA ON SCHEMA main.{schema} " in s for s in OTHERS)


class Secrets:
    @staticmethod
    def get(scope: str, key: str) -> str:
        assert scope == "pi-connector"
        return "https://pi.example/piwebapi" if key.endswith("url") else key


class DBUtils:
    secrets = Secrets()


def test_the_notebooks_cell_makes_a_configuration_that_runs(monkeypatch):
    [cell] = [text for _, _, text in blocks("python") if "PILakeflowConnector(config)" in text]
    ran = []
    monkeypatch.setattr(
        osipi_connector.PILakeflowConnector, "run", lambda self: ran.append(config.check_runnable(self.config))
    )
    exec(compile(cell, "cell", "exec"), {"dbutils": DBUtils()})
    assert ran == [None]


@pytest.mark.parametrize("guide", GUIDES)
def test_jobs_variables_commands_and_anchors_exist(guide):
    text = (ROOT / guide).read_text()
    known = set(jobs())
    assert set(re.findall(r"\bosipi_connector_\w*job\b", text)) <= known
    for command in re.findall(r"`osipi-connector ([a-z-]+)", text):
        assert command in commands.list_commands(click.Context(commands))
    for other, anchor in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", text):
        target = (ROOT / "docs" / other).read_text() if other else text
        anchors = {
            re.sub(r"[^\w -]", "", h).lower().replace(" ", "-")
            for h in re.findall(r"^#+ (.+)$", target, flags=re.MULTILINE)
        }
        assert anchor in anchors


def test_the_variables_that_are_to_be_edited_are_those_of_the_bundle():
    text = (ROOT / "docs/deployment.md").read_text()
    listed = re.search(r"its variables\. They are (.+?) the id of", text, flags=re.DOTALL)
    assert listed
    named = set(re.findall(r"`(\w+)`", listed[1])) - {"prod"}
    assert len(named) == 10
    assert named <= set(definition()["variables"])


def headings() -> list[tuple[str, str]]:
    """What the guide to trouble tells of, and the anchor of each."""
    found = re.findall(r"^### (.+)$", (ROOT / "docs/troubleshooting.md").read_text(), flags=re.MULTILINE)
    return [(text, re.sub(r"[^\w -]", "", text).lower().replace(" ", "-")) for text in found]


def test_the_contents_name_every_symptom_in_order():
    text = (ROOT / "docs/troubleshooting.md").read_text().partition("<!-- contents:end -->")[0]
    assert re.findall(r"^- \[(.+)\]\(#(.+)\)$", text, flags=re.MULTILINE) == headings()
    assert len({anchor for _, anchor in headings()}) == len(headings())


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """The texts in the code, with dots for what is put in."""
    found = []
    for path in (p for folder in ("config", "writers", "engine") for p in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings are no messages
        for node in (node for node in ast.walk(tree) if id(node) not in told):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else ".." for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%\.?\d*[srdf]", "..", node.value))
    return found


@pytest.mark.parametrize("heading", [text for text, _ in headings() if '"' in text])
def test_symptoms_are_worded_as_the_messages_are(heading, messages):
    for quoted in re.findall(r'"([^"]+)"', heading):
        for part in re.split(r"\s*\.\.\s*|\bN\b\s*|\b\d[\d, or]*\s*", quoted):
            assert len(part) < 4 or any(part in message for message in messages), part


_COLUMN_TYPES = {
    **_SQL_TYPES, pa.bool_(): "BOOLEAN", pa.date32(): "DATE", pa.float64(): "DOUBLE",
    pa.map_(pa.string(), pa.string()): "MAP<STRING, STRING>", pa.list_(pa.string()): "ARRAY<STRING>",
}  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_column_of_every_table_is_described(spec):
    text = (ROOT / "docs/tables.md").read_text()
    [section] = re.findall(rf"^## {spec.name}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    described = dict(re.findall(r"^\| `(\w+)` \| ([A-Z][A-Z<>, ]+) \| \S", section, flags=re.MULTILINE))
    assert described == {column.name: _COLUMN_TYPES[column.type] for column in spec.schema}


def test_the_links_of_the_readme_lead_to_headings():
    for guide, anchor in re.findall(r"\]\((docs/\w+\.md)#([\w-]+)\)", (ROOT / "README.md").read_text()):
        titles = re.findall(r"^#+ (.+)$", (ROOT / guide).read_text(), flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
