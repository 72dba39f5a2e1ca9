"""Which grants a run into Unity Catalog needs and does not have, as the SQL that fixes it.

Decided purely from what the catalog says; asking it is the short part at the end. Invariant: a grant is
called missing only if neither we, nor a group of ours, nor an owner's rights cover it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config import Config
from config.errors import AccessDeniedError, AuthenticationError, ExtractError, UnavailableError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

__all__ = ["Securable", "Standing", "ask", "look_at_grants", "missing", "needed"]

_TIMEOUT_SECS = 30  # the SDK's own 300 s is longer than anybody watches an unreachable workspace

# Neither an owner nor ALL PRIVILEGES has these by itself.
_APART = frozenset({"EXTERNAL USE SCHEMA"})


@dataclass(frozen=True, slots=True)
class Securable:
    """A catalog or schema, by its kind in SQL and its full name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What we may do with a securable. `exists`: we can see it at all."""

    privileges: frozenset[str] = frozenset()
    owned: bool = False
    exists: bool = True


def needed(config: Config) -> dict[Securable, tuple[str, ...]]:
    """What a run needs on each securable."""
    names = config.unity_catalog
    schemas = dict.fromkeys((names.schema_name, names.checkpoint_schema, names.monitoring_schema))
    on_schema = ("USE SCHEMA", "SELECT", "MODIFY", "CREATE TABLE", "EXTERNAL USE SCHEMA")
    return {
        Securable("CATALOG", names.catalog): ("USE CATALOG",),
        **{Securable("SCHEMA", f"{names.catalog}.{schema}"): on_schema for schema in schemas},
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

    wanted = needed(config)
    try:
        client = WorkspaceClient(config=WorkspaceConfig(retry_timeout_seconds=_TIMEOUT_SECS))
        principal, found = ask(client, wanted)
    except NotFound:
        return "not looked at: this server has no accounts (the open-source catalog has none); the tables will tell"
    except (OSError, ValueError) as error:  # the SDK's errors are OSErrors; its setup raises ValueError
        refused: ExtractError = _translated(error)
    else:
        statements = list(missing(wanted, found, principal))
        if not statements:
            return f"{principal} has what a run needs on {len(wanted)} securables"
        refused = AccessDeniedError(
            f"{principal} lacks {len(statements)} grants in Unity Catalog, or they cannot be seen from here",
            hint="an owner runs: " + " ".join(statements) + " And external data access of the metastore must be on.",
        )
    # Raised out here: the SDK's errors quote the answer.
    raise refused


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

    get = client.catalogs.get if securable.kind == "CATALOG" else client.schemas.get
    try:
        owner = get(securable.name).owner
    except NotFound:
        return Standing(exists=False)
    except PermissionDenied:
        return Standing()
    privileges: set[str] = set()
    for principal in ours:
        try:
            answer = client.grants.get_effective(securable.kind.lower(), securable.name, principal=principal)
        except (NotFound, PermissionDenied):
            continue  # a group of the workspace alone is none of the catalog's
        for assignment in answer.privilege_assignments or ():
            held = (each.privilege for each in assignment.privileges or ())
            privileges |= {privilege.value.replace("_", " ") for privilege in held if privilege is not None}
    return Standing(frozenset(privileges), owned=owner in ours)
