"""What was committed lately, read from the newest entries of a Delta log. For people, not for decisions.

Imports nothing of the engine. Invariant: reads only; entries that were cleaned up are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .failures import storage_errors
from .outcome import APP_ID
from .storage import Place

__all__ = ["Commit", "newest_commits", "parse_commit"]

_LOG = "_delta_log"


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table. `at` is what the committing machine's clock said, in microseconds since 1970."""

    version: int
    at: int
    app_id: str
    run_id: str
    rows: int


def newest_commits(uri: str, storage_options: Mapping[str, str] | None = None, *, limit: int) -> Iterator[Commit]:
    """Give the commits of ours among the newest `limit` versions of a table, newest first.

    Raises what storage raises.
    """
    place = Place.parse(uri, storage_options)
    with storage_errors(uri):
        entries = [name for name in place.names(_LOG) if name.endswith(".json") and name[:20].isdigit()]
        for name in sorted(entries, reverse=True)[:limit]:
            content = place.read_small(f"{_LOG}/{name}")
            commit = None if content is None else parse_commit(int(name[:20]), content)
            if commit is not None:
                yield commit


def parse_commit(version: int, content: bytes) -> Commit | None:
    """Read a commit file of a Delta log; None for a commit that is not ours."""
    info: dict[str, str] = {}
    rows = 0
    for line in content.splitlines():
        action = json.loads(line)
        info = action.get("commitInfo", info)
        if "add" in action:
            rows += json.loads(action["add"].get("stats") or "{}").get("numRecords", 0)
    if f"osipi.{APP_ID}" not in info:
        return None
    return Commit(version, int(info["timestamp"]) * 1000, info[f"osipi.{APP_ID}"], info.get("osipi.run_id", ""), rows)
