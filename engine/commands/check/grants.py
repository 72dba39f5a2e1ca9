"""Which grants a run into Unity Catalog lacks, as the SQL that adds them.

A grant is missing only if neither the account, nor one of its groups, nor the rights of an owner cover it. Imports the
Databricks SDK, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, PermissionDenied, Unauthenticated
from databricks.sdk.service.catalog import ExternalLocationInfo

from config import Config
from config.errors import AccessDeniedError, AuthenticationError, ExtractError, UnavailableError
from config.text import sql_quoted
from config.workspace import workspace_client

# Neither ownership nor ALL PRIVILEGES includes these.
_NOT_IMPLIED = frozenset({"EXTERNAL USE LOCATION", "EXTERNAL USE SCHEMA"})


_ON_LOCATION = ("CREATE EXTERNAL TABLE", "EXTERNAL USE LOCATION")


@dataclass(frozen=True, slots=True)
class Securable:
    """A catalog, schema or external location, by its kind in SQL and its full name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AccountRights:
    """What the account may do with a securable. `exists`: whether the account can see it."""

    privileges: frozenset[str] = frozenset()
    owned: bool = False
    exists: bool = True


def needed_privileges(config: Config, location: str | None = None) -> dict[Securable, tuple[str, ...]]:
    """What a run needs on each securable. `location`: the external location of external tables."""
    names = config.unity_catalog
    schemas = dict.fromkeys((names.schema_name, names.checkpoint_schema, names.monitoring_schema))
    on_schema = ("USE SCHEMA", "SELECT", "MODIFY", "CREATE TABLE", "EXTERNAL USE SCHEMA")
    return {
        Securable("CATALOG", names.catalog): ("USE CATALOG",),
        **{Securable("SCHEMA", f"{names.catalog}.{schema}"): on_schema for schema in schemas},
        **({Securable("EXTERNAL LOCATION", location): _ON_LOCATION} if location is not None else {}),
    }


def missing_grants(
    wanted: Mapping[Securable, Collection[str]], found: Mapping[Securable, AccountRights], principal: str
) -> Iterator[str]:
    """The statements to run, in an order that works."""
    for securable, privileges in wanted.items():
        rights = found[securable]
        parts = securable.name.split(".", 1) if securable.kind == "SCHEMA" else [securable.name]
        target = ".".join(map(sql_quoted, parts))
        if not rights.exists and securable.kind == "SCHEMA":
            yield f"CREATE SCHEMA IF NOT EXISTS {target};"
        covered = rights.owned or "ALL PRIVILEGES" in rights.privileges
        lacking = [p for p in privileges if p not in rights.privileges and not (covered and p not in _NOT_IMPLIED)]
        if lacking:
            yield f"GRANT {', '.join(lacking)} ON {securable.kind} {target} TO {sql_quoted(principal)};"


def check_grants(config: Config) -> str:
    """Return a sentence if nothing is missing, else raise `AccessDeniedError` with the statements to run. Blocks."""
    url = config.unity_catalog.location
    try:
        client = workspace_client()
        location = None if url is None else external_location_of(url, client.external_locations.list())
        wanted = needed_privileges(config, location)
        principal, found = rights_of_account(client, wanted)
        external_access = _external_access(client)
    except NotFound:
        return "an open-source server: the next check asks for what a run needs"
    except (OSError, ValueError) as error:  # the SDK's errors are OSErrors; its setup raises ValueError
        refused: ExtractError = _translated(error)
    else:
        statements = list(missing_grants(wanted, found, principal))
        if url is not None and location is None:
            privileges = ", ".join(_ON_LOCATION)
            holder = sql_quoted(f"the one that holds {url}")
            statements.append(f"GRANT {privileges} ON EXTERNAL LOCATION {holder} TO {sql_quoted(principal)};")
        if not statements and external_access is not False:
            return f"{principal} has what a run needs on {len(wanted)} securables"
        refused = AccessDeniedError(
            _lacking(principal, len(statements), external_access), hint=_remedy(statements, external_access)
        )
    # Raised outside of the except block: the error of the SDK quotes the answer and must not be its context.
    raise refused


def external_location_of(url: str, locations: Iterable[ExternalLocationInfo]) -> str | None:
    """The external location that contains a URL, of those that the account can see."""
    found = [each for each in locations if f"{url}/".startswith(f"{(each.url or 'nowhere').rstrip('/')}/")]
    return max(found, key=lambda each: len(each.url or "")).name if found else None


def _lacking(principal: str, statements: int, external_access: bool | None) -> str:
    if not statements:
        return "external data access of the metastore is off: the catalog gives out no credentials for its storage"
    also = ", and external data access of the metastore is off" if external_access is False else ""
    return f"{principal} lacks {statements} grants in Unity Catalog, or they cannot be seen from here{also}"


def _remedy(statements: Sequence[str], external_access: bool | None) -> str:
    """`external_access`: whether external data access is on; None if the account may not know."""
    grants = f"an owner runs: {' '.join(statements)}" if statements else ""
    switch = {
        True: "",
        False: "a metastore admin turns on external data access (Catalog, the gear, Metastore, Details)",
        None: "external data access of the metastore must be on",
    }[external_access]
    return " And ".join(part for part in (grants, switch) if part)


def _external_access(client: WorkspaceClient) -> bool | None:
    """Whether external data access of the metastore is on; None if the account may not know."""
    try:
        return client.metastores.summary().external_access_enabled
    except (NotFound, PermissionDenied):
        return None


def _translated(error: OSError | ValueError) -> ExtractError:
    if isinstance(error, Unauthenticated | ValueError):
        return AuthenticationError(
            "no login to the Databricks workspace, which is needed to reach Unity Catalog",
            hint="run `databricks auth login`, or set DATABRICKS_HOST and DATABRICKS_TOKEN",
        )
    return UnavailableError(
        f"the Databricks workspace gave no answer about grants ({type(error).__name__})",
        hint="check DATABRICKS_HOST and the network",
    )


def rights_of_account(
    client: WorkspaceClient, securables: Collection[Securable]
) -> tuple[str, dict[Securable, AccountRights]]:
    """The account's name, and its rights on each securable. Blocks. Raises what the SDK raises."""
    me = client.current_user.me()
    groups = [group.display for group in me.groups or () if group.display]
    principals = {me.user_name or "", *groups, "account users"} - {""}
    return me.user_name or "", {each: _rights_on(client, each, principals) for each in securables}


def _rights_on(client: WorkspaceClient, securable: Securable, principals: Collection[str]) -> AccountRights:
    kinds: dict[str, Callable[[str], Any]] = {
        "CATALOG": client.catalogs.get,
        "SCHEMA": client.schemas.get,
        "EXTERNAL LOCATION": client.external_locations.get,
    }
    try:
        owner = kinds[securable.kind](securable.name).owner
    except NotFound:
        return AccountRights(exists=False)
    except PermissionDenied:
        return AccountRights()
    privileges: set[str] = set()
    for principal in principals:
        try:
            answer = client.grants.get_effective(
                securable.kind.lower().replace(" ", "_"), securable.name, principal=principal
            )
        except (NotFound, PermissionDenied):
            continue  # the catalog does not know groups of the workspace
        for assignment in answer.privilege_assignments or ():
            held = (each.privilege for each in assignment.privileges or ())
            privileges |= {privilege.value.replace("_", " ") for privilege in held if privilege is not None}
    return AccountRights(frozenset(privileges), owned=owner in principals)
