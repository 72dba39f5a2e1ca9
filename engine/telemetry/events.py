"""What happened, as values: one event per step of a batch, never per recorded value. Pure.

Progress, log, report and metrics are subscribers to the same stream, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from writers import CorrectionCounts

from ..model import Micros

__all__ = [
    "Answered",
    "Committed",
    "Emit",
    "Event",
    "Finished",
    "Planned",
    "RequestFailed",
    "Started",
    "Stopping",
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
    """One answer was read and decoded."""

    tags: int
    rows: int
    body_bytes: int
    fetch_secs: float
    decode_secs: float
    fraction_done: float


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request failed after the client's retries; its tags are retried, split or given up."""

    tags: int
    reason: str


@dataclass(frozen=True, slots=True)
class TagFailed:
    """A tag is given up for this run."""

    tag: str
    reason: str


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
class Stopping:
    """The run was asked to stop, or must: what is complete is committed, nothing new is asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; the report says how."""

    status: str


Event: TypeAlias = (
    Started | TagsFound | TagsSynced | Planned | Answered | RequestFailed | TagFailed | Committed | Stopping | Finished
)
Emit: TypeAlias = Callable[[Event], None]
