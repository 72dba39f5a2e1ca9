"""Log entries of our own, for tables at a path: commits that remove single files. Pure.

delta-rs replaces whole partitions, or merges in the memory that it takes; a correction removes the few
files that hold a wrong row. Imports ports only. Invariant: what is written obeys the features that
`drift` lets pass; where an entry of ours would not be safe, or not be all, it is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config.errors import ConfigurationError, SchemaDriftError

from .actions import Action, add_action, change_action, commit_info, remove_action, transaction_action
from .commit import CommitKey, LiveFile, StagedFile
from .live import as_add
from .outcome import labelled

__all__ = ["correcting_actions", "entry_path", "is_checkpoint_due", "refuse_entries", "refuse_vectors"]

_LOCKING = "aws_s3_locking_provider"
_CHECKPOINT_EVERY = 100
_DIGITS = 10  # as many as a number of entries has at most


def entry_path(version: int) -> str:
    return f"_delta_log/{version:020}.json"


def correcting_actions(
    key: CommitKey,
    files: Sequence[StagedFile],
    remove: Sequence[LiveFile],
    changes: Sequence[StagedFile],
    labels: Mapping[str, str],
    *,
    read_version: int,
    now_ms: int,
) -> list[Action]:
    """Everything that the entry says, in the order of the protocol."""
    info = commit_info(
        now_ms,
        operation="MERGE",
        parameters={"predicate": '["tag_webid, timestamp, sequence"]'},
        blind=False,
        labels=labelled(labels),
    )
    told = {name: value for name, value in info["commitInfo"].items() if name != "inCommitTimestamp"}
    first = {"commitInfo": {**told, "readVersion": read_version}}
    removes = (remove_action(as_add(file), now_ms) for file in remove)
    return [first, transaction_action(key, now_ms), *removes, *map(add_action, files), *map(change_action, changes)]


def refuse_entries(uri: str, configuration: Mapping[str, str | None], settings: Mapping[str, str]) -> None:
    """Refuse tables on which an entry of ours would be wrong. `settings`: storage options and environment."""
    locking = {name.lower(): value for name, value in settings.items()}.get(_LOCKING)
    if locking:
        raise ConfigurationError(
            f"Commits at {uri} are decided by the locking provider {locking}, and corrections cannot go through it.",
            hint="Unset AWS_S3_LOCKING_PROVIDER: S3 has decided commits by itself since 2024.",
        )
    if configuration.get("delta.appendOnly") == "true":
        raise SchemaDriftError(
            f"The table at {uri} is append-only, and rows have to be corrected.",
            hint="Unset its property delta.appendOnly.",
        )


def refuse_vectors(uri: str, files: Sequence[LiveFile]) -> None:
    """Refuse files of which we do not know which rows have been deleted: none may rise from the dead."""
    if any(file.deletion_vector is not None for file in files):
        raise SchemaDriftError(
            f"Rows of {uri} have been deleted by deletion vectors, and corrections cannot see which.",
            hint="Run REORG TABLE <the table> APPLY (PURGE), then run again.",
        )


def is_checkpoint_due(version: int, configuration: Mapping[str, str | None]) -> bool:
    """As delta-rs decides it after its own commits."""
    every = configuration.get("delta.checkpointInterval") or ""
    return (version + 1) % (_whole(every) or _CHECKPOINT_EVERY) == 0


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
