"""The app_ids under which shards commit, and how the sequences of both tables compare.

Invariant: the sequence of an app_id counts its data commits, in both tables.
"""

from __future__ import annotations

from enum import Enum, auto

from ..ports import OpenTable

# Prefixes of shard names: backfills and repairs (writers.landing.repair) commit beside the live runs.
BACKFILL, REPAIR = "backfill.", "repair."


class SequenceState(Enum):
    """How the sequences of data and watermarks of one shard compare."""

    EQUAL = auto()
    ROLL_FORWARD = auto()
    LOST = auto()


def compare_sequences(data: int | None, watermarks: int | None) -> SequenceState:
    """Decide by the last sequences of the two tables (None: never committed).

    Equal: all is done. Data one ahead: a run died between its two commits. Data further ahead: the
    checkpoint table was dropped or restored. Data behind: the data table was.
    """
    ahead = (data or 0) - (watermarks or 0)
    if ahead == 0:
        return SequenceState.EQUAL
    return SequenceState.ROLL_FORWARD if ahead == 1 else SequenceState.LOST


def app_id(pipeline: str, dataset: str, shard: str) -> str:
    return f"osipi/{pipeline}/{dataset}/{shard}"


def is_landing(pipeline: str, dataset: str, owner: str) -> bool:
    """Whether this is the app_id of a shard, or of its backfill: one that moves watermarks."""
    return owner.startswith(app_id(pipeline, dataset, "")) and not owner.startswith(app_id(pipeline, dataset, REPAIR))


def owners(data: OpenTable, pipeline: str, dataset: str) -> set[str]:
    """App_ids of the pipeline's shards and backfills that have committed to the table; their leases may be lost."""
    return {name for name in data.last_sequences() if is_landing(pipeline, dataset, name)}


def same_shard_count(shard: str, other: str) -> bool:
    """Whether two shards are of one division (3-of-4 and 1-of-4), and so share no tag."""
    return shard.partition("-of-")[2] == other.partition("-of-")[2]


def must_recover(shard: str, other: str) -> bool:
    """Whether a shard has to finish the commits of another. Backfills leave out other kinds of parts."""
    return other != shard and _part(other) in {"", _part(shard)}


def _part(shard: str) -> str:
    return shard.rpartition(".")[0]
