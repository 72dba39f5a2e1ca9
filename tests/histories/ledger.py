"""What the tables hold, read with no code of ours, and what must be true of it, whatever was done.

Invariant: a watermark counts as moved once its commit of data is in the log, even if whoever made it died
before the watermarks were: the next run begins there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tests.exactness.expected import Row
from tests.exactness.reading import is_table, read_table, rows_in, version_of

__all__ = ["Facts", "Mark", "Page", "assert_like_source", "facts_of", "page_of", "span"]

# What is known of each event of one tag, by timestamp and sequence: all columns but whose it is and its name.
Facts: TypeAlias = dict[tuple[int, int], Row]


@dataclass(frozen=True, slots=True)
class Mark:
    """`[low, high)` of a tag is done; the last event is that of the row that reaches highest. Of a forecast, from
    `ahead_from` on it was ahead of now.
    """

    low: int
    high: int
    last_event: int | None
    status: str
    ahead_from: int | None = None

    @property
    def present(self) -> int:
        return self.high if self.ahead_from is None else min(self.high, self.ahead_from)


@dataclass(frozen=True, slots=True)
class Page:
    """The tables at one moment, by WebID."""

    facts: Mapping[str, Facts] = field(default_factory=dict)
    names: Mapping[tuple[str, int, int], str] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    points: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    version: int = -1

    def of(self, web_id: str) -> Facts:
        return self.facts.get(web_id, {})


def page_of(root: Path) -> Page:
    """Read everything. Fails where a key is there twice."""
    bronze, checkpoint = root / "main" / "bronze", root / "main" / "checkpoints" / "pi_watermarks"
    data, points = bronze / "pi_timeseries", bronze / "pi_tags"
    if not is_table(data) or not is_table(checkpoint):
        return Page()
    facts, names = _facts(rows_in(data))
    marks = _marks([*_rows(read_table(checkpoint)), *_pending(data, checkpoint)])
    known = {row["tag_webid"]: row for row in read_table(points).to_pylist()} if is_table(points) else {}
    return Page(facts, names, marks, known, version_of(data))


def facts_of(rows: Iterable[Row]) -> Facts:
    """The events of one tag."""
    return {(row[2], row[3]): row[4:] for row in rows}


def span(facts: Facts, start: int, end: int) -> Facts:
    return {key: fact for key, fact in facts.items() if start <= key[0] < end}


def assert_like_source(found: Facts, truth: Facts, start: int, end: int, what: str) -> None:
    """In `[start, end)` both hold the same events."""
    have, want = span(found, start, end), span(truth, start, end)
    if have == want:
        return
    lost = sorted(want.keys() - have.keys())
    extra = sorted(have.keys() - want.keys())
    other = sorted(key for key in have.keys() & want.keys() if have[key] != want[key])
    first = next(iter(sorted({*lost, *extra, *other})))
    raise AssertionError(
        f"{what}: in [{start}, {end}) {len(lost)} missing, {len(extra)} too many, {len(other)} different; "
        f"the first is {first}: table {have.get(first)}, source {want.get(first)}"
    )


def _facts(rows: Iterable[Row]) -> tuple[dict[str, Facts], dict[tuple[str, int, int], str]]:
    facts: dict[str, Facts] = {}
    names: dict[tuple[str, int, int], str] = {}
    for row in rows:
        of_tag, key = facts.setdefault(row[0], {}), (row[2], row[3])
        assert key not in of_tag, f"{row[1]} holds {key} twice: {of_tag[key]} and {row[4:]}"
        of_tag[key] = row[4:]
        names[(row[0], *key)] = row[1]
    return facts, names


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    for name in ("low", "high", "last_event_timestamp", "updated_at", "ahead_from"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def _marks(rows: Iterable[dict[str, Any]]) -> dict[str, Mark]:
    marks: dict[str, Mark] = {}
    reached: dict[str, tuple[int, int, int]] = {}
    for row in sorted(rows, key=lambda row: (row["updated_at"], row["commit_sequence"])):
        tag, low, high, last = row["tag_webid"], row["low"], row["high"], row["last_event_timestamp"]
        before = marks.get(tag)
        if before is not None and low == high:
            low, high = before.low, before.high
        elif before is not None and before.low < before.high:
            low, high = min(low, before.low), max(high, before.high)
        rank = (row["high"], row["updated_at"], row["commit_sequence"])
        if last is None or (tag in reached and rank < reached[tag]):
            last = before.last_event if before else None
        else:
            reached[tag] = rank
        presents = [at for at in (row["ahead_from"], before.ahead_from if before else None) if at is not None]
        marks[tag] = Mark(low, high, last, row["status"], max(presents, default=None))
    return marks


def _pending(data: Path, checkpoint: Path) -> list[dict[str, Any]]:
    """Watermarks of the newest commit of data, if it says where they are and they are not in yet."""
    committed = {action["add"]["path"] for action in _log(checkpoint) if "add" in action}
    named = [action["commitInfo"]["osipi.watermark_file"] for action in _log(data) if _names_marks(action)]
    path = json.loads(named[-1])["path"] if named else None
    if path is None or path in committed:
        return []
    return [row | {"pipeline": "default"} for row in _rows(pq.ParquetFile(checkpoint / path).read())]


def _log(table: Path) -> Iterator[dict[str, Any]]:
    for file in sorted((table / "_delta_log").glob("*.json")):
        yield from map(json.loads, file.read_text().splitlines())


def _names_marks(action: Mapping[str, Any]) -> bool:
    return "osipi.watermark_file" in action.get("commitInfo", {})
