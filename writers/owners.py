"""Under which names shards commit, and how far a shard is in the two tables. Pure, but for asking a snapshot.

Imports ports only. Invariant: the number of a name counts the commits of data, in both tables.
"""

from __future__ import annotations

from enum import Enum, auto

from .commit import CommitTable

__all__ = ["BACKFILL", "REPAIR", "State", "app_id", "concerns", "is_alike", "is_landing", "owners", "settle"]

# How the names of shards begin under which history is read, and repairs go on, beside the others; see writers.repairing.
BACKFILL, REPAIR = "backfill.", "repair."


class State(Enum):
    """How data and watermarks of one shard stand to each other."""

    SETTLED = auto()
    ROLL_FORWARD = auto()
    LOST = auto()


def settle(data: int | None, watermarks: int | None) -> State:
    """Decide by the last sequences of the two tables (None: never committed).

    Equal: all is done. Data one ahead: a run died between its two commits. Data further ahead: the
    checkpoint table was dropped or restored. Data behind: the data table was.
    """
    ahead = (data or 0) - (watermarks or 0)
    if ahead == 0:
        return State.SETTLED
    return State.ROLL_FORWARD if ahead == 1 else State.LOST


def app_id(pipeline: str, dataset: str, shard: str) -> str:
    return f"osipi/{pipeline}/{dataset}/{shard}"


def is_landing(pipeline: str, dataset: str, owner: str) -> bool:
    """Whether this is the name of a shard, or of a part of one that moves watermarks."""
    return owner.startswith(app_id(pipeline, dataset, "")) and not owner.startswith(app_id(pipeline, dataset, REPAIR))


def owners(data: CommitTable, pipeline: str, dataset: str) -> set[str]:
    """Shards of the pipeline that have committed to the table, and parts of them; their leases may be lost."""
    return {name for name in data.last_sequences() if is_landing(pipeline, dataset, name)}


def is_alike(shard: str, other: str) -> bool:
    """Whether two shards are of one division, and thus share no tag."""
    return shard.partition("-of-")[2] == other.partition("-of-")[2]


def concerns(shard: str, other: str) -> bool:
    """Whether a shard has to see to another: parts leave to themselves those that are not such parts."""
    return other != shard and _part(other) in {"", _part(shard)}


def _part(shard: str) -> str:
    return shard.rpartition(".")[0]
