"""The catalog's Delta API (delta/v1): tables whose commits the catalog decides.

Invariant: an answer is turned into a value that says what is certain. Only `propose` may leave something open, and then says
so (`CatalogReply.OPEN`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from config.errors import SchemaDriftError, UnavailableError

from .answers import CatalogAnswer, Intent, texts_of
from .client import grant_on_catalog, grants_to_create, grants_to_write
from .credentials import Credentials, from_delta_api
from .names import TableName
from .transport import Transport


@dataclass(frozen=True, slots=True)
class StagingTable:
    """The location of a new table, and what its first commit must contain."""

    table_id: str
    location: str
    credentials: Credentials
    protocol: Mapping[str, Any]  # hyphenated, as sent
    properties: Mapping[str, str | None]  # None: the writer chooses the value

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> StagingTable:
        return cls(
            table_id=str(body["table-id"]),
            location=str(body["location"]),
            credentials=from_delta_api(body),
            protocol=dict(body["required-protocol"]),
            properties=dict(body.get("required-properties") or {}),
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A staged commit: what the catalog is asked to make version `version` of the table."""

    version: int
    timestamp: int
    file_name: str
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """What the catalog knows of a table's history. `unpublished`: version to staged file, ratified.

    An answer that does not say which table it is about is none: what stands before a catalog may answer `{}`.
    """

    table_id: str
    location: str
    latest: int
    unpublished: Mapping[int, str]
    properties: Mapping[str, str] = field(default_factory=dict)
    uniform: bool = False

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> LoadedTable:
        about = body["metadata"]
        return cls(
            table_id=str(about["table-uuid"]),
            location=str(about["location"]),
            latest=int(body.get("latest-table-version") or 0),
            unpublished={int(c["version"]): str(c["file-name"]) for c in body.get("commits") or ()},
            properties=texts_of(about.get("properties")),
            uniform=bool(body.get("uniform")),
        )


@dataclass(frozen=True, slots=True)
class NewTable:
    """What the catalog must know about a table whose first commit has been written."""

    name: TableName
    location: str
    columns: Mapping[str, Any]  # struct type, hyphenated
    partition_by: tuple[str, ...]
    properties: Mapping[str, str]
    protocol: Mapping[str, Any]
    comment: str
    timestamp: int


class CatalogReply(Enum):
    """The catalog's answer to a proposal."""

    RATIFIED = auto()
    TAKEN = auto()  # the version is not free (any more)
    FULL = auto()  # publish the backlog first
    OPEN = auto()  # unknown: load the table


class DeltaApi:
    """Typed calls of the Delta API."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"DeltaApi({self._transport.host!r})"

    @property
    def databricks(self) -> bool:
        return self._transport.databricks

    def wait(self, attempt: int) -> bool:
        """Wait before a proposal whose answer was lost is sent again. False where there is to be no other one."""
        return self._transport.wait(attempt)

    def check_served(self, catalog: str) -> None:
        """Raise `SchemaDriftError` if this server has no catalog commits."""
        answer = self._transport.get("delta/v1/config", **{"catalog": catalog, "protocol-versions": "1.0"})
        if answer.status == 404 and not answer.lacks_catalog:
            raise SchemaDriftError(
                f"Unity Catalog at {self._transport.host} has no catalog commits, which managed tables need.",
                hint="Set unity_catalog.table_type: external with a location, or use a newer server.",
            )
        answer.granted(Intent(f"use the catalog {catalog}", (grant_on_catalog(catalog, "USE CATALOG"),)))

    def stage_table(self, name: TableName) -> StagingTable | None:
        """Ask for the location of a new table; None if a table of that name exists."""
        answer = self._transport.post(f"{_ROOT}{name.parent.url}/staging-tables", {"name": name.table})
        if answer.exists_already:
            return None
        return answer.read(StagingTable.parse, _creating(name))

    def create_table(self, table: NewTable) -> bool:
        """Turn a staging table into a table; False if another client was quicker."""
        body = {
            "name": table.name.table,
            "table-type": "MANAGED",
            "location": table.location,
            "comment": table.comment,
            "columns": table.columns,
            "partition-columns": list(table.partition_by),
            "properties": dict(table.properties),
            "protocol": table.protocol,
            "last-commit-timestamp-ms": table.timestamp,
        }
        answer = self._transport.post(f"{_ROOT}{table.name.parent.url}/tables", body)
        if answer.exists_already:
            return False
        answer.granted(_creating(table.name))
        return True

    def load(self, name: TableName) -> LoadedTable:
        answer = self._transport.get(f"{_ROOT}{name.url}")
        return answer.read(LoadedTable.parse, Intent(f"read the table {name}", grants_to_write(name), str(name)))

    def credentials(self, name: TableName) -> Credentials:
        answer = self._transport.get(f"{_ROOT}{name.url}/credentials", operation="READ_WRITE")
        return answer.read(from_delta_api, _writing(name))

    def propose(self, name: TableName, table_id: str, proposal: Proposal) -> tuple[CatalogReply, LoadedTable | None]:
        """Ask the catalog to ratify a staged commit. Raises for a refusal that no retry changes."""
        commit = {
            "version": proposal.version,
            "timestamp": proposal.timestamp,
            "file-name": proposal.file_name,
            "file-size": proposal.size_bytes,
            "file-modification-timestamp": proposal.modified_ms,
        }
        try:
            answer = self._update(name, table_id, {"action": "add-commit", "commit": commit})
            if answer.ok:
                table = answer.read(LoadedTable.parse, _writing(name))
                # Only what says that our version is there says that it has landed.
                names_it = table.unpublished.get(proposal.version) == proposal.file_name
                ratified = table.table_id == table_id and (names_it or table.latest >= proposal.version)
                return (CatalogReply.RATIFIED, table) if ratified else (CatalogReply.OPEN, None)
        except UnavailableError:  # no answer, or none that can be understood
            return CatalogReply.OPEN, None
        if answer.status == 409:
            return CatalogReply.TAKEN, None
        if answer.backlog:
            return CatalogReply.FULL, None
        if answer.status >= 500:
            return CatalogReply.OPEN, None
        raise answer.refusal(_writing(name))

    def report_published(self, name: TableName, table_id: str, version: int) -> None:
        """Report that every commit up to `version` is in the log under its final name."""
        update = {"action": "set-latest-backfilled-version", "latest-published-version": version}
        self._update(name, table_id, update).granted(_writing(name))

    def report_metrics(self, name: TableName, table_id: str, counts: Mapping[str, int]) -> None:
        body = {"table-id": table_id, "report": {"commit-report": dict(counts)}}
        self._transport.post(f"{_ROOT}{name.url}/metrics", body).granted(_writing(name))

    def _update(self, name: TableName, table_id: str, update: Mapping[str, Any]) -> CatalogAnswer:
        requirement = {"type": "assert-table-uuid", "uuid": table_id}
        return self._transport.post(f"{_ROOT}{name.url}", {"requirements": [requirement], "updates": [update]})


_ROOT = "delta/v1/"


def _creating(name: TableName) -> Intent:
    return Intent(f"create the table {name}", grants_to_create(name))


def _writing(name: TableName) -> Intent:
    return Intent(f"write to the table {name}", grants_to_write(name), str(name))
