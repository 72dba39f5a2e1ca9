"""Creates tables in the catalog: managed ones through staging tables, external ones at a path.

Invariant: the catalog's answer says what a new managed table requires; there is no list of ours. A requirement that we
cannot meet is refused by name before a file is written. If another client has created the table meanwhile, its table
is used. Not every server notices: the table is looked for once more right before it is entered, and of several shards one
alone creates tables (`table.Catalog.creates`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from deltalake import Schema

from config.errors import ConfigurationError, SchemaDriftError

from ..delta.table import DeltaCommitTable
from ..log.actions import Action, commit_info, encode, next_timestamp
from ..log.schema_check import TableShape, check_shape
from ..storage.errors import storage_errors
from ..storage.location import TableLocation
from ..tables import TableSpec
from .client import CatalogClient
from .credentials import VendedCredentials
from .delta_api import DeltaApi, NewTable, StagingTable
from .log_history import published_path
from .names import TableName

# Features beyond the harmless ones whose requirements are met here: commits through the catalog, timestamps in them,
# no vacuum by us, domains copied unchanged.
HONOURED: Collection[str] = frozenset({"catalogManaged", "domainMetadata", "inCommitTimestamp", "vacuumProtocolCheck"})
# Features that a property set by the user requires.
_NEEDED = {"delta.enableChangeDataFeed": "changeDataFeed"}


def create_managed(
    api: DeltaApi,
    name: TableName,
    spec: TableSpec,
    options: Mapping[str, str],
    *,
    now_ms: int,
    exists: Callable[[], bool] = lambda: False,
) -> None:
    """Create a managed table with catalog commits. Raises `SchemaDriftError` for a requirement that we cannot meet."""
    api.check_served(name.catalog)
    staging = api.stage_table(name)
    if staging is None:
        return
    properties, protocol = _promised(name, spec, staging)
    timestamp = next_timestamp(now_ms, 0)
    info = commit_info(
        timestamp,
        operation="CREATE TABLE",
        parameters={"partitionBy": _listed(spec.partition_by), "isManaged": "true"},
        blind=True,
        labels={},
    )
    metadata = metadata_action(
        spec, table_id=staging.table_id, name=name.table, properties=properties, created_ms=timestamp
    )
    place = TableLocation.parse(staging.location, {**options, **staging.credentials.options})
    with storage_errors(place.uri):
        place.write_small(published_path(0), encode([info, protocol_action(protocol), metadata]))
    if exists():
        return
    api.create_table(
        NewTable(
            name=name,
            location=staging.location,
            columns=wire_type(struct_of(spec)),
            partition_by=spec.partition_by,
            properties=properties,
            protocol=protocol,
            comment=spec.comment,
            timestamp=timestamp,
        )
    )


def _promised(name: TableName, spec: TableSpec, staging: StagingTable) -> tuple[dict[str, str], dict[str, Any]]:
    """Check what the catalog and the user require of a new table; return its properties and protocol."""
    made_up = sorted(key for key, value in staging.properties.items() if value is None)
    if made_up:
        raise SchemaDriftError(
            f"Unity Catalog wants {made_up[0]} of a new managed table, and we do not know what it means.",
            hint="Install a newer version of this connector, or use an external table.",
        )
    required = {key: str(value) for key, value in staging.properties.items()}
    for key, value in required.items():
        if spec.properties.get(key, value) != value:
            raise ConfigurationError(
                f"$.unity_catalog.table_properties: {key} is {spec.properties[key]}, and Unity Catalog wants {value} of "
                f"the managed table {name}.",
                hint="Leave it out, or use table_type: external.",
            )
    properties = {**spec.properties, **required}
    needed = [feature for key, feature in _NEEDED.items() if properties.get(key) == "true"]
    writer = {*(staging.protocol.get("writer-features") or ()), *needed}
    asked = {*(staging.protocol.get("reader-features") or ()), *writer}
    shape = TableShape(struct_of(spec)["fields"], spec.partition_by, asked, properties)
    check_shape(str(name), shape, shape, honoured=HONOURED)
    return properties, {**staging.protocol, "writer-features": sorted(writer)}


def managed_place(location: str, options: Mapping[str, str], vended: VendedCredentials) -> TableLocation:
    place = TableLocation.parse(location, options)
    return TableLocation(place.uri, place.storage_options, vended.options)


def create_external(
    client: CatalogClient,
    name: TableName,
    spec: TableSpec,
    location: str,
    options: Mapping[str, str],
    *,
    exists: Callable[[], bool] = lambda: False,
) -> None:
    """Create the Delta log at `location`, if there is none, and register it."""
    remote = is_remote(location)
    vended = VendedCredentials(lambda: client.path_credentials(location)) if remote else None
    place = TableLocation.parse(location, options)
    DeltaCommitTable(TableLocation(place.uri, place.storage_options, vended.options if vended else None), spec).open()
    if exists():
        return
    client.register_external(
        name,
        location if remote else f"file://{place.uri}",
        catalog_columns(spec),
        comment=spec.comment,
        properties=spec.properties,
    )


def is_remote(location: str) -> bool:
    """Whether files there need credentials of the catalog."""
    return "://" in location and not location.startswith("file:")


def catalog_columns(spec: TableSpec) -> list[dict[str, Any]]:
    """Return the columns as the control plane expects them."""
    columns = []
    for position, field in enumerate(struct_of(spec)["fields"]):
        text = _type_text(field["type"])
        column = {
            "name": field["name"],
            "type_text": text,
            "type_name": _TYPE_NAMES.get(text.partition("<")[0], text.partition("<")[0].upper()),
            "type_json": json.dumps(field, ensure_ascii=False, separators=(",", ":")),
            "position": position,
            "nullable": field["nullable"],
            "comment": field["metadata"].get("comment", ""),
        }
        if field["name"] in spec.partition_by:
            column["partition_index"] = spec.partition_by.index(field["name"])
        columns.append(column)
    return columns


_TYPE_TEXTS = {"integer": "int", "long": "bigint"}
_TYPE_NAMES = {"bigint": "LONG"}


def _type_text(kind: Any) -> str:
    if isinstance(kind, str):
        return _TYPE_TEXTS.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{_type_text(kind['elementType'])}>"
    return f"map<{_type_text(kind['keyType'])},{_type_text(kind['valueType'])}>"


def _listed(columns: Collection[str]) -> str:
    return json.dumps(list(columns))


def protocol_action(wanted: Mapping[str, Any]) -> Action:
    """Write the protocol that the catalog asks for, in the spelling of the log."""
    return {
        "protocol": {
            "minReaderVersion": wanted["min-reader-version"],
            "minWriterVersion": wanted["min-writer-version"],
            "readerFeatures": sorted(wanted.get("reader-features") or ()),
            "writerFeatures": sorted(wanted.get("writer-features") or ()),
        }
    }


def metadata_action(
    spec: TableSpec, *, table_id: str, name: str, properties: Mapping[str, str], created_ms: int
) -> Action:
    return {
        "metaData": {
            "id": table_id,
            "name": name,
            "description": spec.comment,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(struct_of(spec), ensure_ascii=False, separators=(",", ":")),
            "partitionColumns": list(spec.partition_by),
            "configuration": dict(properties),
            "createdTime": created_ms,
        }
    }


def struct_of(spec: TableSpec) -> dict[str, Any]:
    """Return the schema of a table as the Delta log spells it, comments included."""
    struct: dict[str, Any] = json.loads(Schema.from_arrow(spec.schema).to_json())
    return struct


def wire_type(kind: Any) -> Any:
    """Spell a type, or a whole struct, as the Delta API does: hyphens instead of camel case."""
    if isinstance(kind, Mapping):
        # The keys in `metadata` are those of users and engines: they are passed on unchanged.
        return {_WIRE.get(k, k): v if k == "metadata" else wire_type(v) for k, v in kind.items()}
    return [wire_type(item) for item in kind] if isinstance(kind, Sequence) and not isinstance(kind, str) else kind


_WIRE = {
    "keyType": "key-type",
    "valueType": "value-type",
    "valueContainsNull": "value-contains-null",
    "elementType": "element-type",
    "containsNull": "contains-null",
}
