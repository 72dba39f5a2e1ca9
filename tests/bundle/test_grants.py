"""`check` says which grant is missing, as the SQL that fixes it."""

from __future__ import annotations

import pytest

import config
from config.errors import AccessDeniedError, AuthenticationError, UnavailableError
from engine.commands.grants import Securable, Standing, look_at_grants, missing, needed
from tests.documents.test_guides import statements

from .workspace import Workspace

ME = "someone@company.com"
CONFIG = config.from_mapping({}, env={}).config
ALL = needed(CONFIG)
BRONZE = Securable("SCHEMA", "main.bronze")


def having(**other: Standing):
    return {each: other.get(each.name.rpartition(".")[2], Standing(frozenset(ALL[each]))) for each in ALL}


def test_nothing_is_missing_where_all_is_granted():
    assert list(missing(ALL, having(), ME)) == []


def test_only_what_lacks_is_granted():
    found = having(bronze=Standing(frozenset({"USE SCHEMA", "SELECT", "CREATE TABLE"})))
    assert list(missing(ALL, found, ME)) == [f"GRANT MODIFY, EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;"]


@pytest.mark.parametrize("standing", [Standing(owned=True), Standing(frozenset({"ALL PRIVILEGES"}))])
def test_neither_owning_nor_all_privileges_cover_external_use(standing):
    assert list(missing(ALL, having(bronze=standing), ME)) == [
        f"GRANT EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;"
    ]


def test_a_schema_that_is_not_there_is_created_first():
    create, grant = missing(ALL, having(monitoring=Standing(exists=False)), ME)
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
    assert look_at_grants(CONFIG) == f"{ME} has what a run needs on 4 securables"


def test_what_is_missing_is_said_as_sql(workspace):
    workspace.catalog["schemas/main.bronze"] = {"owner": "data"}
    workspace.catalog["effective-permissions/schema/main.bronze"] = {"nobody": {}}
    with pytest.raises(AccessDeniedError) as caught:
        look_at_grants(CONFIG)
    assert f"GRANT EXTERNAL USE SCHEMA ON SCHEMA `main`.`bronze` TO `{ME}`;" in caught.value.hint
    assert "external data access" in caught.value.hint


def test_no_login_and_no_answer_are_told_apart(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "stale")
    with pytest.raises(AuthenticationError, match="no login"):
        look_at_grants(CONFIG)
    monkeypatch.setattr(workspace, "answer", lambda *_: (400, {"error_code": "BAD_REQUEST", "message": "secret"}))
    with pytest.raises(UnavailableError) as caught:
        look_at_grants(CONFIG)
    assert "secret" not in str(caught.value)
