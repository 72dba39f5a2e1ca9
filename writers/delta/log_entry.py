"""Log entries of our own, for tables at a path: commits that remove single files.

delta-rs replaces whole partitions, or merges in the memory that it takes; a correction removes the few files that hold
a wrong row. Invariant: what is written obeys the table features that `schema_check` lets pass. A table on which an
entry of ours would not be safe, or not be complete, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config.errors import ConfigurationError, SchemaDriftError

from ..log.actions import (
    Action,
    add_action,
    change_action,
    commit_info,
    remove_action,
    transaction_action,
)
from ..log.data_files import to_add_action
from ..log.entries import labelled
from ..log.model import Commit, LiveFile

_LOCKING = "aws_s3_locking_provider"
_CHECKPOINT_EVERY = 100
_DIGITS = 10  # as many as a number of entries has


def entry_path(version: int) -> str:
    return f"_delta_log/{version:020}.json"


def correcting_actions(commit: Commit, labels: Mapping[str, str], *, read_version: int, now_ms: int) -> list[Action]:
    """Return everything that the entry says, in the order of the protocol."""
    info = commit_info(
        now_ms,
        operation="MERGE",
        parameters={"predicate": '["tag_webid, timestamp, sequence"]'},
        blind=False,
        labels=labelled(labels),
    )
    kept = {name: value for name, value in info["commitInfo"].items() if name != "inCommitTimestamp"}
    first = {"commitInfo": {**kept, "readVersion": read_version}}
    removes = (remove_action(to_add_action(file), now_ms) for file in commit.removes)
    adds, changes = map(add_action, commit.adds), map(change_action, commit.changes)
    return [first, transaction_action(commit.key, now_ms), *removes, *adds, *changes]


def refuse_entries(uri: str, configuration: Mapping[str, str | None], settings: Mapping[str, str]) -> None:
    """Refuse tables on which an entry of ours would be wrong. `settings`: storage options and environment."""
    locking = {name.lower(): value for name, value in settings.items()}.get(_LOCKING)
    if locking:
        raise ConfigurationError(
            f"Commits at {uri} are decided by the locking provider {locking}, and corrections cannot go through it.",
            hint="Unset AWS_S3_LOCKING_PROVIDER: S3 has decided commits by itself since 2024.",
        )
    refuse_append_only(uri, configuration, "corrected")


def refuse_append_only(uri: str, configuration: Mapping[str, str | None], what: str) -> None:
    if configuration.get("delta.appendOnly") == "true":
        raise SchemaDriftError(
            f"The table at {uri} is append-only, and rows have to be {what}.",
            hint="Unset its property delta.appendOnly.",
        )


def refuse_vectors(uri: str, files: Sequence[LiveFile]) -> None:
    """Refuse files with deleted rows that we cannot identify: a rewrite would bring these rows back."""
    if any(file.deletion_vector is not None for file in files):
        raise SchemaDriftError(
            f"Rows of {uri} have been deleted by deletion vectors, and corrections cannot see which.",
            hint="Run REORG TABLE <the table> APPLY (PURGE), then run again.",
        )


def is_checkpoint_due(version: int, configuration: Mapping[str, str | None]) -> bool:
    """Whether delta-rs would write a checkpoint after this version."""
    every = configuration.get("delta.checkpointInterval") or ""
    return (version + 1) % (_whole(every) or _CHECKPOINT_EVERY) == 0


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
