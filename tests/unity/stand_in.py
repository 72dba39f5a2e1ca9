"""A catalog server for tests, read from the open specification of its API. Imports nothing of ours.

Real HTTP on loopback, state in memory. It is stricter than a server has to be: it looks into the
storage, and refuses a proposal whose staged file is not there, or a report of a version whose copy is
not byte for byte the ratified file. It can be told to lose answers, to forbid, to be slow to forget, and to commit the
sins that the open-source server was found to commit (`SINS`).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.unity.face import TOKEN, Face, RefusalError

__all__ = ["TOKEN", "Instead", "StandIn", "Table"]

MOST_UNPUBLISHED = 10
FEATURES = ("catalogManaged", "deletionVectors", "v2Checkpoint", "vacuumProtocolCheck")
PROPERTIES = {
    "delta.checkpointPolicy": "v2",
    "delta.enableDeletionVectors": "true",
    "delta.enableInCommitTimestamps": "true",
    "delta.checkpoint.writeStatsAsStruct": "true",
    "delta.checkpoint.writeStatsAsJson": "true",
}
PROTOCOL = {
    "min-reader-version": 3,
    "min-writer-version": 7,
    "reader-features": list(FEATURES),
    "writer-features": [*FEATURES, "inCommitTimestamp"],
}


ME = "engine@company.com"
# By name, what a real server does that a client may not expect: fields of `StandIn`.
SINS: dict[str, dict[str, Any]] = {
    "twins": {"twins": True},
    "grants": {"grants": {"main": {"USE CATALOG", "CREATE SCHEMA"}}},
    "no-expiry": {"lives_ms": 0},
}


@dataclass
class Table:
    id: str
    kind: str
    location: str
    columns: Any
    properties: dict[str, str] = field(default_factory=dict)
    file_format: str = "DELTA"
    partition_by: list[str] = field(default_factory=list)
    commits: dict[int, dict[str, Any]] = field(default_factory=dict)
    ratified: dict[int, str] = field(default_factory=dict)  # every one there ever was
    latest: int = 0
    uniform: dict[str, Any] | None = None
    owner: str = ME
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Instead:
    """What comes in place of an answer, as from a layer before the catalog. `done`: the request has reached it."""

    status: int
    body: bytes
    done: bool = False


@dataclass
class StandIn:
    """`storage_root`: where managed tables go. `s3`: options of the bucket behind it, if it is one."""

    storage_root: str
    s3: dict[str, str] | None = None
    lives_ms: int | None = 3_600_000  # of the credentials it gives
    required_protocol: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(PROTOCOL)))
    required_properties: dict[str, Any] = field(default_factory=lambda: dict(PROPERTIES))
    restricted_properties: set[str] = field(default_factory=set)
    schemas: set[str] = field(default_factory=set)
    schema_owners: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    staged: dict[str, tuple[str, str]] = field(default_factory=dict)
    vended: dict[str, int | None] = field(default_factory=dict)  # when each key expires, in ms since 1970
    forbidden: set[str] = field(default_factory=set)  # kinds of request
    lose: list[str] = field(default_factory=list)  # kinds of request whose next answer is lost
    drop: list[str] = field(default_factory=list)  # kinds of request that are lost themselves
    # What happens at the next request, or answer, of a kind; true: it is lost.
    at_request: dict[str, Callable[[], bool]] = field(default_factory=dict)
    at_answer: dict[str, Callable[[], bool]] = field(default_factory=dict)
    # What comes in place of the next answers to requests of a kind.
    instead: dict[str, list[Instead]] = field(default_factory=dict)
    throttle: list[str] = field(default_factory=list)  # kinds of request that come too soon
    asked: list[str] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    without_delta: bool = False
    catalogs: dict[str, str | None] | None = None  # the storage root of each; None: every catalog is there
    # Names are not kept unique. Two creations of a table both succeed, and every later request for it is an error 500.
    # (The real server does so where the second begins before the first has ended.)
    twins: bool = False
    created_twice: set[str] = field(default_factory=set)
    # Who we are may do what: privileges by securable. None: no authorization. What we create is ours.
    grants: dict[str, set[str]] | None = None
    tells_roots: bool = True  # whether a catalog says where its managed tables lie
    not_found: str | None = None  # what a 404 of tables is called, as by something that stands before the server
    away: str = ""  # "silent": it closes connections without an answer; "failing": every answer is an error 500
    missed: int = 0  # requests that came while it was away
    back_after: int | None = None  # so many; None: it stays away
    databricks: bool = False  # whether it calls itself Databricks
    lock: threading.RLock = field(default_factory=threading.RLock)
    host: str = ""

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(Face):
            catalog = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # what it sees of the storage

    def content(self, table: Table, path: str) -> bytes | None:
        where = urlsplit(table.location)
        if where.scheme == "file":
            file = Path(unquote(where.path)) / path
            return file.read_bytes() if file.exists() else None
        import boto3
        from botocore.exceptions import ClientError

        assert self.s3 is not None
        client = boto3.client(
            "s3",
            endpoint_url=self.s3["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.s3["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.s3["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            return client.get_object(Bucket=where.netloc, Key=f"{where.path.strip('/')}/{path}")["Body"].read()
        except ClientError:
            return None

    # control plane

    def get_catalog(self, name: str) -> dict[str, Any]:
        if self.catalogs is not None and name not in self.catalogs:
            raise RefusalError(404, "CATALOG_NOT_FOUND", f"Catalog not found: {name}")
        self._require(name, "USE CATALOG")
        return {"name": name, "storage_root": self._root(name) if self.tells_roots else None, "owner": "admin"}

    def get_schema(self, full: str) -> dict[str, Any]:
        if full not in self.schemas:
            self.get_catalog(full.partition(".")[0])
            raise RefusalError(404, "SCHEMA_NOT_FOUND")
        self._require(full.partition(".")[0], "USE CATALOG")
        self._require(full, "USE SCHEMA")
        return {"full_name": full, "owner": self.schema_owners.get(full, "admin")}

    def account(self) -> dict[str, Any]:
        if self.grants is None:
            raise RefusalError(500, "INTERNAL", "No user found.")
        return {"userName": "engine", "emails": [{"value": ME}]}

    def permissions(self, full: str) -> dict[str, Any]:
        held = sorted((self.grants or {}).get(full, ()))
        return {"privilege_assignments": [{"principal": ME, "privileges": held}] if held else []}

    def _root(self, catalog: str) -> str | None:
        return self.storage_root if self.catalogs is None else self.catalogs[catalog]

    def _require(self, full: str, *privileges: str, any_of: bool = False) -> None:
        """Refuse us who do not own it, unless all of these are granted, or any of them."""
        if self.grants is None or self.schema_owners.get(full) == ME:
            return
        if full in self.tables and self.tables[full].owner == ME:
            return
        held = [each in self.grants.get(full, ()) for each in privileges]
        if not (any(held) if any_of else all(held)):
            raise RefusalError(403, "PERMISSION_DENIED", "Access denied.")

    def _require_creation(self, schema: str) -> None:
        self.get_schema(schema)
        self._require(schema, "CREATE TABLE")

    def create_schema(self, body: dict[str, Any]) -> dict[str, Any]:
        full = f"{body['catalog_name']}.{body['name']}"
        self.get_catalog(body["catalog_name"])
        self._require(body["catalog_name"], "CREATE SCHEMA")
        if full in self.schemas and not self.twins:
            raise RefusalError(400, "SCHEMA_ALREADY_EXISTS")
        self.schemas.add(full)
        self.schema_owners.setdefault(full, ME)
        return {"full_name": full}

    def get_table(self, full: str) -> dict[str, Any]:
        table = self._readable(full)
        return {
            "table_id": table.id,
            "table_type": table.kind,
            "data_source_format": table.file_format,
            "storage_location": table.location,
            "properties": table.properties,
            "columns": table.columns,
        }

    def create_table(self, body: dict[str, Any]) -> dict[str, Any]:
        full = ".".join(body[k] for k in ("catalog_name", "schema_name", "name"))
        self._require_creation(full.rpartition(".")[0])
        if full in self.tables and not self.twins:
            raise RefusalError(400, "TABLE_ALREADY_EXISTS")
        if body["table_type"] != "EXTERNAL":
            raise RefusalError(400, "INVALID_ARGUMENT", "managed tables go through staging tables")
        for column in body["columns"]:
            missing = {"name", "type_text", "type_name", "type_json", "position", "nullable"} - column.keys()
            if missing:
                raise RefusalError(400, "INVALID_ARGUMENT", f"columns lack {missing}")
        location, properties = body["storage_location"], body.get("properties") or {}
        answer = self._enter(full, Table(str(uuid.uuid4()), "EXTERNAL", location, body["columns"], properties))
        return answer or self.get_table(full)

    def _enter(self, full: str, table: Table) -> dict[str, Any] | None:
        """Enter a table; the answer where there is one of this name, and both stay."""
        if full in self.tables:
            self.created_twice.add(full)
            return {"metadata": {"table-uuid": table.id}}
        self.tables[full] = table
        return None

    def temporary(self, body: dict[str, Any]) -> dict[str, Any]:
        if "table_id" in body:
            assert body["operation"] == "READ_WRITE"
            [full] = [full for full, table in self.tables.items() if table.id == body["table_id"]]
            self._require(full, "SELECT", "MODIFY")
        if self.s3 is None:
            return {"expiration_time": None}
        key, expires_at = self._vend()
        keys = {"access_key_id": key, "secret_access_key": "a-vended-secret", "session_token": "a-session"}
        return {"aws_temp_credentials": keys, "expiration_time": expires_at}

    # Delta API

    def stage(self, schema: str, body: dict[str, Any]) -> dict[str, Any]:
        self._require_creation(schema)
        full = f"{schema}.{body['name']}"
        if self._root(schema.partition(".")[0]) is None:
            raise RefusalError(
                400,
                "InvalidParameterValueException",
                "None of catalog, schema or storage-root.tables server property has managed location configured.",
            )
        if full in self.tables:
            raise RefusalError(409, "AlreadyExistsException")
        table_id = str(uuid.uuid4())
        self.staged[table_id] = (full, f"{self.storage_root}/__unitystorage/tables/{table_id}")
        return {
            "table-id": table_id,
            "table-type": "MANAGED",
            "location": self.staged[table_id][1],
            "storage-credentials": self._delta_credentials(self.staged[table_id][1]),
            "required-protocol": self.required_protocol,
            "suggested-protocol": {"writer-features": ["rowTracking"]},
            "required-properties": {**self.required_properties, "io.unitycatalog.tableId": table_id},
            "suggested-properties": {"delta.rowTracking.materializedRowIdColumnName": None},
        }

    def create_managed(self, schema: str, body: dict[str, Any]) -> dict[str, Any]:
        self._require_creation(schema)
        full = f"{schema}.{body['name']}"
        if full in self.tables and not self.twins:
            raise RefusalError(409, "AlreadyExistsException")
        table_id = body["properties"].get("io.unitycatalog.tableId", "")
        if self.staged.get(table_id) != (full, body["location"]):
            raise RefusalError(404, "NoSuchTableException", "no such staging table")
        for key in self.restricted_properties & body["properties"].keys():
            raise RefusalError(400, "InvalidParameterValueException", f"{key} may not be set")
        for key, value in self.required_properties.items():
            if body["properties"].get(key) != value:
                raise RefusalError(400, "InvalidParameterValueException", f"required property {key}")
        for kind in ("reader-features", "writer-features"):
            if not set(self.required_protocol[kind]) <= set(body["protocol"][kind]):
                raise RefusalError(400, "InvalidParameterValueException", kind)
        _check_struct(body["columns"])
        table = Table(table_id, body["table-type"], body["location"], body["columns"], dict(body["properties"]))
        table.partition_by = body.get("partition-columns", [])
        for feature in body["protocol"]["writer-features"]:
            table.properties[f"delta.feature.{feature}"] = "supported"
        first = self.content(table, "_delta_log/00000000000000000000.json")
        if first is None:
            raise RefusalError(400, "InvalidParameterValueException", "there is no first commit")
        _check_first(first, body)
        del self.staged[table_id]
        return self._enter(full, table) or self.load(full)

    def load(self, full: str) -> dict[str, Any]:
        table = self._readable(full)
        if table.file_format != "DELTA":
            raise RefusalError(400, "UnsupportedTableFormatException")
        return {
            "metadata": {
                "etag": f"e{table.latest}",
                "table-type": table.kind,
                "table-uuid": table.id,
                "location": table.location,
                "created-time": 1,
                "updated-time": 1,
                "columns": table.columns,
                "partition-columns": table.partition_by,
                "properties": table.properties,
                "last-commit-version": 0,
                "last-commit-timestamp-ms": 1,
            },
            "commits": [table.commits[v] for v in sorted(table.commits, reverse=True)],
            "latest-table-version": table.latest,
            **({"uniform": table.uniform} if table.uniform else {}),
        }

    def update(self, full: str, body: dict[str, Any]) -> dict[str, Any]:
        table = self._table(full)
        self._require(full, "MODIFY")
        if {"type": "assert-table-uuid", "uuid": table.id} not in body["requirements"]:
            raise RefusalError(409, "UpdateRequirementConflictException")
        with table.lock:
            for update in body["updates"]:
                if update["action"] == "add-commit":
                    self._add(table, update["commit"])
                elif update["action"] == "set-latest-backfilled-version":
                    self._published(table, update["latest-published-version"])
                else:
                    raise RefusalError(400, "BadRequestException", update["action"])
            return self.load(full)

    def _add(self, table: Table, commit: dict[str, Any]) -> None:
        version, name = commit["version"], commit["file-name"]
        if min(version, commit["timestamp"], commit["file-size"], commit["file-modification-timestamp"]) <= 0:
            raise RefusalError(400, "InvalidParameterValueException")
        content = self.content(table, f"_delta_log/_staged_commits/{name}")
        if content is None or len(content) != commit["file-size"]:
            raise RefusalError(400, "InvalidParameterValueException", f"{name} is not there, or of another size")
        if version <= table.latest:
            if table.ratified.get(version) == name:
                return
            raise RefusalError(409, "CommitVersionConflictException")
        if version > table.latest + 1:
            raise RefusalError(400, "InvalidParameterValueException", "a gap")
        if len(table.commits) >= MOST_UNPUBLISHED:
            raise RefusalError(429, "ResourceExhaustedException")
        self._check_commit(table, commit, content)
        table.commits[version] = commit
        table.ratified[version] = name
        table.latest = version

    def _check_commit(self, table: Table, commit: dict[str, Any], content: bytes) -> None:
        info = json.loads(content.splitlines()[0])["commitInfo"]
        assert info["inCommitTimestamp"] == commit["timestamp"]
        assert info["txnId"]
        last = table.ratified.get(table.latest)
        before = self.content(table, f"_delta_log/_staged_commits/{last}" if last else f"_delta_log/{0:020}.json")
        if before is not None:
            earlier = json.loads(before.splitlines()[0])["commitInfo"]
            assert earlier["inCommitTimestamp"] < info["inCommitTimestamp"]

    def _published(self, table: Table, version: int) -> None:
        if version > table.latest:
            raise RefusalError(400, "InvalidParameterValueException")
        for done in [v for v in table.commits if v <= version]:
            copy = self.content(table, f"_delta_log/{done:020}.json")
            if copy != self.content(table, f"_delta_log/_staged_commits/{table.ratified[done]}"):
                raise RefusalError(400, "InvalidParameterValueException", f"{done} is not published")
            del table.commits[done]

    def credentials(self, full: str) -> dict[str, Any]:
        table = self._readable(full)
        self._require(full, "SELECT", "MODIFY")
        return {"storage-credentials": self._delta_credentials(table.location)}

    def _delta_credentials(self, location: str) -> list[dict[str, Any]]:
        key, expires_at = self._vend()
        keys = {"access-key-id": key, "secret-access-key": "a-vended-secret", "session-token": "a-session"}
        config = {f"s3.{name}": value for name, value in keys.items()} if self.s3 is not None else {}
        return [{"prefix": location, "operation": "READ_WRITE", "expiration-time-ms": expires_at, "config": config}]

    def report(self, full: str, body: dict[str, Any]) -> dict[str, Any]:
        assert body["table-id"] == self._table(full).id
        self.metrics.append(body["report"]["commit-report"])
        return {}

    def _vend(self) -> tuple[str, int | None]:
        key = f"key-{uuid.uuid4().hex[:8]}"
        self.vended[key] = int(time.time() * 1000) + self.lives_ms if self.lives_ms else None
        return key, self.vended[key] if self.lives_ms != 0 else 0

    def _table(self, full: str) -> Table:
        if self.not_found is not None:
            raise RefusalError(404, self.not_found, "not found")
        if full not in self.tables:
            if full.rpartition(".")[0] not in self.schemas:
                self.get_schema(full.rpartition(".")[0])
            raise RefusalError(404, "NoSuchTableException")
        if full in self.created_twice:
            said = "Failed to get table: Query did not return a unique result: 2 results were returned"
            raise RefusalError(500, "INTERNAL", said)
        return self.tables[full]

    def _readable(self, full: str) -> Table:
        table = self._table(full)
        self._require(full.partition(".")[0], "USE CATALOG")
        self._require(full.rpartition(".")[0], "USE SCHEMA")
        self._require(full, "SELECT", "MODIFY", any_of=True)
        return table

    def loses_request(self, kind: str) -> bool:
        if self.away:
            self.missed += 1
            away = self.away
            if self.missed == self.back_after:
                self.away = ""
            if away == "failing":
                raise RefusalError(500, "INTERNAL", "the database is gone")
            return True
        with self.lock:
            self.asked.append(kind)
            if kind in self.forbidden:
                raise RefusalError(403, "PERMISSION_DENIED", f"no permission to {kind}")
            if kind in self.throttle:
                self.throttle.remove(kind)
                raise RefusalError(429, "REQUEST_LIMIT_EXCEEDED")
            if kind in self.drop:
                self.drop.remove(kind)
                return True
        return self.at_request.get(kind, lambda: False)()

    def in_place(self, kind: str) -> Instead | None:
        with self.lock:
            return self.instead[kind].pop(0) if self.instead.get(kind) else None

    def loses_answer(self, kind: str) -> bool:
        with self.lock:
            if kind in self.lose:
                self.lose.remove(kind)
                return True
        return self.at_answer.get(kind, lambda: False)()

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[str, Any]:
        """Route a request: its kind, and what answers it."""
        match [method, *map(unquote, path.removeprefix("/api/2.1/unity-catalog/").split("/"))]:
            case ["GET", "", "api", "1.0", "unity-control", "scim2", "Me"]:
                return "account", self.account
            case ["GET", "permissions", "catalog" | "schema", full]:
                return "permissions", lambda: self.permissions(full)
            case ["GET", "catalogs", name]:
                return "get-catalog", lambda: self.get_catalog(name)
            case ["GET", "schemas", full]:
                return "get-schema", lambda: self.get_schema(full)
            case ["POST", "schemas"]:
                return "create-schema", lambda: self.create_schema(body)
            case ["GET", "tables", full]:
                return "get-table", lambda: self.get_table(full)
            case ["POST", "tables"]:
                return "create-table", lambda: self.create_table(body)
            case ["POST", "temporary-table-credentials" | "temporary-path-credentials" as kind]:
                return kind, lambda: self.temporary(body)
            case ["GET", "delta", "v1", "config"] if not self.without_delta:
                assert query["protocol-versions"] == "1.0"
                return "config", lambda: self.get_catalog(query["catalog"]) and {"protocol-version": "1.0"}
            case ["POST", "delta", "v1", "catalogs", c, "schemas", s, "staging-tables"]:
                return "stage", lambda: self.stage(f"{c}.{s}", body)
            case ["POST", "delta", "v1", "catalogs", c, "schemas", s, "tables"]:
                return "create-managed", lambda: self.create_managed(f"{c}.{s}", body)
            case ["GET", "delta", "v1", "catalogs", c, "schemas", s, "tables", t]:
                return "load", lambda: self.load(f"{c}.{s}.{t}")
            case ["POST", "delta", "v1", "catalogs", c, "schemas", s, "tables", t]:
                return body["updates"][0]["action"], lambda: self.update(f"{c}.{s}.{t}", body)
            case ["GET", "delta", "v1", "catalogs", c, "schemas", s, "tables", t, "credentials"]:
                return "credentials", lambda: self.credentials(f"{c}.{s}.{t}")
            case ["POST", "delta", "v1", "catalogs", c, "schemas", s, "tables", t, "metrics"]:
                return "metrics", lambda: self.report(f"{c}.{s}.{t}", body)
        raise RefusalError(404, "ENDPOINT_NOT_FOUND", f"{method} {path}")


def _check_struct(columns: dict[str, Any]) -> None:
    assert columns["type"] == "struct"
    assert not any(key in json.dumps(columns) for key in ("keyType", "valueContainsNull"))
    for column in columns["fields"]:
        assert column.keys() == {"name", "type", "nullable", "metadata"}


def _check_first(content: bytes, body: dict[str, Any]) -> None:
    actions = [json.loads(line) for line in content.splitlines()]
    assert actions[0]["commitInfo"]["inCommitTimestamp"] == body["last-commit-timestamp-ms"]
    [protocol] = [a["protocol"] for a in actions if "protocol" in a]
    [metadata] = [a["metaData"] for a in actions if "metaData" in a]
    assert set(protocol["writerFeatures"]) == set(body["protocol"]["writer-features"])
    assert metadata["configuration"] == body["properties"]
    assert metadata["partitionColumns"] == body["partition-columns"]
