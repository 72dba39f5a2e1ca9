"""The state of a Delta table at one version, replayed from the actions of its log.

Invariant: versions are applied one after the other, without a gap. A file is known by its path and its deletion vector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .actions import Action

FileKey = tuple[str, str]

_RETENTION = "delta.deletedFileRetentionDuration"
_WEEK_MS = int(timedelta(days=7).total_seconds() * 1000)


@dataclass(slots=True)
class Snapshot:
    """Mutable, so that the state of a large table is not copied for each commit."""

    version: int = -1
    timestamp: int = 0  # in-commit timestamp of `version`
    protocol: Action = field(default_factory=dict)
    metadata: Action = field(default_factory=dict)
    transactions: dict[str, Action] = field(default_factory=dict)
    domains: dict[str, Action] = field(default_factory=dict)
    live: dict[FileKey, Action] = field(default_factory=dict)
    gone: dict[FileKey, Action] = field(default_factory=dict)

    def start(self, version: int, actions: Iterable[Action]) -> None:
        """Begin from a checkpoint."""
        for action in actions:
            self._apply(action)
        self.version = version

    def advance(self, version: int, actions: Iterable[Action]) -> None:
        """Apply the next commit."""
        if version != self.version + 1:
            raise ValueError(f"version {version} does not follow {self.version}")
        for action in actions:
            self._apply(action)
            if "commitInfo" in action:
                info = action["commitInfo"]
                self.timestamp = int(info.get("inCommitTimestamp") or info.get("timestamp") or self.timestamp)
        self.version = version

    def last_sequence(self, app_id: str) -> int | None:
        found = self.transactions.get(app_id)
        return None if found is None else int(found["version"])

    def files(self, where: Mapping[str, str]) -> Iterator[Action]:
        """Return the live files of the partitions of `where`."""
        return (add for add in self.live.values() if where.items() <= add["partitionValues"].items())

    @property
    def properties(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.metadata.get("configuration") or {}
        return found

    @property
    def features(self) -> frozenset[str]:
        return frozenset([*(self.protocol.get("readerFeatures") or ()), *(self.protocol.get("writerFeatures") or ())])

    def checkpoint(self, now_ms: int) -> Iterator[Action]:
        """Return the actions of a checkpoint. It remembers removed files as long as vacuum must keep them."""
        yield {"protocol": self.protocol}
        yield {"metaData": self.metadata}
        yield from ({"txn": txn} for txn in self.transactions.values())
        yield from ({"domainMetadata": domain} for domain in self.domains.values())
        yield from ({"add": {**add, "dataChange": False}} for add in self.live.values())
        oldest = now_ms - retention_ms(self.properties.get(_RETENTION))
        yield from (
            {"remove": {**remove, "dataChange": False}}
            for remove in self.gone.values()
            if (remove.get("deletionTimestamp") or 0) > oldest
        )

    def _apply(self, action: Action) -> None:
        for kind, body in action.items():
            match kind:
                case "add":
                    self.gone.pop(file_key(body), None)
                    self.live[file_key(body)] = body
                case "remove":
                    self.live.pop(file_key(body), None)
                    self.gone[file_key(body)] = body
                case "txn":
                    self.transactions[body["appId"]] = body
                case "protocol":
                    self.protocol = body
                case "metaData":
                    self.metadata = body
                case "domainMetadata":
                    self.domains[body["domain"]] = body
                case _:
                    pass  # commitInfo, cdc and what else there may be says nothing about the state


def file_key(body: Mapping[str, Any]) -> FileKey:
    vector = body.get("deletionVector")
    if not vector:
        return body["path"], ""
    offset = f"@{vector['offset']}" if vector.get("offset") is not None else ""
    return body["path"], f"{vector['storageType']}{vector['pathOrInlineDv']}{offset}"


def retention_ms(text: str | None) -> int:
    """Read an interval like `interval 30 days`; a week for none, and for one that we cannot read."""
    words = (text or "").lower().removeprefix("interval").split()
    units = {"hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}
    if len(words) == 2 and re.fullmatch(r"[0-9]{1,9}", words[0]) and words[1].rstrip("s") in units:
        return int(words[0]) * units[words[1].rstrip("s")]
    return _WEEK_MS
