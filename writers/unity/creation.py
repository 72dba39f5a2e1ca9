"""Brings tables into being in the catalog: managed ones through staging tables, external ones at a path.

Invariant: what a new managed table must promise is read from the catalog's answer, never from a list of
ours; a promise that we could not keep is refused by name before a file is written. Two shards may
create at once: the second takes what the first made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from config.errors import ConfigurationError, SchemaDriftError

from ..actions import commit_info, encode
from ..delta import DeltaCommitTable
from ..drift import TableShape, check_shape
from ..failures import storage_errors
from ..storage import Place
from ..tables import TableSpec
from .actions import metadata_action, next_timestamp, protocol_action, struct_of, wire_type
from .client import CatalogClient
from .credentials import Vended
from .delta_api import DeltaApi, NewTable, StagingTable
from .history import published_path
from .names import TableName

__all__ = ["HONOURED", "catalog_columns", "create_external", "create_managed", "managed_place"]

# Features beyond the harmless ones whose demands are met here: commits through the catalog, timestamps
# inside them, no vacuum by us, domains carried on untouched.
HONOURED: Collection[str] = frozenset({"catalogManaged", "domainMetadata", "inCommitTimestamp", "vacuumProtocolCheck"})
# Features that come with a property of a user.
_NEEDED = {"delta.enableChangeDataFeed": "changeDataFeed"}


def create_managed(api: DeltaApi, name: TableName, spec: TableSpec, options: Mapping[str, str], *, now_ms: int) -> None:
    """Create a managed table with catalog commits. Raises `SchemaDriftError` for a promise we cannot keep."""
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
    place = Place.parse(staging.location, {**options, **staging.credentials.options})
    with storage_errors(place.uri):
        place.write_small(published_path(0), encode([info, protocol_action(protocol), metadata]))
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
    """Check what the catalog, and the user, ask of a new table; give its properties and protocol."""
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


def managed_place(location: str, options: Mapping[str, str], vended: Vended) -> Place:
    place = Place.parse(location, options)
    return Place(place.uri, place.storage_options, vended.options)


def create_external(
    client: CatalogClient, name: TableName, spec: TableSpec, location: str, options: Mapping[str, str]
) -> None:
    """Create the Delta log at `location`, if there is none, and register it."""
    remote = "://" in location and not location.startswith("file:")
    vended = Vended(lambda: client.path_credentials(location)) if remote else None
    place = Place.parse(location, options)
    DeltaCommitTable(Place(place.uri, place.storage_options, vended.options if vended else None), spec).open()
    client.register_external(
        name,
        location if remote else f"file://{place.uri}",
        catalog_columns(spec),
        comment=spec.comment,
        properties=spec.properties,
    )


def catalog_columns(spec: TableSpec) -> list[dict[str, Any]]:
    """Columns as the control plane wants them."""
    columns = []
    for position, field in enumerate(struct_of(spec)["fields"]):
        text = _type_text(field["type"])
        column = {
            "name": field["name"],
            "type_text": text,
            "type_name": _TYPE_NAMES.get(text.partition("<")[0], text.partition("<")[0].upper()),
            "type_json": _type_json(field),
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
    return f"map<{_type_text(kind['keyType'])},{_type_text(kind['valueType'])}>"


def _type_json(field: Mapping[str, Any]) -> str:
    return json.dumps(field, ensure_ascii=False, separators=(",", ":"))


def _listed(columns: Collection[str]) -> str:
    return json.dumps(list(columns))
