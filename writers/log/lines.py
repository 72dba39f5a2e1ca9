"""Reads the lines of a Delta log, one action each, of any writer.

Invariant: the fields that we use have the types that the protocol gives them. All other fields are passed on unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct

from config.errors import StorageError

_Int: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Values: TypeAlias = dict[str, str | None]


class _Vector(Struct, rename="camel"):
    storage_type: str
    path_or_inline_dv: str
    size_in_bytes: _Int
    cardinality: _Int
    offset: _Int | None = None


class _Add(Struct, rename="camel"):
    path: str
    partition_values: _Values
    size: _Int
    stats: str | None = None
    deletion_vector: _Vector | None = None


class _Remove(Struct, rename="camel"):
    path: str
    partition_values: _Values | None = None
    deletion_timestamp: _Int | None = None
    deletion_vector: _Vector | None = None


class _Txn(Struct, rename="camel"):
    app_id: str
    version: _Int


class _Protocol(Struct, rename="camel"):
    reader_features: list[str] | None = None
    writer_features: list[str] | None = None


class _Metadata(Struct, rename="camel"):
    configuration: _Values | None = None
    schema_string: str | None = None
    partition_columns: list[str] | None = None


class _Domain(Struct, rename="camel"):
    domain: str


class _Info(Struct, rename="camel"):
    timestamp: _Int | None = None
    in_commit_timestamp: _Int | None = None
    operation: str | None = None


class _Sidecar(Struct, rename="camel"):
    path: str


class _Line(Struct, rename="camel"):
    """The kinds of actions that are looked into."""

    add: _Add | None = None
    remove: _Remove | None = None
    txn: _Txn | None = None
    protocol: _Protocol | None = None
    meta_data: _Metadata | None = None
    domain_metadata: _Domain | None = None
    commit_info: _Info | None = None
    sidecar: _Sidecar | None = None


def actions_in(content: bytes, where: str) -> Iterator[Mapping[str, Any]]:
    """Read all lines of an entry, or of a checkpoint in JSON. Raises what `read_action` does."""
    return (read_action(line, where) for line in content.splitlines() if line.strip())


def read_action(line: bytes, where: str) -> Mapping[str, Any]:
    """Read one line. Raises `StorageError` for one that is damaged, or that the protocol does not know so."""
    try:
        action = msgspec.json.decode(line, type=dict[str, Any])
        msgspec.convert(action, _Line)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"The log of a Delta table is damaged in {where}: {_plain(error)}.",
            hint="Restore that file, or the table to a version before it (RESTORE).",
        ) from error
    # An action that says null says nothing.
    return {kind: body for kind, body in action.items() if body is not None}


def _plain(error: Exception) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(error)[:200]).rstrip(". ")
