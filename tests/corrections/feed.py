"""The feed of changes of a table at a path, and what comes of following it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable

from tests.corrections.events import Event, as_events

__all__ = ["Change", "feed_of", "followed", "followed_by_key"]

GIVES, TAKES = {"insert", "update_postimage"}, {"delete", "update_preimage"}


class Change(NamedTuple):
    version: int
    kind: str
    event: Event


def feed_of(path: Path | str, start: int) -> list[Change]:
    """What delta-rs reads from the feed, from a version on, oldest first."""
    table = DeltaTable(path)
    if table.version() < start:
        return []
    found = pa.table(table.load_cdf(starting_version=start))
    changes = zip(
        found["_commit_version"].to_pylist(), found["_change_type"].to_pylist(), as_events(found), strict=True
    )
    return sorted((Change(*change) for change in changes), key=repr)


def followed(rows: Iterable[Event], feed: Iterable[Change]) -> Counter[Any]:
    """Rows after every change, each row counted: nothing is ever taken that is not there."""
    held, changes = Counter(rows), list(feed)
    for version in sorted({change.version for change in changes}):
        held.update(c.event for c in changes if c.version == version and c.kind in GIVES)
        held.subtract(c.event for c in changes if c.version == version and c.kind in TAKES)
        assert min(held.values(), default=0) >= 0, version
    return +held


def followed_by_key(rows: Iterable[Event], feed: Iterable[Change]) -> dict[Any, Event]:
    """As most people follow it: the last event of each key counts, and what is deleted goes."""
    held = {row[:3]: row for row in rows}
    for change in sorted(feed, key=lambda change: change.version):
        if change.kind == "delete":
            held.pop(change.event[:3], None)
        elif change.kind in GIVES:
            held[change.event[:3]] = change.event
    return held
