"""Asks the catalog to make a staged commit the next version, until the outcome is certain.

Invariant: an error other than `UnknownCommitError` means that nothing has landed and nothing can: once
an answer was lost, no refusal of a later attempt is taken for an answer to the first.
"""

from __future__ import annotations

from config.errors import CommitConflictError, ExtractError, UnknownCommitError

from ..failures import storage_errors
from ..storage import Place
from .delta_api import DeltaApi, LoadedTable, Proposal, Reply
from .history import published_path, staged_path
from .names import TableName
from .publish import publish
from .refuse import refuse_replaced
from .verdict import Verdict, verdict

__all__ = ["ratify"]

_SENDS = 6


def ratify(
    api: DeltaApi, name: TableName, place: Place, *, table_id: str, proposal: Proposal, content: bytes
) -> LoadedTable | None:
    """Give the table as the catalog knows it after our commit; None if another commit has the version.

    Raises `UnknownCommitError` if nobody can say, `CommitConflictError` if the catalog takes nothing.
    """
    answer_lost = False
    try:
        for _ in range(_SENDS):
            reply, table = api.propose(name, table_id, proposal)
            if reply is Reply.RATIFIED:
                return table
            answer_lost = answer_lost or reply is Reply.OPEN
            table = api.load(name)
            refuse_replaced(name, table_id, table)
            match _judge(place, proposal, content, table):
                case Verdict.WON:
                    return table
                case Verdict.LOST:
                    place.remove(staged_path(proposal.file_name))
                    return None
            if reply is Reply.FULL:
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


def _judge(place: Place, proposal: Proposal, content: bytes, table: LoadedTable) -> Verdict:
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
