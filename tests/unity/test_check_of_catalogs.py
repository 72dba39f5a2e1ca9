"""`check` fails for each catalog that `run` cannot use, and passes for the least that a run needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import AccessDeniedError, ConfigurationError, DuplicateTableError
from engine.cli import main
from tests.unity.stand_in import ME, TOKEN, StandIn
from tests.variants import slowly
from writers import PI_TAGS, PI_TIMESERIES, PI_WATERMARKS, AccessChecked, Lakehouse

SPECS = (PI_TIMESERIES, PI_TAGS, PI_WATERMARKS)
SCHEMAS = ("main.bronze", "main.checkpoints")
TABLES = ("main.bronze.pi_timeseries", "main.bronze.pi_tags", "main.checkpoints.pi_watermarks")
LEAST = {
    "main": {"USE CATALOG"},
    **{schema: {"USE SCHEMA", "CREATE TABLE"} for schema in SCHEMAS},
}
Opened = Callable[..., Lakehouse]


def checked(lakehouse: Lakehouse) -> str:
    assert isinstance(lakehouse, AccessChecked)
    return lakehouse.check_access(SPECS)


def open_all(lakehouse: Lakehouse) -> None:
    for spec in SPECS:
        lakehouse.table(spec).open()


def with_tables_of(owner: str, catalog: StandIn, lakehouse: Lakehouse) -> None:
    """The tables are there, and belong to another user, as their schemas do."""
    open_all(lakehouse)
    for schema in SCHEMAS:
        catalog.schema_owners[schema] = owner
    for table in catalog.tables.values():
        table.owner = owner


def test_a_catalog_without_authorization_passes_and_nothing_comes_into_being(
    catalog: StandIn, opened: Opened, tmp_path: Path
) -> None:
    assert checked(opened()) == "catalog main: 3 tables may be created"
    assert not catalog.tables
    assert not catalog.schemas
    assert list(tmp_path.iterdir()) == []
    for spec in SPECS:
        opened().table(spec).open()
    assert checked(opened()) == "catalog main: 3 tables may be written"


@pytest.mark.parametrize("databricks", [False, True])
def test_a_catalog_that_does_not_exist(catalog: StandIn, opened: Opened, databricks: bool) -> None:
    catalog.catalogs, catalog.databricks = {"other": "file:///x"}, databricks
    with pytest.raises(ConfigurationError, match=r"no such catalog.*main") as refused:
        checked(opened())
    assert "unity_catalog.catalog" in refused.value.hint
    with pytest.raises(ConfigurationError, match=r"no such catalog.*main"):
        opened().table(PI_TIMESERIES).open()


@pytest.mark.parametrize("schemas", [(), SCHEMAS])
def test_a_catalog_without_a_place_for_managed_tables(
    catalog: StandIn, opened: Opened, schemas: tuple[str, ...]
) -> None:
    catalog.catalogs = {"main": None}
    catalog.schemas |= set(schemas)
    with pytest.raises(ConfigurationError, match=r"storage root|storage for managed tables") as refused:
        checked(opened())
    assert "storage_root" in refused.value.hint
    assert checked(opened("external")) == "catalog main: 3 tables may be created"
    with pytest.raises(ConfigurationError, match="no storage for managed tables") as failed:
        opened().table(PI_TIMESERIES).open()
    assert failed.value.hint in refused.value.hint


def test_a_server_that_has_a_place_and_does_not_tell_is_asked_for_it(catalog: StandIn, opened: Opened) -> None:
    catalog.schemas |= set(SCHEMAS)
    catalog.tells_roots = False
    assert checked(opened()) == "catalog main: 3 tables may be created"
    assert not catalog.tables


@pytest.mark.parametrize(
    ("grants", "named"),
    [
        ({}, "USE CATALOG on the catalog main"),
        ({**LEAST, "main": set()}, "USE CATALOG on the catalog main"),
        ({**LEAST, "main.bronze": {"CREATE TABLE"}}, "USE SCHEMA on the schema main.bronze"),
        ({**LEAST, "main.bronze": {"USE SCHEMA"}}, "CREATE TABLE on the schema main.bronze"),
        ({**LEAST, "main.checkpoints": {"USE SCHEMA"}}, "CREATE TABLE on the schema main.checkpoints"),
    ],
)
def test_a_user_who_may_not_create_the_tables(
    catalog: StandIn, opened: Opened, grants: dict[str, set[str]], named: str
) -> None:
    catalog.schemas |= set(SCHEMAS)
    catalog.grants = grants
    with pytest.raises(AccessDeniedError) as refused:
        checked(opened())
    assert named in refused.value.hint
    with pytest.raises(AccessDeniedError):
        open_all(opened())


def test_schemas_that_a_run_has_to_create_need_a_grant_of_their_own(catalog: StandIn, opened: Opened) -> None:
    catalog.grants = {"main": {"USE CATALOG"}}
    with pytest.raises(AccessDeniedError) as refused:
        checked(opened())
    assert "CREATE SCHEMA on the catalog main" in refused.value.hint
    catalog.grants["main"].add("CREATE SCHEMA")
    assert checked(opened()) == "catalog main: 3 tables may be created"
    opened().table(PI_TIMESERIES).open()


@pytest.mark.parametrize("kind", ["managed", "external"])
@pytest.mark.parametrize("held", [set(), {"SELECT"}, {"MODIFY"}])
def test_reading_a_table_is_not_enough(catalog: StandIn, opened: Opened, kind: str, held: set[str]) -> None:
    with_tables_of("admin", catalog, opened(kind))
    catalog.grants = {**LEAST, **{name: {"SELECT", "MODIFY"} for name in TABLES}}
    assert checked(opened(kind)) == "catalog main: 3 tables may be written"
    catalog.grants["main.bronze.pi_tags"] = held
    with pytest.raises(AccessDeniedError, match=r"main\.bronze\.pi_tags") as refused:
        checked(opened(kind))
    assert "SELECT, MODIFY on the table main.bronze.pi_tags" in refused.value.hint


def test_the_least_privileged_user_passes_and_can_run(catalog: StandIn, opened: Opened) -> None:
    catalog.schemas |= set(SCHEMAS)
    catalog.grants = LEAST
    assert checked(opened()) == "catalog main: 3 tables may be created"
    with_tables_of("admin", catalog, opened())
    catalog.grants = {
        "main": {"USE CATALOG"},
        **{name: {"USE SCHEMA"} for name in SCHEMAS},
        **{name: {"SELECT", "MODIFY"} for name in TABLES},
    }
    assert checked(opened()) == "catalog main: 3 tables may be written"


def test_external_tables_need_a_place_and_credentials_for_it(catalog: StandIn, opened: Opened) -> None:
    with pytest.raises(ConfigurationError, match=r"unity_catalog\.location"):
        checked(opened("external", location=None))
    remote = opened("external", location="s3://lake/plant")
    assert checked(remote) == "catalog main: 3 tables may be created"
    catalog.forbidden.add("temporary-path-credentials")
    with pytest.raises(AccessDeniedError, match="s3://lake/plant/bronze/pi_timeseries") as refused:
        checked(remote)
    assert "CREATE EXTERNAL TABLE on the external location" in refused.value.hint


def test_a_table_that_is_there_twice_is_found(catalog: StandIn, opened: Opened) -> None:
    opened().table(PI_TAGS).open()
    catalog.created_twice.add("main.bronze.pi_tags")
    with pytest.raises(DuplicateTableError):
        checked(opened())


@pytest.mark.parametrize("answer", ["a page of a proxy", "another API"])
def test_a_404_that_says_nothing_of_tables_is_no_missing_table(catalog: StandIn, opened: Opened, answer: str) -> None:
    catalog.not_found = "" if answer == "a page of a proxy" else "ENDPOINT_NOT_FOUND"
    with pytest.raises(ConfigurationError):
        opened().table(PI_TIMESERIES).exists()


@pytest.mark.parametrize(
    ("case", "exit_code", "said"),
    [
        ("no catalog", 2, "no such catalog"),
        *slowly(("no root", 2, "storage root"), ("no grants", 3, "USE CATALOG on the catalog")),
        ("least", 0, "All checks passed"),
    ],
)
def test_the_command_agrees_with_the_run(
    catalog: StandIn,
    case: str,
    exit_code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", catalog.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    catalog.catalogs = {"no catalog": {}, "no root": {"main": None}}.get(case)
    catalog.grants = {"no grants": {}, "least": {"main": {"USE CATALOG", "CREATE SCHEMA"}}}.get(case)
    document = {
        "development": {"simulator": {"tags": 2, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous"},
        "extraction": {"tag_name_filter": "*", "start_date": "now-10m", "datasets": ["recorded"]},
        "monitoring": {"metrics": False},
    }
    Path("plant.yaml").write_text(json.dumps(document))
    assert main(["check", "-c", "plant.yaml"]) == exit_code
    told = capsys.readouterr().out
    assert said in told
    assert "EXTERNAL USE" not in told
    assert "has no accounts" not in told
    assert main(["run", "-c", "plant.yaml"]) == exit_code
    assert ME not in capsys.readouterr().err
