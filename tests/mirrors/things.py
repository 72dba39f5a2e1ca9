"""A mirror that only tests have: things with a key, a text, a map, and a few rows in each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from writers.mirrors.mirror import Mirror
from writers.ports import Lakehouse, OpenTable
from writers.tables import TIMESTAMP, Grain, TableSpec

__all__ = ["DAY", "NOON", "THINGS", "commits", "files_of", "stored", "things"]

DAY = 86_400_000_000
NOON = 20_000 * DAY + DAY // 2

SPEC = TableSpec(
    name="test_things",
    schema_role="schema",
    grain=Grain(key=("site", "number")),
    stats_columns=("site", "number"),
    dictionary_columns=("site",),
    schema=pa.schema(
        [
            ("site", pa.string()),
            ("number", pa.int64()),
            ("text", pa.string()),
            ("attributes", pa.map_(pa.string(), pa.string())),
            ("first_seen", TIMESTAMP),
            ("last_seen", TIMESTAMP),
            ("deleted_at", TIMESTAMP),
        ]
    ),
)
THINGS = Mirror(SPEC, things="things", seen_with=(("site",),), file_rows=10)


def things(wanted: Mapping[tuple[str | None, int], str | None]) -> pa.Table:
    """What a source shows: a text by the key of each thing."""
    rows = [
        {"site": site, "number": number, "text": text, "attributes": [("text", text), ("b", "c")]}
        for (site, number), text in wanted.items()
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([SPEC.schema.field(n) for n in THINGS.from_source]))


def with_file_rows(rows: int) -> Mirror:
    return replace(THINGS, file_rows=rows)


def table_of(lakehouse: Lakehouse) -> OpenTable:
    return lakehouse.table(SPEC).open()


def stored(lakehouse: Lakehouse) -> dict[tuple[str | None, int], tuple[str | None, int | None]]:
    """Text and deleted_at of each thing; no key may be there twice."""
    rows = table_of(lakehouse).read().read_all()
    gone = rows["deleted_at"].cast(pa.int64()).to_pylist()
    found = {(row["site"], row["number"]): (row["text"], at) for row, at in zip(rows.to_pylist(), gone, strict=True)}
    assert len(found) == rows.num_rows
    return found


def files_of(lakehouse: Lakehouse) -> set[str]:
    return {file.path for file in table_of(lakehouse).live_files(0, 1)}


def commits(lakehouse: Lakehouse) -> int:
    return table_of(lakehouse).last_sequence(THINGS.app_id) or 0
