"""Three-part names of tables, as people, SQL and URLs spell them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from config.text import sql_name


@dataclass(frozen=True, slots=True)
class SchemaName:
    """A schema of a catalog."""

    catalog: str
    schema: str

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}"

    @property
    def sql(self) -> str:
        return sql_name(self.catalog, self.schema)

    @property
    def url(self) -> str:
        """The path below the root of the Delta API."""
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
        return sql_name(self.catalog, self.schema, self.table)

    @property
    def url(self) -> str:
        """The path below the root of the Delta API."""
        return f"{self.parent.url}/tables/{_in_url(self.table)}"


def _in_url(name: str) -> str:
    return quote(name, safe="")
