"""What Unity Catalog or a table of it forbids is said in one sentence, with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from databricks.sdk.environments import ALL_ENVS

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    SchemaDriftError,
    UnavailableError,
)
from tests.unity.stand_in import StandIn, Table
from writers import PI_TAGS, PI_TIMESERIES, Lakehouse
from writers.unity.answers import CatalogAnswer, Intent
from writers.unity.transport import Transport, is_databricks

NAME = "main.bronze.pi_timeseries"
Opened = Callable[..., Lakehouse]


def test_an_unknown_token_is_a_matter_of_login(opened: Opened) -> None:
    with pytest.raises(AuthenticationError, match="does not know us") as refused:
        opened(token="a-wrong-one").table(PI_TIMESERIES).open()
    assert "a-wrong-one" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(
    ("kind", "table_type", "grant"),
    [
        ("get-table", "managed", "GRANT SELECT, MODIFY ON TABLE main.bronze.pi_timeseries TO"),
        ("create-schema", "managed", "GRANT USE CATALOG, CREATE SCHEMA ON CATALOG main TO"),
        ("stage", "managed", "GRANT CREATE TABLE ON SCHEMA main.bronze TO"),
        ("create-managed", "managed", "GRANT CREATE TABLE ON SCHEMA main.bronze TO"),
        ("load", "managed", "EXTERNAL USE SCHEMA ON SCHEMA main.bronze TO"),
        ("create-table", "external", "GRANT CREATE TABLE ON SCHEMA main.bronze TO"),
    ],
)
def test_a_missing_grant_is_named_as_the_sql_that_gives_it(
    catalog: StandIn, opened: Opened, kind: str, table_type: str, grant: str
) -> None:
    catalog.databricks = True
    catalog.forbidden.add(kind)
    with pytest.raises(AccessDeniedError) as refused:
        opened(table_type).table(PI_TIMESERIES).open()
    assert grant in refused.value.hint
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("kind", ["get-table", "create-schema", "stage", "create-managed", "load"])
def test_an_open_source_server_is_not_asked_for_what_databricks_alone_knows(
    catalog: StandIn, opened: Opened, kind: str
) -> None:
    catalog.forbidden.add(kind)
    with pytest.raises(AccessDeniedError) as refused:
        opened().table(PI_TIMESERIES).open()
    assert "USE CATALOG" in refused.value.hint
    assert "EXTERNAL USE" not in refused.value.hint
    assert "GRANT" not in refused.value.hint


@pytest.mark.parametrize("zone", [each.dns_zone for each in ALL_ENVS])
def test_databricks_is_known_by_every_address_that_its_sdk_knows(zone: str) -> None:
    assert is_databricks(f"https://adb-1.1{zone}")
    assert not is_databricks(f"https://adb-1.1{zone}.example.com")


def managed_table(catalog: StandIn, opened: Opened) -> Table:
    opened().table(PI_TIMESERIES).open()
    return catalog.tables[NAME]


def rewrite_first_commit(table: Table, change: Callable[[dict], None]) -> None:
    first = Path(urlsplit(table.location).path) / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    for action in actions:
        change(action)
    first.write_text("\n".join(map(json.dumps, actions)))


def test_a_managed_table_without_catalog_commits_is_refused_with_the_ways_out(catalog: StandIn, opened: Opened) -> None:
    del managed_table(catalog, opened).properties["delta.feature.catalogManaged"]
    with pytest.raises(SchemaDriftError, match="no catalog commits") as refused:
        opened().table(PI_TIMESERIES).open()
    assert "ALTER TABLE main.bronze.pi_timeseries" in refused.value.hint
    assert "table_type: external" in refused.value.hint


@pytest.mark.parametrize("where", ["block", "property"])
def test_a_table_kept_for_iceberg_is_refused(catalog: StandIn, opened: Opened, where: str) -> None:
    table = managed_table(catalog, opened)
    if where == "block":
        table.uniform = {"iceberg": {}}
    else:
        table.properties["delta.universalFormat.enabledFormats"] = "iceberg"
    with pytest.raises(SchemaDriftError, match="UniForm"):
        opened().table(PI_TIMESERIES).open()


@pytest.mark.parametrize(
    ("features", "properties", "words"),
    [
        (["rowTracking", "domainMetadata"], {"delta.enableRowTracking": "true"}, "tracks its rows"),
        (["columnMapping"], {"delta.columnMapping.mode": "name"}, "columnMapping"),
        (["typeWidening"], {}, "typeWidening"),
        ([], {"delta.constraints.positive": "value > 0"}, "positive"),
    ],
)
def test_a_feature_that_obliges_us_to_more_is_named(
    catalog: StandIn, opened: Opened, features: list[str], properties: dict[str, str], words: str
) -> None:
    def change(action: dict) -> None:
        if "protocol" in action:
            action["protocol"]["writerFeatures"] += features
        if "metaData" in action:
            action["metaData"]["configuration"].update(properties)

    rewrite_first_commit(managed_table(catalog, opened), change)
    with pytest.raises(SchemaDriftError, match=words):
        opened().table(PI_TIMESERIES).open()


def test_a_promise_that_we_cannot_keep_is_refused_before_anything_is_written(
    catalog: StandIn, opened: Opened, tmp_path: Path
) -> None:
    catalog.required_protocol["writer-features"].append("identityColumns")
    with pytest.raises(SchemaDriftError, match="identityColumns"):
        opened().table(PI_TIMESERIES).open()
    catalog.required_protocol["writer-features"].pop()
    catalog.required_properties["delta.made.up"] = None
    with pytest.raises(SchemaDriftError, match=r"delta\.made\.up"):
        opened().table(PI_TIMESERIES).open()
    assert list(tmp_path.iterdir()) == []
    assert catalog.tables == {}


def test_an_external_table_with_a_feature_we_cannot_write_is_refused_by_name(catalog: StandIn, opened: Opened) -> None:
    opened("external").table(PI_TIMESERIES).open()

    def change(action: dict) -> None:
        if "protocol" in action:
            action["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [],
                "writerFeatures": ["rowTracking", "domainMetadata"],
            }

    rewrite_first_commit(catalog.tables[NAME], change)
    table = opened("external").table(PI_TIMESERIES)
    with pytest.raises(SchemaDriftError, match=r"(?i)rowTracking|domainMetadata"):
        table.open()


@pytest.mark.parametrize(("kind", "file_format", "words"), [("VIEW", "", "a view"), ("EXTERNAL", "CSV", "CSV")])
def test_what_is_no_delta_table_is_refused(
    catalog: StandIn, opened: Opened, kind: str, file_format: str, words: str
) -> None:
    catalog.tables[NAME] = Table("id", kind, "file:///nowhere", [], file_format=file_format)
    with pytest.raises(SchemaDriftError, match=words):
        opened().table(PI_TIMESERIES).open()


def test_a_server_without_catalog_commits_is_recognised(catalog: StandIn, opened: Opened) -> None:
    catalog.without_delta = True
    with pytest.raises(SchemaDriftError, match="has no catalog commits"):
        opened().table(PI_TIMESERIES).open()


def test_an_external_table_needs_a_place(opened: Opened) -> None:
    with pytest.raises(ConfigurationError, match=r"unity_catalog\.location"):
        opened("external", location=None).table(PI_TIMESERIES).open()


def test_tables_of_both_kinds_live_side_by_side_and_keep_their_kind(catalog: StandIn, opened: Opened) -> None:
    opened("external").table(PI_TIMESERIES).open()
    opened("managed").table(PI_TAGS).open()
    opened("managed").table(PI_TIMESERIES).open()
    assert {name: t.kind for name, t in catalog.tables.items()} == {NAME: "EXTERNAL", "main.bronze.pi_tags": "MANAGED"}


def test_a_catalog_that_is_not_there_is_unavailable() -> None:
    pauses: list[float] = []
    nowhere = Transport("http://127.0.0.1:9", lambda: {"Authorization": "Bearer x"}, sleep=pauses.append)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        nowhere.get("tables/a.b.c")
    assert 0.8 * 3.5 <= sum(pauses) <= 1.2 * 3.5
    pauses.clear()
    with pytest.raises(UnavailableError):
        nowhere.post("tables", {})
    assert pauses == []  # what may not arrive twice is not repeated


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 429, 500, 503])
def test_every_refusal_has_a_class_and_ends_like_a_sentence(status: int) -> None:
    for body in ({}, {"error": {"type": "X", "message": "said so."}}, {"error_code": "X", "message": "said so"}):
        refusal = CatalogAnswer(status, body).refusal(Intent("look at the table a.b.c"))
        assert str(refusal).endswith(".")
        assert ".." not in str(refusal)
        assert "a.b.c" in str(refusal)
