"""The events of a run. There is one for each request, commit and so on, never one for each recorded value.

Progress, log, report and metrics subscribe to the same events, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from writers import CorrectionCounts, HoleChange

from ..model import Micros
from .freshness import Freshness


@dataclass(frozen=True, slots=True)
class Started:
    """A run begins: reach the source, find the tags."""

    run_id: str
    pipeline: str
    shard: str
    source: str
    target: str
    datasets: tuple[str, ...] = ()
    decoder: str = "python"


@dataclass(frozen=True, slots=True)
class TagsFound:
    """The inventory is known; `unresolved` tags of the configuration do not exist or are not readable."""

    tags: int
    unresolved: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DatasetSynced:
    """A mirror or keyed records were brought up to date: so many rows are new, have changed, are missing at the source.

    `unread` names parts that could not be read, with the reason. `problem`: why nothing could be read or written;
    values are read all the same. `failed`: the run is incomplete for it. `table`: the name of its table, or that of the
    dataset if it has several. `goes_on`: this adds to an earlier event of the same run.
    """

    dataset: str
    table: str
    added: int = 0
    changed: int = 0
    missing: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    failed: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class DatasetProgress:
    """What has been read of a mirror or of keyed records so far, and the share of all that is done, if it is known."""

    dataset: str
    text: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan is made. `until` is the server's clock less the lag."""

    dataset: str
    tags: int
    tags_done: int
    expected_values: int
    start: Micros | None
    until: Micros
    seconds: float  # since the tags were found: lease, watermarks, pi_tags, planning


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer was read and decoded. `read` counts events, also those that are only compared with the table.

    `fraction_done`, of the time the plan takes; `left_secs`, how long the rest takes, as far as can be said yet.
    """

    dataset: str
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

    dataset: str
    tags: int
    reason: str


@dataclass(frozen=True, slots=True)
class TagFailed:
    """A tag is given up for this run, or, when following, for some cycles."""

    dataset: str
    tag: str
    reason: str
    web_id: str = ""


@dataclass(frozen=True, slots=True)
class HoleNoted:
    """A window of a tag cannot be read, or was read after all. The next commit records it."""

    dataset: str
    tag: str
    change: HoleChange


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A piece of an answer could not be decoded, and goes to the quarantine table."""

    dataset: str
    tag: str
    web_id: str
    start: Micros
    end: Micros
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A tag that had failed was read again, or is no longer selected."""

    tag: str


@dataclass(frozen=True, slots=True)
class Committed:
    """Rows, corrections and their watermarks were committed."""

    dataset: str
    rows: int
    tags: int
    files: int
    size_bytes: int
    stage_secs: float
    commit_secs: float
    corrections: CorrectionCounts = field(default_factory=CorrectionCounts)


@dataclass(frozen=True, slots=True)
class Cycled:
    """Following: a cycle is over. It began `late_secs` after it was due; `skipped` ticks were passed over before it."""

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
    """Following: the sum of the cycles since the last such event."""

    seconds: float
    cycles: int
    rows: int
    skipped: int
    failing: int
    fresh: Freshness | None


@dataclass(frozen=True, slots=True)
class Paused:
    """Following: the source does not answer. It is asked again after a pause."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    """Following: looking for new tags failed. Known tags are read on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The run stops: nothing new is asked for, and what is complete is committed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; the report says how."""

    status: str


RunEvent: TypeAlias = (
    Started
    | TagsFound
    | DatasetProgress
    | DatasetSynced
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
Emit: TypeAlias = Callable[[RunEvent], None]
