"""`check` says which grant is missing, as the SQL that fixes it."""

from __future__ import annotations

import pytest

import config
from config.errors import AccessDeniedError, AuthenticationError, UnavailableError
from engine.commands.check.grants import AccountRights, Securable, check_grants, missing_grants, needed_privileges
from tests.bundle.workspace import Workspace
from tests.documents.test_guides import statements

ME = "someone@company.com"
CONFIG = config.from_mapping({}, env={}).config
ALL = needed_privileges(CONFIG)
BRONZE = Securable("SCHEMA", "main.bronze")


def having(**other: AccountRights):
    return {each: other.get(each.name.rpartition(".")[2], AccountRights(frozenset(ALL[each]))) for each in ALL}


def test_nothing_is_missing_where_all_is_granted():
    assert list(missing_grants(ALL, having(), ME)) == []


def test_only_what_lacks_is_granted():
    found = having(bronze=AccountRights(frozenset({"USE SCHEMA", "SELECT", "CREATE TABLE"})))
    assert list(missing_grants(ALL, found, ME)) == [
        f"GRANT MODIFY, EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;"
    ]


@pytest.mark.parametrize("standing", [AccountRights(owned=True), AccountRights(frozenset({"ALL PRIVILEGES"}))])
def test_neither_owning_nor_all_privileges_cover_external_use(standing):
    assert list(missing_grants(ALL, having(bronze=standing), ME)) == [
        f"GRANT EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;"
    ]


def test_a_schema_that_is_not_there_is_created_first():
    create, grant = missing_grants(ALL, having(monitoring=AccountRights(exists=False)), ME)
    assert create == "CREATE SCHEMA IF NOT EXISTS `main`.`monitoring`;"
    assert grant.startswith("GRANT USE SCHEMA, SELECT, MODIFY, CREATE TABLE, EXTERNAL USE SCHEMA ON SCHEMA")


def test_the_guide_grants_the_same():
    for securable, privileges in ALL.items():
        said = f"GRANT {', '.join(privileges)} ON {securable.kind} {securable.name} TO "
        assert any(statement.startswith(said) for statement in statements())


def effective(*privileges: str):
    return {"privilege_assignments": [{"principal": ME, "privileges": [{"privilege": p} for p in privileges]}]}


@pytest.fixture
def workspace(monkeypatch):
    """Everything is granted, in part to a group, but for EXTERNAL USE SCHEMA on one schema that we own."""
    schema = {ME: effective("USE_SCHEMA", "SELECT", "EXTERNAL_USE_SCHEMA"), "data": effective("MODIFY", "CREATE_TABLE")}
    catalog = {
        "catalogs/main": {"name": "main", "owner": "other"},
        "effective-permissions/catalog/main": {"account users": effective("USE_CATALOG")},
        **{f"schemas/main.{name}": {"owner": "other"} for name in ("bronze", "checkpoints", "monitoring")},
        **{f"effective-permissions/schema/main.{name}": schema for name in ("bronze", "checkpoints", "monitoring")},
    }
    with Workspace({}, catalog).serve() as serving:
        for name, value in serving.env().items():
            monkeypatch.setenv(name, value)
        yield serving


def test_what_groups_have_counts(workspace):
    assert check_grants(CONFIG) == f"{ME} has what a run needs on 4 securables"


def test_what_is_missing_is_said_as_sql(workspace):
    workspace.catalog["schemas/main.bronze"] = {"owner": "data"}
    workspace.catalog["effective-permissions/schema/main.bronze"] = {"nobody": {}}
    with pytest.raises(AccessDeniedError) as caught:
        check_grants(CONFIG)
    assert f"GRANT EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;" in caught.value.hint
    assert "external data access" in caught.value.hint


def test_a_metastore_that_lends_no_credentials_is_said_even_where_nothing_else_is_missing(workspace):
    workspace.catalog["metastore_summary"] = {"external_access_enabled": False}
    with pytest.raises(AccessDeniedError, match="external data access of the metastore is off") as caught:
        check_grants(CONFIG)
    assert "the gear, Metastore, Details" in caught.value.hint
    assert "GRANT" not in caught.value.hint
    workspace.catalog["metastore_summary"] = {"external_access_enabled": True}
    assert check_grants(CONFIG).startswith(f"{ME} has what")


EXTERNAL = config.from_mapping({"unity_catalog": {"location": "s3://lake/pi/plant"}}, env={}).config
LOCATIONS = [{"name": "root", "url": "s3://lake/"}, {"name": "pi_lake", "url": "s3://lake/pi"}, {"name": "pi_other"},
             {"name": "neighbour", "url": "s3://lake/pi/pl"}]  # fmt: skip


def test_the_external_location_is_found_by_its_address_and_its_grants_are_needed_too(workspace):
    workspace.catalog |= {
        "external-locations": {"external_locations": LOCATIONS},
        "external-locations/pi_lake": {"name": "pi_lake", "owner": "data"},
        "effective-permissions/external_location/pi_lake": {ME: effective("READ_FILES")},
    }
    with pytest.raises(AccessDeniedError) as caught:
        check_grants(EXTERNAL)
    assert f"GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION `pi_lake` TO `{ME}`;" in caught.value.hint
    granted = {ME: effective("EXTERNAL_USE_LOCATION")}
    workspace.catalog["effective-permissions/external_location/pi_lake"] = granted
    assert check_grants(EXTERNAL) == f"{ME} has what a run needs on 5 securables"


def test_where_no_external_location_can_be_seen_the_address_stands_for_it(workspace):
    workspace.catalog["external-locations"] = {"external_locations": LOCATIONS[3:]}
    with pytest.raises(AccessDeniedError) as caught:
        check_grants(EXTERNAL)
    assert "ON EXTERNAL LOCATION `the one that holds s3://lake/pi/plant` TO" in caught.value.hint


def test_no_login_and_no_answer_are_told_apart(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "stale")
    with pytest.raises(AuthenticationError, match="no login"):
        check_grants(CONFIG)
    monkeypatch.setattr(workspace, "answer", lambda *_: (400, {"error_code": "BAD_REQUEST", "message": "secret"}))
    with pytest.raises(UnavailableError) as caught:
        check_grants(CONFIG)
    assert "secret" not in str(caught.value)
