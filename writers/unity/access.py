"""Whether a run may use its tables in a catalog: asked before it begins, without changing a table.

Of tables that exist, credentials to read and write their files are asked for, as a run does: that alone tells SELECT
from MODIFY. For tables that have to be created, an open-source server is asked what this account has been granted, and
where managed tables would lie; credentials are asked for the place of external ones. (Databricks has another API for
grants, which `engine.commands.check.grants` asks.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from config.errors import AccessDeniedError, ConfigurationError

from .answers import NO_ROOT_HINT, Grant, remedy
from .client import grant_on_catalog
from .creation import is_remote
from .names import SchemaName
from .table import Catalog, CatalogTable


def check_access(catalog: Catalog, tables: Sequence[CatalogTable]) -> str:
    """Return a sentence. Raises `ConfigurationError` where there is no such catalog, or no place for managed tables,
    and `AccessDeniedError`, which names all that is not granted.
    """
    client = catalog.client
    name = tables[0].name.catalog
    about = client.find_catalog(name)
    missing = [table for table in tables if not table.check_writable()]
    if missing and not client.databricks:
        schemas = {table.name.parent: client.find_schema(table.name.parent) for table in missing}
        _refuse_lacking(catalog, name, about, schemas)
        if catalog.kind == "managed":
            _refuse_homeless(catalog, about, schemas, missing)
    if missing and catalog.kind == "external":
        location = missing[0].new_location()
        if is_remote(location):
            client.path_credentials(location)
    writable = len(tables) - len(missing)
    parts = [
        f"{writable} tables may be written" if writable else "",
        f"{len(missing)} tables may be created" if missing else "",
    ]
    return f"catalog {name}: {', '.join(filter(None, parts))}"


def _refuse_lacking(
    catalog: Catalog, name: str, about: Mapping[str, Any], schemas: Mapping[SchemaName, Mapping[str, Any] | None]
) -> None:
    client = catalog.client
    account = client.account()
    if account is None:
        return  # the server checks no grants
    needed = {"USE CATALOG"} | ({"CREATE SCHEMA"} if None in schemas.values() else set())
    lacking = list(_lacking(needed, about, account, client.privileges("catalog", name)))
    grants = [grant_on_catalog(name, *lacking)] if lacking else []
    for schema, found in schemas.items():
        if found is None:
            continue  # a run creates it, and owns it then
        held = client.privileges("schema", str(schema))
        lacking = list(_lacking({"USE SCHEMA", "CREATE TABLE"}, found, account, held))
        grants += [Grant(tuple(lacking), "SCHEMA", schema.sql)] if lacking else []
    if grants:
        raise AccessDeniedError(
            f"This account may not create the tables of a run in the catalog {name}.",
            hint=remedy(grants, databricks=False),
        )


def _lacking(
    needed: Iterable[str], about: Mapping[str, Any], account: Collection[str], held: Collection[str]
) -> Iterator[str]:
    """Pure. An owner needs no grant."""
    return (each for each in sorted(needed, reverse=True) if about.get("owner") not in account and each not in held)


def _refuse_homeless(
    catalog: Catalog,
    about: Mapping[str, Any],
    schemas: Mapping[SchemaName, Mapping[str, Any] | None],
    missing: Sequence[CatalogTable],
) -> None:
    """Raise `ConfigurationError` where the server has no place for a managed table.

    It may have one that it does not tell. Then it is asked for the place of a table that is to be created: the place is
    never used.
    """
    for schema, found in schemas.items():
        if _has_root(about) or _has_root(found or {}):
            continue
        if found is None:
            raise ConfigurationError(
                f"The catalog {schema.catalog} has no storage root, and managed tables need one.",
                hint=f"{NO_ROOT_HINT} If the server itself has one (storage-root.tables), create the schema {schema} and "
                "check again.",
            )
        catalog.delta.stage_table(next(table.name for table in missing if table.name.parent == schema))


def _has_root(about: Mapping[str, Any]) -> bool:
    return bool(about.get("storage_root") or about.get("storage_location"))
