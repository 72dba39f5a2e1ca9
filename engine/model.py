"""The values that flow through a run: tags, windows, asks and their outcomes. Pure.

Time is a whole number of microseconds since 1970-01-01T00:00:00Z everywhere inside the engine
(`Micros`); windows are half-open. PI's seventh fraction digit matters only on the wire, and is
handled there. A window bound is always a whole microsecond, so no event can fall between two windows.

Values that are made once for each tag and answer are msgspec structs instead of dataclasses: they are made five times
as fast, and the garbage collector does not scan them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.errors import ExtractError
from writers import NEVER

Int64s: TypeAlias = npt.NDArray[np.int64]
UInt64s: TypeAlias = npt.NDArray[np.uint64]

Micros: TypeAlias = int
# The error of one tag of an answer, while the other tags are fine: `TagError`, `SplitError`, `RetryError`.
AskError: TypeAlias = ExtractError


class Sampling(msgspec.Struct, frozen=True, gc=False):
    """How a tag is sampled: its value at each multiple of `interval` since 1970, or a summary of what follows there.

    `web_id` is that of the tag; `kind` as in `extraction.sampled.kinds`; `reach`: how far after its point of the grid a
    value depends on events (nothing if it is interpolated, else the interval).
    """

    web_id: str
    kind: str
    interval: Micros
    reach: Micros


class Tag(msgspec.Struct, frozen=True, gc=False):
    """What reading a tag needs to know of it. Everything else is in pi_tags.

    With `sampling` it is one sampled series of a tag, and `web_id` is the id of the series.
    """

    web_id: str
    name: str
    units: str = ""
    point_type: str = ""
    future: bool = False  # it stores future data: events ahead of now, which may be forecast anew
    sampling: Sampling | None = None


class Window(msgspec.Struct, frozen=True, gc=False):
    """Half-open `[start, end)`."""

    start: Micros
    end: Micros


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One tag and window, to be read with at most `max_count` events.

    With `overlap`, the table already holds what lies in it: events there are to be compared, earlier ones
    mean nothing, and new ones begin where it ends.
    """

    tag: Tag
    start: Micros
    end: Micros
    max_count: int
    overlap: Window | None = None


class AskOutcome(msgspec.Struct, frozen=True):
    """The outcome of an ask.

    `rows` events in `[ask.start, until)` were decoded, and that window is complete:
    `until == ask.end` finished; `ask.start < until < ask.end` cut, ask again from `until`;
    `until == ask.start` without an error: the whole page lies in one microsecond, ask for more
    events at once. With `error`, everything before `until` is still complete and usable; the kind
    of error says what to do for the rest: report the tag, ask for less, or ask again later.

    `recheck`: several tags shared a count, the answer is exactly that long, and does not say which
    tag it was cut at. What is before `until` stands; ask this tag alone from there on (also when
    `until == ask.start`, which then does not mean that a page is full of one microsecond).

    Digests are sums of `writers.row_hashes` modulo 2^64: `last_digest` of the rows at `last_event`,
    `overlap_digest` of those in the ask's overlap. Rows come after the overlap but for `overlap_rows`.
    """

    ask: Ask
    rows: int
    until: Micros
    last_event: Micros | None = None
    error: AskError | None = None
    recheck: bool = False
    last_digest: int | None = None
    overlap_digest: int = 0
    overlap_rows: int = 0

    @property
    def fresh(self) -> int:
        """Rows after the overlap: the table does not hold them yet."""
        return self.rows - self.overlap_rows


@dataclass(frozen=True, slots=True)
class AskOutcomes:
    """The outcomes of the asks of an answer, as columns: the nth entry of each is a field of the nth `AskOutcome`.

    Nearly all outcomes are alike, and are handled together; `outcomes[n]` gives a single one. A last event is `NEVER`
    where there is none, and its digest means nothing then. `recheck` holds for asks without an error.
    """

    asks: Sequence[Ask]
    rows: Int64s
    untils: Int64s
    last_events: Int64s
    errors: Mapping[int, AskError]
    recheck: bool
    last_digests: UInt64s
    overlap_digests: UInt64s
    overlap_rows: Int64s

    @classmethod
    def of(cls, outcomes: Sequence[AskOutcome]) -> Self:
        return cls(
            [o.ask for o in outcomes],
            np.array([o.rows for o in outcomes], np.int64),
            np.array([o.until for o in outcomes], np.int64),
            np.array([NEVER if o.last_event is None else o.last_event for o in outcomes], np.int64),
            {n: o.error for n, o in enumerate(outcomes) if o.error is not None},
            any(o.recheck for o in outcomes),
            np.array([o.last_digest or 0 for o in outcomes], np.uint64),
            np.array([o.overlap_digest for o in outcomes], np.uint64),
            np.array([o.overlap_rows for o in outcomes], np.int64),
        )

    def take(self, indices: npt.NDArray[np.intp]) -> Self:
        """The outcomes at these indices. None of them may have an error."""
        return type(self)(
            [self.asks[n] for n in indices.tolist()],
            self.rows[indices],
            self.untils[indices],
            self.last_events[indices],
            {},
            self.recheck,
            self.last_digests[indices],
            self.overlap_digests[indices],
            self.overlap_rows[indices],
        )

    def __len__(self) -> int:
        return len(self.asks)

    def __iter__(self) -> Iterator[AskOutcome]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, n: int) -> AskOutcome:
        last, error = int(self.last_events[n]), self.errors.get(n)
        return AskOutcome(
            self.asks[n],
            int(self.rows[n]),
            int(self.untils[n]),
            None if last == NEVER else last,
            error,
            self.recheck and error is None,
            None if last == NEVER else int(self.last_digests[n]),
            int(self.overlap_digests[n]),
            int(self.overlap_rows[n]),
        )


@dataclass(frozen=True, slots=True)
class DecodedAnswer:
    """One decoded answer: rows of all its tags (in the schema of the dataset, asks in order), and outcomes."""

    rows: pa.RecordBatch
    outcomes: AskOutcomes
    body_bytes: int
