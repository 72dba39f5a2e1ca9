"""Detects commits by other writers (RESTORE, DELETE, UPDATE) that would invalidate our watermarks.

The sequences of our commits survive a RESTORE or DELETE in the log, so they do not show it. The entries do: each of
ours carries the version up to which its writer had read the log. Invariant: a change that is found here was unknown to
every landing that has committed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..log.entries import LogEntry
from ..ports import CommitReceipt, OpenTable

# The most log entries that are read: a pipeline that runs seldom may share the table with many others.
_MOST = 100


class ExternalChangeDetector:
    """Others may delete rows of the data, but not restore an older version; they may delete no watermark of the pipeline.

    `looks`: whether the writer of an app_id has looked for the same changes.
    """

    def __init__(self, pipeline: str, looks: Callable[[str], bool]) -> None:
        self._data = _Watch(looks, lambda entry: entry.replaces)
        self._watermarks = _Watch(looks, lambda entry: entry.takes_from({"pipeline": pipeline}))

    def begin(self) -> None:
        """Forget the known versions: the log is read again."""
        self._data.known = self._watermarks.known = -1

    def look(self, data: OpenTable, watermarks: OpenTable) -> str | None:
        """Describe a change up to these snapshots that forbids to continue; None if there is none."""
        for what, watch, table in (("data", self._data, data), ("watermarks", self._watermarks, watermarks)):
            found = watch.look(table)
            if found is not None:
                operation = found.operation or "a commit"
                return f"another writer has changed the {what} by {operation} (version {found.version})"
        return None

    def committed(self, data: CommitReceipt | None, watermarks: CommitReceipt) -> None:
        """Skip our own commits that came right after the known version: there is nothing to read."""
        for watch, receipt in ((self._data, data), (self._watermarks, watermarks)):
            if receipt is not None and receipt.version == watch.known + 1:
                watch.known += 1


class _Watch:
    """Looks through the log of one table for an entry that is `wrong`."""

    def __init__(self, looks: Callable[[str], bool], wrong: Callable[[LogEntry], bool]) -> None:
        self._looks = looks
        self._wrong = wrong
        self.known = -1

    def look(self, table: OpenTable) -> LogEntry | None:
        version = table.version
        found = next(filter(self._wrong, self._news(table)), None) if version > self.known else None
        if found is None:
            self.known = version
        return found

    def _news(self, table: OpenTable) -> Iterator[LogEntry]:
        known = max(self.known, table.version - _MOST)
        for entry in table.entries():
            if entry.version <= known:
                return
            yield entry
            if not entry.is_foreign and any(map(self._looks, entry.sequences)):
                known = max(known, entry.seen)
