"""Decides what became of a commit, for every kind of destination: it landed, it met a conflict, or that is unknown.

Invariant: only `unknown` leaves open whether something has landed.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from config.errors import CommitConflictError, FencedError, LostStateError, UnknownCommitError

from .log.entries import APP_ID, CORRECTS, READ_VERSION, SEQUENCE, TOKEN, CommitOutcome
from .log.model import Commit, CommitKey, LastCommit
from .ports import OpenTable
from .storage.errors import detail_of, explain

# How often a commit is tried on top of others. Each race that is lost is a commit that another writer has won.
MAX_RACES = 100


class CommitGuard:
    """Remembers who has committed since the snapshot of one open table.

    A commit under such an app_id is refused, even though the snapshot has advanced over the other one meanwhile.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._rivals: dict[str, Mapping[str, str]] = {}

    def admit(self, commit: Commit, *, last: int | None, version: int) -> dict[str, str]:
        """Check a commit before it is sent; return the labels that it carries in its metadata.

        `last`: the last sequence of its app_id, `version`: of the snapshot. Raises `FencedError`.
        """
        key = commit.key
        if key.app_id in self._rivals or (last is not None and key.sequence < last):
            raise fenced(self._uri, key, self._rivals.get(key.app_id, {}))
        labels = {
            **commit.metadata,
            APP_ID: key.app_id,
            SEQUENCE: str(key.sequence),
            TOKEN: uuid4().hex,
            READ_VERSION: str(version),
        }
        return labels if commit.conflicts_with_prefix is None else {**labels, CORRECTS: "true"}

    def decide(self, commit: Commit, outcome: CommitOutcome) -> int | None:
        """Return the version of the commit; None if it is not in the log, and may go on top of it.

        Raises `FencedError`, `CommitConflictError`.
        """
        self._rivals.update(outcome.rivals)
        if outcome.version is not None:
            return outcome.version
        if commit.key.app_id in outcome.rivals:
            raise fenced(self._uri, commit.key, outcome.rivals[commit.key.app_id])
        if outcome.conflicts_with(commit):
            raise conflict(self._uri)
        return None


def find_commit(table: OpenTable, app_id: str) -> LastCommit | None:
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


def fenced(uri: str, key: CommitKey, winner: Mapping[str, str]) -> FencedError:
    """`winner`: the metadata of the commit that was quicker, if it is known."""
    who = f"Run {winner['run_id']}" if "run_id" in winner else "Another run"
    return FencedError(
        f"{who} has committed to {uri} as {key.app_id} since this run started.",
        hint="Let only one run of a pipeline and shard work at a time; nothing of this commit was written.",
    )


def conflict(uri: str, cause: BaseException | None = None) -> CommitConflictError:
    detail = f" ({detail_of(cause)})" if cause is not None else ""
    return CommitConflictError(
        f"Another writer has changed {uri} in the meantime{detail}.",
        hint="Try again; this is no error when shards work side by side.",
    )


def overtaken(uri: str) -> CommitConflictError:
    return CommitConflictError(
        f"Other writers of {uri} were quicker {MAX_RACES} times in a row.",
        hint="Nothing of this commit was written; the next run continues from the last one.",
    )


def unknown(uri: str, key: CommitKey, failure: BaseException | None) -> UnknownCommitError:
    detail = "" if failure is None else f" ({explain(failure, uri).message})"
    return UnknownCommitError(
        f"It is unknown whether commit {key.sequence} of {key.app_id} reached {uri}{detail}.",
        hint="Run again: the next run looks into the log first, and continues from there.",
    )
