"""Makes a staged commit the next version of a managed table: proposes it to the catalog, and publishes it.

A commit is ours if the catalog names our staged file for its version: the uuid in the name of the file is the token.
Where the catalog has forgotten (the version is published), it is ours if the published file is byte for byte ours.

Invariant: an error other than `UnknownCommitError` means that nothing has landed and nothing can. Once an answer was
lost, no refusal of a later attempt is taken for an answer to the first. Versions are published in order, and none is
reported before its copy is complete, because the catalog forgets a version once it is reported. Any writer may publish
what others left behind: the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto

from config.errors import CommitConflictError, ExtractError, LostStateError, UnknownCommitError

from ..storage.errors import storage_errors
from ..storage.location import TableLocation
from .compatibility import refuse_replaced
from .delta_api import CatalogReply, DeltaApi, LoadedTable, Proposal
from .log_history import published_path, staged_path
from .names import TableName

# Proposals that the catalog answers, and does not take. (Those without an answer: as `Patience` says.)
_SENDS = 6


class Verdict(Enum):
    """What became of a staged commit, once the catalog has refused it or its answer was lost."""

    WON = auto()
    LOST = auto()  # another commit has our version: rebuild on it
    AGAIN = auto()  # it never arrived: send the same once more
    COMPARE = auto()  # published, and the catalog has forgotten by whom: read the file


def verdict(version: int, file_name: str, table: LoadedTable) -> Verdict:
    """Decide by what the catalog says of the table now. Pure."""
    if table.latest < version:
        return Verdict.AGAIN
    named = table.unpublished.get(version)
    if named is None:
        return Verdict.COMPARE
    return Verdict.WON if named == file_name else Verdict.LOST


def ratify(
    api: DeltaApi, name: TableName, place: TableLocation, *, table_id: str, proposal: Proposal, content: bytes
) -> LoadedTable | None:
    """Return the table as the catalog knows it after our commit; None if another commit has the version.

    Raises `UnknownCommitError` if it cannot be found out, `CommitConflictError` if the catalog takes nothing.
    """
    answer_lost, refused, lost = False, 0, 0
    try:
        while refused < _SENDS:
            reply, table = api.propose(name, table_id, proposal)
            if reply is CatalogReply.RATIFIED:
                return table
            answer_lost = answer_lost or reply is CatalogReply.OPEN
            # A catalog that fails is given time, and then looked at, before the same is sent again.
            lost = lost + 1 if reply is CatalogReply.OPEN else 0
            goes_on = not lost or api.wait(lost)
            table = api.load(name)
            refuse_replaced(name, table_id, table)
            match _verdict(place, proposal, content, table):
                case Verdict.WON:
                    return table
                case Verdict.LOST:
                    place.remove(staged_path(proposal.file_name))
                    return None
            if not goes_on:
                break
            refused += not lost
            if reply is CatalogReply.FULL:
                publish(api, name, place, table)
    except ExtractError as error:
        if answer_lost:
            raise _unknown(name, error.message) from None
        place.remove(staged_path(proposal.file_name))
        raise
    if answer_lost:
        raise _unknown(name, "the catalog fails to answer again and again.")
    place.remove(staged_path(proposal.file_name))
    raise CommitConflictError(
        f"Unity Catalog takes no commit of {name} at present: others are at work on it.",
        hint="Nothing of this commit was written; the next run continues from the last one.",
    )


def _verdict(place: TableLocation, proposal: Proposal, content: bytes, table: LoadedTable) -> Verdict:
    found = verdict(proposal.version, proposal.file_name, table)
    if found is not Verdict.COMPARE:
        return found
    with storage_errors(place.uri):
        published = place.read_small(published_path(proposal.version))
    return Verdict.WON if published == content else Verdict.LOST


def _unknown(name: TableName, why: str) -> UnknownCommitError:
    return UnknownCommitError(
        f"A commit was proposed for {name}, and the answer is lost: {why}",
        hint="Run again: the next run looks into the log first, and continues from there.",
    )


def publish(
    api: DeltaApi,
    name: TableName,
    place: TableLocation,
    table: LoadedTable,
    *,
    known: Mapping[str, bytes] | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
) -> int:
    """Publish every ratified commit of `table`; return the number of them. `known`: contents by file name."""
    last: int | None = None
    for version, file_name in sorted(table.unpublished.items()):
        with storage_errors(place.uri):
            content = (known or {}).get(file_name) or place.read_small(staged_path(file_name))
            if content is None:
                raise LostStateError(
                    f"Commit {version} of {name} is ratified, but its file {file_name} is missing.",
                    hint="Restore the file from a backup of the storage; no writer can go on without it.",
                )
            place.write_small(published_path(version), content)
        last = version
    if last is not None:
        on_step("copied")
        api.report_published(name, table.table_id, last)
    return len(table.unpublished)
