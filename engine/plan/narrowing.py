"""Finds what a cursor cannot read, by asking for less and less of it. Pure.

A request may fail because it asks for too much, or because it holds an instant that the source cannot give. Halves tell
which: what fails at any length is narrowed down to an instant, asked for once more with patience, and then left out.
The end of a hole is searched by probes at growing distances, then by halves between the last that failed and the first
that was answered. Some instants inside a long hole are tried. Narrowing gives up early when nothing is answered at the
beginning, in the middle and at the end. A hole that is asked for again is tried at other instants each time, so that what
lies between two damages is found sooner or later.

Positions are distances in microseconds from where the narrowing began, in the direction of reading. For one hole in
`T` microseconds it takes at most `most_asks(T)` asks.
"""

from __future__ import annotations

from enum import Enum, auto

# Halves that fail in a row before probes tell whether anything at all is answered.
_FAILURES_BEFORE_PROBES = 3
# So many instants of a hole are tried before it counts as one, if it is longer than this many microseconds.
_SAMPLES = 8
_LONG = 60_000_000
# So few microseconds are not worth probes.
_FEW = 8
# So many instants in the middle are tried before nothing is taken to be answered, when a hole is asked for again.
_PROBES_A_RETRY = 2
# So many halves work one after the other before the rest is tried in one.
_SUCCESSES_BEFORE_REST = 4
# An instant counts as lost once it was asked for so many times.
_CONFIRMATIONS = 2


class NarrowingState(Enum):
    """What narrowing has come to."""

    SEARCHING = auto()
    DONE = auto()  # go on as usual from `read`; what lies in `hole`, if there is one, is left out
    HOPELESS = auto()  # nothing is answered from `read` on


class _Step(Enum):
    HALVE = auto()  # the first half of what fails
    REST = auto()  # a half worked: its other half
    HUNT = auto()  # that failed, too, so it is not the length: by halves, down to an instant
    CONFIRM = auto()  # the instant again
    KNOWN_BEFORE = auto()  # the same hole as another tag's: what lies before it
    KNOWN_FIRST = auto()  # its first instant
    KNOWN_LAST = auto()  # its last instant
    PROBE_END = auto()
    PROBE_START = auto()
    PROBE_MIDDLE = auto()
    BEHIND = auto()  # everything behind the hole, as far as the first failed ask went
    BEHIND_FIRST = auto()  # its first instant
    GALLOP = auto()  # instants at growing distances behind the hole
    ELSEWHERE = auto()  # none of those was answered: an instant between them
    BACK = auto()  # by halves between the last that failed and the first that worked
    SAMPLE = auto()  # instants inside of a long hole: is all of it bad?


_KNOWN = frozenset({_Step.KNOWN_BEFORE, _Step.KNOWN_FIRST, _Step.KNOWN_LAST})
_PROBES_OF_ALL = frozenset({_Step.PROBE_END, _Step.PROBE_START, _Step.PROBE_MIDDLE})
_BEHIND = frozenset({_Step.BEHIND, _Step.BEHIND_FIRST, _Step.GALLOP, _Step.ELSEWHERE, _Step.BACK, _Step.SAMPLE})
# What these bring does not follow on what was read before, so it cannot land.
_PROBES = frozenset(
    {_Step.PROBE_END, _Step.PROBE_MIDDLE, _Step.KNOWN_LAST, _Step.GALLOP, _Step.ELSEWHERE, _Step.BACK, _Step.SAMPLE}
)


def most_asks(length: int) -> int:
    """How many asks it takes at most to get past one hole in a cursor of so many microseconds."""
    return 4 * max(1, length).bit_length() + 15 + _PROBES_A_RETRY + _SAMPLES


def _nth_place(n: int) -> float:
    """A half, a quarter, three quarters, an eighth ..: the n-th of positions that lie ever closer."""
    place, weight = 0.0, 0.5
    while n:
        place += weight * (n & 1)
        n, weight = n >> 1, weight / 2
    return place


class Narrowing:
    """One search. Ask for `[start, end)`, tell `worked` or `failed`, until `state` says something."""

    __slots__ = (
        "_bad",
        "_confirmations",
        "_failures",
        "_first",
        "_good",
        "_high",
        "_hole_end",
        "_hole_start",
        "_known_end",
        "_known_start",
        "_longest",
        "_low",
        "_probed",
        "_probes_left",
        "_resolution",
        "_retries",
        "_sampled",
        "_step",
        "_successes",
        "_total",
        "asks",
        "end",
        "failed_length",
        "hole",
        "read",
        "start",
        "state",
        "worked_length",
    )

    def __init__(
        self,
        total: int,
        failed: int,
        *,
        known: tuple[int, int] | None = None,
        resolution: int = 1,
        retries: int = 0,
    ) -> None:
        """`[0, failed)` of `[0, total)` has failed. `known`: a window in it that failed for another tag.

        A hole is narrowed down to `resolution` at its beginning and its end. `retries`: so many times all of this was
        asked for again before, and was a hole again.
        """
        self._total = total
        self._first = self._bad = failed
        self._resolution = resolution
        self._failures = self._confirmations = self._successes = 0
        self._probed = False
        self._retries = retries
        self._probes_left = _PROBES_A_RETRY if retries else 1
        self._good = total  # an instant that was answered, if it is not the end
        self.asks = 0  # that were answered, or failed
        self._longest: int | None = None
        self._hole_start = self._low = self._high = self._known_start = self._known_end = 0
        self._hole_end = self._sampled = 0
        self.read = 0
        self.hole: tuple[int, int] | None = None
        # The longest ask that was answered, where it was the length that mattered, and one that was not.
        self.worked_length = self.failed_length = 0
        self.state = NarrowingState.SEARCHING
        self.start = self.end = 0
        self._step = _Step.HALVE
        # A known hole that ends where all ends, or begins where nothing has failed, is no help.
        if known is not None and known[0] < failed and 0 < known[1] < total:
            self._known_start, self._known_end = max(0, known[0]), known[1]
            self._know()
        else:
            self._halve()

    def __repr__(self) -> str:
        return f"Narrowing({self._step.name}, read {self.read}, bad {self._bad} of {self._total}, hole {self.hole})"

    @property
    def begun(self) -> bool:
        """Whether anything was asked yet."""
        return bool(self.asks)

    def knowing(self, known: tuple[int, int] | None) -> Narrowing:
        """The same search from the beginning, with the hole of another tag to try first."""
        return Narrowing(self._total, self._first, known=known, resolution=self._resolution, retries=self._retries)

    @property
    def lands(self) -> bool:
        """Whether what the ask brings follows on what was read before."""
        return self._step not in _PROBES

    @property
    def patient(self) -> bool:
        """Whether the ask is worth being repeated by the client: what it says is final."""
        return self._step in {_Step.CONFIRM, _Step.PROBE_MIDDLE, _Step.KNOWN_FIRST}

    def shorten(self) -> None:
        """The answer did not hold all of the ask, and only the whole of it is of use."""
        self._longest = max(1, (self.end - self.start) // 2)
        self.end = self.start + self._longest

    def worked(self, until: int) -> None:
        """Everything up to `until` was answered; if that is not the end of the ask, the rest is asked for next."""
        self._failures = 0
        self.asks += 1
        if self._step in {_Step.BEHIND, _Step.BEHIND_FIRST}:
            self.hole = (self._hole_start, self.start)
            self.read, self.state = until, NarrowingState.DONE
            return
        if self.lands:
            self.read = until
            if until < self.end:
                self.start = until
                return
        match self._step:
            case _Step.HALVE:
                self.worked_length, self.failed_length = self.end - self.start, self._bad - self.start
                self._ask(_Step.REST, self.read, self._bad)
            case _Step.REST | _Step.CONFIRM:
                self.state = NarrowingState.DONE
            case _Step.HUNT:
                self._successes += 1
                if self._successes % _SUCCESSES_BEFORE_REST:
                    self._hunt()
                else:  # the source may have healed
                    self._ask(_Step.REST, self.read, self._bad)
            case _Step.KNOWN_BEFORE:
                self._know()
            case _Step.KNOWN_FIRST | _Step.PROBE_START | _Step.PROBE_END:
                self._halve()
            case _Step.KNOWN_LAST | _Step.PROBE_MIDDLE:
                self._good = self.start
                self._bad = self.read + 1  # the first instant failed, and not everything does
                self._confirm()
            case _Step.GALLOP | _Step.ELSEWHERE | _Step.BACK | _Step.SAMPLE:
                self._high = self.start
                self._back()

    def failed(self) -> None:
        """The ask failed."""
        self._failures += 1
        self.asks += 1
        if self._step in _KNOWN:
            self._known_failed()
        elif self._step in _PROBES_OF_ALL:
            self._probe_failed()
        elif self._step in _BEHIND:
            self._behind_failed()
        elif self._step is _Step.CONFIRM:
            self._confirmations += 1
            if self._confirmations >= _CONFIRMATIONS:
                self._hole_start = self.read
                self._behind(self._bad)
        else:
            self._part_failed()

    def _part_failed(self) -> None:
        self._bad, self._successes = self.end, 0
        if self._step is not _Step.HALVE:
            self._hunt()
        elif self._failures >= _FAILURES_BEFORE_PROBES and not self._probed and self._total - self.read > _FEW:
            self._probed = True
            self._ask(_Step.PROBE_END, self._total - 1, self._total)
        else:
            self._halve()

    def _known_failed(self) -> None:
        if self._step is _Step.KNOWN_BEFORE:
            self._bad = self.end
            self._halve()
        elif self._step is _Step.KNOWN_FIRST and self._known_end - self.read > 1:
            self._ask(_Step.KNOWN_LAST, self._known_end - 1, self._known_end)
        else:
            self._hole_start = self.read
            self._behind(self._known_end)

    def _probe_failed(self) -> None:
        if self._step is _Step.PROBE_END:
            self._ask(_Step.PROBE_START, self.read, self.read + 1)
        else:
            self._probe_between(_Step.PROBE_MIDDLE)

    def _probe_between(self, step: _Step) -> None:
        """Another instant between the first and the last, until there was enough of them."""
        if not self._probes_left:
            self.state = NarrowingState.HOPELESS
            return
        self._probes_left -= 1
        n = self._retries * _PROBES_A_RETRY - self._probes_left if self._retries else 1
        at = self.read + int((self._total - self.read) * _nth_place(n))
        self._ask(step, at, at + 1)

    def _behind_failed(self) -> None:
        if self._step is _Step.ELSEWHERE:
            self._probe_between(_Step.ELSEWHERE)
            return
        if self._step is _Step.BEHIND:
            self._ask(_Step.BEHIND_FIRST, self.start, self.start + 1)
            return
        self._low = self.end
        if self._step is _Step.SAMPLE:
            self._sample()
        elif self._step is _Step.BACK:
            self._back()
        else:
            self._gallop()

    # --- steps ---------------------------------------------------------------

    def _ask(self, step: _Step, start: int, end: int) -> None:
        self._step = step
        if self._longest is not None and self.lands:
            end = min(end, start + self._longest)
        self.start, self.end = start, end

    def _halve(self) -> None:
        if self._bad - self.read <= self._resolution:
            self._confirm()
        else:
            # The larger half, so that the other is not longer than one that worked.
            self._ask(_Step.HALVE, self.read, self.read + (self._bad - self.read + 1) // 2)

    def _hunt(self) -> None:
        if self._bad - self.read <= self._resolution:
            self._confirm()
        else:
            self._ask(_Step.HUNT, self.read, self.read + (self._bad - self.read) // 2)

    def _confirm(self) -> None:
        self._confirmations = 0
        self._ask(_Step.CONFIRM, self.read, self._bad)

    def _know(self) -> None:
        """Try the hole of another tag: what lies before it, and then its first instant."""
        if self.read < self._known_start:
            self._ask(_Step.KNOWN_BEFORE, self.read, self._known_start)
        else:
            self._ask(_Step.KNOWN_FIRST, self.read, self.read + 1)

    def _behind(self, end: int) -> None:
        """The hole is taken to end here, unless what follows fails, too."""
        if end >= self._total:
            self.state = NarrowingState.HOPELESS
        else:
            self._ask(_Step.BEHIND, end, min(self._total, end + self._first))

    def _gallop(self) -> None:
        """Twice as far behind the beginning of the hole as the last time, but not past the end. A few go one by one."""
        if self._low >= self._total:
            self._low = self._hole_start + 1
            self._probe_between(_Step.ELSEWHERE)
            return
        few = self._total - self._hole_start <= _FEW
        far = self._low if few else self._hole_start + 2 * (self._low - self._hole_start)
        at = max(min(far, self._total - 1), self._low)
        if self._low <= self._good <= at:
            self._high = self._good
            self._back()
        else:
            self._ask(_Step.GALLOP, at, at + 1)

    def _sample(self) -> None:
        """Two stretches that are close together are two holes: what lies between them can be read."""
        self._sampled += 1
        if self._sampled > _SAMPLES:
            self._behind(self._hole_end)
            return
        at = self._hole_start + (self._hole_end - self._hole_start) * self._sampled // (_SAMPLES + 1)
        self._ask(_Step.SAMPLE, at, at + 1)

    def _back(self) -> None:
        if self._high - self._low <= self._resolution - 1:
            self._hole_end = self._high
            if self._high - self._hole_start > _LONG and not self._sampled:
                self._low = self._hole_start + 1
                self._sample()
            else:
                self._behind(self._high)
        else:
            middle = (self._low + self._high) // 2
            self._ask(_Step.BACK, middle, middle + 1)
