"""The catalog's control plane: schemas, tables, and credentials for the storage of tables.

Paths below /api/2.1/unity-catalog, which Databricks and the open-source server both serve. (The SDK's
own method for credentials uses /api/2.0, which the latter does not.) Invariant: what is missing is
created, what another client created in the meantime is used as it is; nothing is ever replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from config.text import sql_name

from .answers import Grant, Intent, texts_of
from .credentials import Credentials, from_temporary
from .names import SchemaName, TableName
from .transport import Transport


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What the catalog says about a table of any kind."""

    name: TableName
    table_id: str
    kind: str  # MANAGED, EXTERNAL, VIEW, ...
    file_format: str  # DELTA, PARQUET, ...
    location: str
    properties: Mapping[str, str] = field(default_factory=dict)


def grant_on_catalog(catalog: str, *privileges: str) -> Grant:
    return Grant(privileges, "CATALOG", sql_name(catalog))


def grants_to_use(schema: SchemaName) -> tuple[Grant, ...]:
    return (
        grant_on_catalog(schema.catalog, "USE CATALOG"),
        Grant(("USE SCHEMA", "EXTERNAL USE SCHEMA"), "SCHEMA", schema.sql),
    )


def grants_to_write(name: TableName) -> tuple[Grant, ...]:
    return (*grants_to_use(name.parent), Grant(("SELECT", "MODIFY"), "TABLE", name.sql))


def grants_to_create(name: TableName) -> tuple[Grant, ...]:
    return (*grants_to_use(name.parent), Grant(("CREATE TABLE",), "SCHEMA", name.parent.sql))


class CatalogClient:
    """Typed calls of the control plane."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"CatalogClient({self._transport.host!r})"

    @property
    def databricks(self) -> bool:
        return self._transport.databricks

    def find_catalog(self, name: str) -> Mapping[str, Any]:
        """What the catalog of this name says of itself. Raises `ConfigurationError` where there is none."""
        answer = self._transport.get(f"catalogs/{quote(name, safe='')}")
        return answer.granted(Intent(f"use the catalog {name}", (grant_on_catalog(name, "USE CATALOG"),)))

    def find_schema(self, name: SchemaName) -> Mapping[str, Any] | None:
        """What the schema says of itself; None where there is none."""
        answer = self._transport.get(f"schemas/{quote(str(name), safe='.')}")
        if answer.lacks_table:
            return None
        return answer.granted(Intent(f"look at the schema {name}", grants_to_use(name)))

    def account(self) -> frozenset[str] | None:
        """The names of the account on an open-source server; None where it checks no grants."""
        answer = self._transport.get_once("/api/1.0/unity-control/scim2/Me")  # 500: it knows no users
        if not answer.ok:
            return None
        mails = answer.body.get("emails") or ()
        values = (mail.get("value") for mail in mails if isinstance(mail, Mapping))
        return frozenset(str(name) for name in (answer.body.get("userName"), *values) if name)

    def privileges(self, kind: str, name: str) -> frozenset[str]:
        """The privileges of this account on a catalog or schema of an open-source server, without those of an owner."""
        answer = self._transport.get(f"permissions/{kind}/{quote(name, safe='.')}")
        return answer.read(_privileges, Intent(f"see the grants on the {kind} {name}"))

    def ensure_schema(self, name: SchemaName, comment: str) -> None:
        """Create the schema if it is not there."""
        if self.find_schema(name) is not None:
            return
        body = {"name": name.schema, "catalog_name": name.catalog, "comment": comment}
        made = self._transport.post("schemas", body)
        if not made.exists_already:
            grant = grant_on_catalog(name.catalog, "USE CATALOG", "CREATE SCHEMA")
            made.granted(Intent(f"create the schema {name}", (grant,)))

    def find_table(self, name: TableName) -> TableEntry | None:
        """Look a table up; None where there is none, or no schema for it.

        Raises `ConfigurationError` where there is no such catalog, `DuplicateTableError`.
        """
        answer = self._transport.get(f"tables/{quote(str(name), safe='.')}")
        if answer.lacks_table:
            return None
        intent = Intent(f"look at the table {name}", grants_to_write(name))
        return answer.read(partial(_entry, name), intent)

    def register_external(
        self,
        name: TableName,
        location: str,
        columns: list[dict[str, Any]],
        *,
        comment: str,
        properties: Mapping[str, str],
    ) -> None:
        """Register the Delta table at `location` under a name."""
        body = {
            "name": name.table,
            "catalog_name": name.catalog,
            "schema_name": name.schema,
            "table_type": "EXTERNAL",
            "data_source_format": "DELTA",
            "storage_location": location,
            "columns": columns,
            "comment": comment,
            "properties": dict(properties),
        }
        made = self._transport.post("tables", body)
        if not made.exists_already:
            made.granted(Intent(f"register {location} as the table {name}", grants_to_create(name)))

    def table_credentials(self, entry: TableEntry) -> Credentials:
        body = {"table_id": entry.table_id, "operation": "READ_WRITE"}
        answer = self._transport.ask("temporary-table-credentials", body)
        return answer.read(
            from_temporary, Intent(f"write the files of {entry.name}", grants_to_write(entry.name), str(entry.name))
        )

    def path_credentials(self, location: str) -> Credentials:
        """Return credentials to create a table at a location that has none yet."""
        answer = self._transport.ask("temporary-path-credentials", {"url": location, "operation": "PATH_CREATE_TABLE"})
        grant = Grant(("CREATE EXTERNAL TABLE", "EXTERNAL USE LOCATION"), "EXTERNAL LOCATION", "`<location>`")
        return answer.read(from_temporary, Intent(f"create a table at {location}", (grant,)))


def _privileges(body: Mapping[str, Any]) -> frozenset[str]:
    assigned = body.get("privilege_assignments") or ()
    return frozenset(str(each).replace("_", " ") for one in assigned for each in one.get("privileges") or ())


def _entry(name: TableName, body: Mapping[str, Any]) -> TableEntry:
    return TableEntry(
        name=name,
        table_id=str(body["table_id"]),
        kind=str(body["table_type"]),
        file_format=str(body.get("data_source_format", "")),
        location=str(body.get("storage_location", "")),
        properties=texts_of(body.get("properties")),
    )
