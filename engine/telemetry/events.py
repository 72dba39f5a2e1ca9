"""What happened, as values: one event per step of a batch, never per recorded value. Pure.

Progress, log, report and metrics are subscribers to the same stream, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from writers import CorrectionCounts, HoleChange

from ..model import Micros
from .freshness import Freshness

__all__ = [
    "Answered",
    "Cleared",
    "Committed",
    "Cycled",
    "DiscoveryFailed",
    "Emit",
    "Event",
    "Finished",
    "HoleNoted",
    "Paused",
    "Planned",
    "Quarantined",
    "RequestFailed",
    "Started",
    "StatesSynced",
    "Stopping",
    "Summed",
    "TagFailed",
    "TagsFound",
    "TagsSynced",
]


@dataclass(frozen=True, slots=True)
class Started:
    """A run begins: reach the source, find the tags."""

    run_id: str
    pipeline: str
    shard: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class TagsFound:
    """The inventory is known; `unresolved` tags of the configuration do not exist or are not readable."""

    tags: int
    unresolved: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TagsSynced:
    """pi_tags says what the source says."""

    added: int
    changed: int
    missing: int


@dataclass(frozen=True, slots=True)
class StatesSynced:
    """pi_digital_states says what the source says, but of the sets that are `unread` (set, why).

    Of `doubled` sets a code stands for several states. `problem`: why the table could not be written at all;
    values are read all the same.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    doubled: tuple[str, ...] = ()
    problem: str = ""

    def then(self, later: StatesSynced) -> StatesSynced:
        """Both together: what they changed adds up, and what is wrong is what was wrong the last time."""
        return replace(
            later,
            added=self.added + later.added,
            changed=self.changed + later.changed,
            missing=self.missing + later.missing,
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be read: `until` is the server's clock less the lag."""

    tags: int
    tags_done: int
    expected_values: int
    start: Micros | None
    until: Micros
    seconds: float  # since the tags were found: lease, watermarks, pi_tags, planning


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer was read and decoded: so many events, those included that are only compared with the table.

    `fraction_done`, of the time the plan takes; `left_secs`, how long the rest takes, as far as can be said yet.
    """

    tags: int
    read: int
    body_bytes: int
    fetch_secs: float
    decode_secs: float
    fraction_done: float
    left_secs: float | None = None


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request failed after the client's retries; its tags are retried, split or given up."""

    tags: int
    reason: str


@dataclass(frozen=True, slots=True)
class TagFailed:
    """A tag is given up for this run, or, when following, for some cycles."""

    tag: str
    reason: str
    web_id: str = ""


@dataclass(frozen=True, slots=True)
class HoleNoted:
    """A window of a tag cannot be read, or was read after all: the next commit writes it down."""

    tag: str
    change: HoleChange


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A piece of an answer could not be read: what of it is kept for people to look at."""

    tag: str
    web_id: str
    start: Micros
    end: Micros
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A tag that had failed was read again, or is asked for no more."""

    tag: str


@dataclass(frozen=True, slots=True)
class Committed:
    """Rows, corrections of earlier ones, and the watermarks that belong to them are in the tables."""

    rows: int
    tags: int
    files: int
    size_bytes: int
    stage_secs: float
    commit_secs: float
    partitions: frozenset[str] = frozenset()
    corrections: CorrectionCounts = field(default_factory=CorrectionCounts)


@dataclass(frozen=True, slots=True)
class Cycled:
    """Following: a cycle is over. It began `late_secs` after its due; before it, `skipped` ticks had passed."""

    number: int
    classes: tuple[str, ...]
    tags: int
    failing: int
    rows: int
    until: Micros
    seconds: float
    late_secs: float
    skipped: int
    next_secs: float


@dataclass(frozen=True, slots=True)
class Summed:
    """Following: some cycles together, since the last of these."""

    seconds: float
    cycles: int
    rows: int
    skipped: int
    failing: int
    fresh: Freshness | None


@dataclass(frozen=True, slots=True)
class Paused:
    """Following: the source gave out; it is asked again after a while."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    """Following: looking for new tags failed; those that are known are read on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The run was asked to stop, or must: what is complete is committed, nothing new is asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; the report says how."""

    status: str


Event: TypeAlias = (
    Started
    | TagsFound
    | TagsSynced
    | StatesSynced
    | Planned
    | Answered
    | RequestFailed
    | TagFailed
    | HoleNoted
    | Quarantined
    | Cleared
    | Committed
    | Cycled
    | Summed
    | Paused
    | DiscoveryFailed
    | Stopping
    | Finished
)
Emit: TypeAlias = Callable[[Event], None]
