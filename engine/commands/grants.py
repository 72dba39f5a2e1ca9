"""Which grants a run into Unity Catalog needs and does not have, as the SQL that fixes it.

Decided purely from what the catalog says; asking it is the short part at the end. Invariant: a grant is
called missing only if neither we, nor a group of ours, nor an owner's rights cover it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config import Config
from config.errors import AccessDeniedError, AuthenticationError, ExtractError, UnavailableError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import ExternalLocationInfo

__all__ = ["Securable", "Standing", "ask", "holding", "look_at_grants", "missing", "needed"]

_TIMEOUT_SECS = 30  # the SDK's own 300 s is longer than anybody watches an unreachable workspace

# Neither an owner nor ALL PRIVILEGES has these by itself.
_APART = frozenset({"EXTERNAL USE LOCATION", "EXTERNAL USE SCHEMA"})


_ON_LOCATION = ("CREATE EXTERNAL TABLE", "EXTERNAL USE LOCATION")


@dataclass(frozen=True, slots=True)
class Securable:
    """A catalog, schema or external location, by its kind in SQL and its full name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What we may do with a securable. `exists`: we can see it at all."""

    privileges: frozenset[str] = frozenset()
    owned: bool = False
    exists: bool = True


def needed(config: Config, location: str | None = None) -> dict[Securable, tuple[str, ...]]:
    """What a run needs on each securable; `location` is the external location that external tables lie in."""
    names = config.unity_catalog
    schemas = dict.fromkeys((names.schema_name, names.checkpoint_schema, names.monitoring_schema))
    on_schema = ("USE SCHEMA", "SELECT", "MODIFY", "CREATE TABLE", "EXTERNAL USE SCHEMA")
    return {
        Securable("CATALOG", names.catalog): ("USE CATALOG",),
        **{Securable("SCHEMA", f"{names.catalog}.{schema}"): on_schema for schema in schemas},
        **({Securable("EXTERNAL LOCATION", location): _ON_LOCATION} if location is not None else {}),
    }


def missing(
    wanted: Mapping[Securable, Collection[str]], found: Mapping[Securable, Standing], principal: str
) -> Iterator[str]:
    """The statements that are to be run, in an order in which they work."""
    for securable, privileges in wanted.items():
        standing = found[securable]
        target = ".".join(f"`{part}`" for part in securable.name.split("."))
        if not standing.exists and securable.kind == "SCHEMA":
            yield f"CREATE SCHEMA IF NOT EXISTS {target};"
        covered = standing.owned or "ALL PRIVILEGES" in standing.privileges
        lacking = [p for p in privileges if p not in standing.privileges and not (covered and p not in _APART)]
        if lacking:
            yield f"GRANT {', '.join(lacking)} ON {securable.kind} {target} TO `{principal}`;"


def look_at_grants(config: Config) -> str:
    """Say that nothing is missing, or raise `AccessDeniedError` with the statements that fix it. Blocks."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config as WorkspaceConfig
    from databricks.sdk.errors import NotFound

    url = config.unity_catalog.location
    try:
        client = WorkspaceClient(config=WorkspaceConfig(retry_timeout_seconds=_TIMEOUT_SECS))
        location = None if url is None else holding(url, client.external_locations.list())
        wanted = needed(config, location)
        principal, found = ask(client, wanted)
        opened = _opened_to_others(client)
    except NotFound:
        return "not looked at: this server has no accounts (the open-source catalog has none); the tables will tell"
    except (OSError, ValueError) as error:  # the SDK's errors are OSErrors; its setup raises ValueError
        refused: ExtractError = _translated(error)
    else:
        statements = list(missing(wanted, found, principal))
        if url is not None and location is None:
            privileges = ", ".join(_ON_LOCATION)
            statements.append(f"GRANT {privileges} ON EXTERNAL LOCATION `the one that holds {url}` TO `{principal}`;")
        if not statements and opened is not False:
            return f"{principal} has what a run needs on {len(wanted)} securables"
        refused = AccessDeniedError(_lacking(principal, len(statements), opened), hint=_remedy(statements, opened))
    # Raised out here: the SDK's errors quote the answer.
    raise refused


def holding(url: str, locations: Iterable[ExternalLocationInfo]) -> str | None:
    """The external location that a URL lies in, of those that we can see."""
    found = [each for each in locations if f"{url}/".startswith(f"{(each.url or 'nowhere').rstrip('/')}/")]
    return max(found, key=lambda each: len(each.url or "")).name if found else None


def _lacking(principal: str, statements: int, opened: bool | None) -> str:
    if not statements:
        return "external data access of the metastore is off: the catalog lends nobody credentials for its storage"
    also = ", and external data access of the metastore is off" if opened is False else ""
    return f"{principal} lacks {statements} grants in Unity Catalog, or they cannot be seen from here{also}"


def _remedy(statements: Sequence[str], opened: bool | None) -> str:
    """`opened`: whether external data access is on; None where we may not know."""
    grants = f"an owner runs: {' '.join(statements)}" if statements else ""
    switch = {
        True: "",
        False: "a metastore admin turns on external data access (Catalog, the gear, Metastore, Details)",
        None: "external data access of the metastore must be on",
    }[opened]
    return " And ".join(part for part in (grants, switch) if part)


def _opened_to_others(client: WorkspaceClient) -> bool | None:
    """Whether the metastore lends credentials to engines that are not the workspace's own; None: we may not know."""
    from databricks.sdk.errors import NotFound, PermissionDenied

    try:
        return client.metastores.summary().external_access_enabled
    except (NotFound, PermissionDenied):
        return None


def _translated(error: OSError | ValueError) -> ExtractError:
    from databricks.sdk import errors

    if isinstance(error, errors.Unauthenticated | ValueError):
        return AuthenticationError(
            "no login to the Databricks workspace, which is needed to reach Unity Catalog",
            hint="run `databricks auth login`, or set DATABRICKS_HOST and DATABRICKS_TOKEN",
        )
    return UnavailableError(
        f"the Databricks workspace gave no answer about grants ({type(error).__name__})",
        hint="check DATABRICKS_HOST and the network",
    )


def ask(client: WorkspaceClient, securables: Collection[Securable]) -> tuple[str, dict[Securable, Standing]]:
    """Who we are, and where we stand with each securable. Blocks. Raises what the SDK raises."""
    me = client.current_user.me()
    groups = [group.display for group in me.groups or () if group.display]
    ours = {me.user_name or "", *groups, "account users"} - {""}
    return me.user_name or "", {each: _standing(client, each, ours) for each in securables}


def _standing(client: WorkspaceClient, securable: Securable, ours: Collection[str]) -> Standing:
    from databricks.sdk.errors import NotFound, PermissionDenied

    kinds: dict[str, Callable[[str], Any]] = {
        "CATALOG": client.catalogs.get,
        "SCHEMA": client.schemas.get,
        "EXTERNAL LOCATION": client.external_locations.get,
    }
    try:
        owner = kinds[securable.kind](securable.name).owner
    except NotFound:
        return Standing(exists=False)
    except PermissionDenied:
        return Standing()
    privileges: set[str] = set()
    for principal in ours:
        try:
            answer = client.grants.get_effective(
                securable.kind.lower().replace(" ", "_"), securable.name, principal=principal
            )
        except (NotFound, PermissionDenied):
            continue  # a group of the workspace alone is none of the catalog's
        for assignment in answer.privilege_assignments or ():
            held = (each.privilege for each in assignment.privileges or ())
            privileges |= {privilege.value.replace("_", " ") for privilege in held if privilege is not None}
    return Standing(frozenset(privileges), owned=owner in ours)
