"""Why a commit did not land, or may have: the sentences that all destinations share. Pure.

Imports the error tree and ports. Invariant: only `unknown` leaves open whether something has landed.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.errors import CommitConflictError, FencedError, UnknownCommitError

from .commit import CommitKey
from .failures import detail_of, explain

__all__ = ["conflict", "fenced", "unknown"]


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


def unknown(uri: str, key: CommitKey, failure: BaseException | None) -> UnknownCommitError:
    detail = "" if failure is None else f" ({explain(failure, uri).message})"
    return UnknownCommitError(
        f"It is unknown whether commit {key.sequence} of {key.app_id} reached {uri}{detail}.",
        hint="Run again: the next run looks into the log first, and continues from there.",
    )
