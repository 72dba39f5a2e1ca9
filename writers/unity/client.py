"""The catalog's control plane: schemas, tables, and credentials for the storage of tables.

Paths below /api/2.1/unity-catalog, which Databricks and the open-source server both serve. (The SDK's
own method for credentials uses /api/2.0, which the latter does not.) Invariant: what is missing is
created, what somebody else created in the meantime is taken as it is; nothing is ever replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from .answers import Intent, texts_of
from .credentials import Credentials, from_temporary
from .names import SchemaName, TableName
from .transport import Transport

__all__ = ["CatalogClient", "TableEntry", "grants_to_create", "grants_to_write"]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What the catalog says about a table of any kind."""

    name: TableName
    table_id: str
    kind: str  # MANAGED, EXTERNAL, VIEW, ...
    file_format: str  # DELTA, PARQUET, ...
    location: str
    properties: Mapping[str, str] = field(default_factory=dict)


def grants_to_use(schema: SchemaName) -> tuple[str, ...]:
    return (
        f"GRANT USE CATALOG ON CATALOG {schema.sql.partition('.')[0]} TO `<you>`",
        f"GRANT USE SCHEMA, EXTERNAL USE SCHEMA ON SCHEMA {schema.sql} TO `<you>`",
    )


def grants_to_write(name: TableName) -> tuple[str, ...]:
    return (*grants_to_use(name.parent), f"GRANT SELECT, MODIFY ON TABLE {name.sql} TO `<you>`")


def grants_to_create(name: TableName) -> tuple[str, ...]:
    return (*grants_to_use(name.parent), f"GRANT CREATE TABLE ON SCHEMA {name.parent.sql} TO `<you>`")


class CatalogClient:
    """Typed calls of the control plane."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"CatalogClient({self._transport.host!r})"

    def ensure_schema(self, name: SchemaName, comment: str) -> None:
        """Create the schema if it is not there."""
        found = self._transport.get(f"schemas/{quote(str(name), safe='.')}")
        if found.status != 404:
            found.granted(Intent(f"look at the schema {name}", grants_to_use(name)))
            return
        body = {"name": name.schema, "catalog_name": name.catalog, "comment": comment}
        made = self._transport.post("schemas", body)
        if not made.exists_already:
            grant = f"GRANT USE CATALOG, CREATE SCHEMA ON CATALOG {name.sql.partition('.')[0]} TO `<you>`"
            made.granted(Intent(f"create the schema {name}", (grant,)))

    def find_table(self, name: TableName) -> TableEntry | None:
        """Look a table up; None where there is none."""
        answer = self._transport.get(f"tables/{quote(str(name), safe='.')}")
        if answer.status == 404:
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
        """Make the Delta table at `location` known under a name."""
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
        return answer.read(from_temporary, Intent(f"write the files of {entry.name}", grants_to_write(entry.name)))

    def path_credentials(self, location: str) -> Credentials:
        """Credentials to create a table at a location that has none yet."""
        answer = self._transport.ask("temporary-path-credentials", {"url": location, "operation": "PATH_CREATE_TABLE"})
        grant = "GRANT CREATE EXTERNAL TABLE, EXTERNAL USE LOCATION ON EXTERNAL LOCATION `<location>` TO `<you>`"
        return answer.read(from_temporary, Intent(f"create a table at {location}", (grant,)))


def _entry(name: TableName, body: Mapping[str, Any]) -> TableEntry:
    return TableEntry(
        name=name,
        table_id=str(body.get("table_id", "")),
        kind=str(body.get("table_type", "")),
        file_format=str(body.get("data_source_format", "")),
        location=str(body.get("storage_location", "")),
        properties=texts_of(body.get("properties")),
    )
