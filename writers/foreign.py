"""What others than us have entered into the logs of our tables since we last knew them.

Imports nothing of the engine. When somebody restores a table, or takes rows out of it, the numbers of our commits
stay in its log: they do not tell. The entries do, for each of ours says so, and up to where its writer knew the
log. Invariant: what is found here was known to no landing that has committed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from config.errors import LostStateError

from .commit import CommitKey, CommitReceipt, CommitTable, LastCommit
from .outcome import LogEntry

__all__ = ["Others", "find_commit"]

# Of a table that many pipelines share one that comes seldom reads so many entries, and no more.
_MOST = 100


class Others:
    """Others may take rows out of the data, but not put an older state in its place; out of the watermarks of a
    pipeline they may take nothing. `looks`: whether who commits under an app_id has looked for the same.
    """

    def __init__(self, data: CommitTable, marks: CommitTable, pipeline: str, looks: Callable[[str], bool]) -> None:
        self._data = _Watch(data, looks, lambda entry: entry.replaces)
        self._marks = _Watch(marks, looks, lambda entry: entry.takes_from({"pipeline": pipeline}))

    def begin(self) -> None:
        """Forget what was known: everything is read anew."""
        self._data.known = self._marks.known = -1

    def look(self) -> str | None:
        """Say what somebody has done up to the snapshots that must not be gone on from."""
        for what, watch in (("data", self._data), ("watermarks", self._marks)):
            found = watch.look()
            if found is not None:
                operation = found.operation or "a commit"
                return f"another writer has changed the {what} by {operation} (version {found.version})"
        return None

    def committed(self, data: CommitReceipt | None, marks: CommitReceipt) -> None:
        """Pass over commits of our own that came right after what is known: there is nothing to read."""
        for watch, receipt in ((self._data, data), (self._marks, marks)):
            if receipt is not None and receipt.version == watch.known + 1:
                watch.known += 1


class _Watch:
    """Looks through the log of one table for what is `wrong`."""

    def __init__(self, table: CommitTable, looks: Callable[[str], bool], wrong: Callable[[LogEntry], bool]) -> None:
        self._table = table
        self._looks = looks
        self._wrong = wrong
        self.known = -1

    def look(self) -> LogEntry | None:
        version = self._table.version
        found = next(filter(self._wrong, self._news()), None) if version > self.known else None
        if found is None:
            self.known = version
        return found

    def _news(self) -> Iterator[LogEntry]:
        known = max(self.known, self._table.version - _MOST)
        for entry in self._table.entries():
            if entry.version <= known:
                return
            yield entry
            if not entry.is_foreign and any(map(self._looks, entry.sequences)):
                known = max(known, entry.seen)


def find_commit(table: CommitTable, app_id: str) -> LastCommit | None:
    """Find the newest commit under `app_id` in the log. Raises `LostStateError` where it is gone."""
    sequence = table.last_sequence(app_id)
    if sequence is None:
        return None
    for entry in table.entries():
        if entry.sequences.get(app_id) == sequence:
            return LastCommit(CommitKey(app_id, sequence), entry.version, entry.metadata)
    raise LostStateError(
        f"The log of {table.uri} no longer holds commit {sequence} of {app_id}.",
        hint="Run rebuild-watermarks: it reads the watermarks back from the data.",
    )
