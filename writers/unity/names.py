"""Three-part names of tables, as people, SQL and URLs spell them. Pure; imports nothing of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["SchemaName", "TableName"]


@dataclass(frozen=True, slots=True)
class SchemaName:
    """A schema of a catalog."""

    catalog: str
    schema: str

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}"

    @property
    def sql(self) -> str:
        return f"{_quoted(self.catalog)}.{_quoted(self.schema)}"

    @property
    def url(self) -> str:
        """The way to it below the Delta API's root."""
        return f"catalogs/{_in_url(self.catalog)}/schemas/{_in_url(self.schema)}"


@dataclass(frozen=True, slots=True)
class TableName:
    """A table of a schema."""

    catalog: str
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.table}"

    @property
    def parent(self) -> SchemaName:
        return SchemaName(self.catalog, self.schema)

    @property
    def sql(self) -> str:
        return f"{self.parent.sql}.{_quoted(self.table)}"

    @property
    def url(self) -> str:
        """The way to it below the Delta API's root."""
        return f"{self.parent.url}/tables/{_in_url(self.table)}"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "``") + "`"


def _in_url(name: str) -> str:
    return quote(name, safe="")
