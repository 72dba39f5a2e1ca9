"""How long a run still takes, by what it has done so far. Pure; the clock is an argument.

What is left is counted in requests and values, group by group, with the slices and pages that a group would ask for.
The rates are those that tags have shown in this run. The plan may be wrong about groups that were not asked yet, so
they are corrected by how wrong it was about groups of their kind. The seconds of a request and of a value are learnt
from the answers. A group is in flight once at a time, so a run lasts at least as long as its longest group.

Invariant: it only looks at the plan. A run goes on in the same way with it or without.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from ..model import AskOutcomes
from .planner import Chunk, Plan
from .tag_cursor import MAX_SLICE_DAYS, RequestGroup, RequestLimits, TagCursor
from .timeline import DAY

# Between two looks at the whole plan so long at least, and so many times what a look takes.
_EVERY_SECS = 1.0
_LOOK_SHARE = 200
# What lies so far back counts for a third in what answers are expected to take.
_MEMORY = 500
# After so many events the rate that a tag has shown is its rate.
_TELLING = 10
# Longer than this without an answer, and longer than three answers take, nothing was being done: an outage.
_IDLE_SECS = 30.0
# A group is looked at in so many pieces at most, and all groups together in so many.
_PIECES = 12
_MOST_PIECES = 4_000


@dataclass(slots=True)
class _Work:
    """Requests and values."""

    requests: float = 0.0
    values: float = 0.0

    def add(self, other: _Work) -> None:
        self.requests += other.requests
        self.values += other.values


@dataclass(slots=True)
class _GroupProgress:
    """One group: the work foreseen before it was asked, and the work done."""

    kind: tuple[bool, bool]
    foreseen: _Work
    done: _Work = field(default_factory=_Work)
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _ScaleFactors:
    """How much more, or less, groups of a kind take than was foreseen: in requests and values, of those that were not
    asked yet, and in requests of those that were.
    """

    requests: float = 1.0
    values: float = 1.0
    begun: float = 1.0

    @classmethod
    def of(cls, courses: Sequence[tuple[_GroupProgress, _Work]]) -> Self:
        foreseen, done, left = _Work(), _Work(), _Work()
        for course, rest in courses:
            foreseen.add(course.foreseen)
            done.add(course.done)
            left.add(rest)
        requests = _ratio(done.requests + left.requests, foreseen.requests)
        # History is read in slices that have to fit, and some do not: what was read in vain goes on like that.
        in_vain = courses[0][0].kind[0] and done.requests >= _TELLING
        begun = _ratio(done.requests, foreseen.requests - left.requests) if in_vain else 1.0
        return cls(requests * begun, _ratio(done.values + left.values, foreseen.values), begun)

    def of_unasked(self, work: _Work) -> _Work:
        return _Work(work.requests * self.requests, work.values * self.values)

    def of_asked(self, work: _Work) -> _Work:
        return _Work(work.requests * self.begun, work.values * self.begun)


def _ratio(real: float, foreseen: float) -> float:
    return min(100.0, max(0.01, real / foreseen)) if foreseen > 0 else 1.0


class _AnswerCosts:
    """Seconds of an answer as `a + b * values`, by least squares; older answers count less and less."""

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, values: float, secs: float) -> None:
        keep = 1 - 1 / _MEMORY
        self._n = self._n * keep + 1
        self._x = self._x * keep + values
        self._y = self._y * keep + secs
        self._xx = self._xx * keep + values * values
        self._xy = self._xy * keep + values * secs

    def of(self, work: _Work) -> float:
        a, b = self._line()
        return a * work.requests + b * work.values

    def _line(self) -> tuple[float, float]:
        if not self._n:
            return 0.0, 0.0
        spread = self._n * self._xx - self._x * self._x
        b = (self._n * self._xy - self._x * self._y) / spread if spread > 1e-9 * self._n * self._xx else 0.0
        a = (self._y - b * self._x) / self._n
        if b < 0:
            return self._y / self._n, 0.0
        if a < 0:
            return 0.0, self._y / self._x
        return a, b


class PlanProgress:
    """Watches a plan being carried out, and says how long the rest takes."""

    def __init__(self, plan: Plan, clock: Callable[[], float], waited: Callable[[], float] = lambda: 0.0) -> None:
        """`waited`: seconds that requests have waited for their turn, all together, which a group alone would not."""
        self._plan = plan
        self._waited, self._waited_before = waited, waited()
        self._clock = clock
        self._began = self._last = clock()
        self._busy = 0.0
        self._done = _Work()
        self._costs = _AnswerCosts()
        self._courses: dict[int, _GroupProgress] = {}
        self._seen: dict[TagCursor, tuple[float, float]] = {}  # events and microseconds, of cursors that go on
        self._largest = 1
        self._one_by_one = False
        self._looked_at = self._began
        self._look_secs = 0.0
        self._left_secs: float | None = None
        self._fraction = 0.0

    def took(self, chunk: Chunk, requests: int) -> None:
        """A chunk is about to be asked, in so many requests."""
        self._course(chunk.group).asked = True
        if len(chunk.asks) > self._largest:
            self._largest, self._one_by_one = len(chunk.asks), requests == len(chunk.asks)

    def answered(self, chunk: Chunk, outcomes: AskOutcomes, secs: float) -> None:
        """A request for a chunk, or for a part of one, was answered after so many seconds and is recorded."""
        now = self._clock()
        self._busy += min(now - self._last, max(_IDLE_SECS, 3 * secs))
        self._last = now
        work = _Work(1, float(outcomes.rows.sum()))
        self._done.add(work)
        self._course(chunk.group).done.add(work)
        self._costs.learn(work.values, secs)
        for n, cursor in enumerate(chunk.cursors):
            if cursor.start >= cursor.end:
                if self._seen:
                    self._seen.pop(cursor, None)
            elif (span := int(outcomes.untils[n]) - outcomes.asks[n].start) > 0:
                events, before = self._seen.get(cursor, (0.0, 0.0))
                self._seen[cursor] = events + int(outcomes.rows[n]), before + span

    def left_secs(self) -> float | None:
        """Seconds from now on; None in the first second, and while nothing has been answered."""
        now = self._clock()
        if self._plan.done:
            return 0.0
        if self._done.requests and now - self._looked_at >= max(_EVERY_SECS, _LOOK_SHARE * self._look_secs):
            self._left_secs = self._look()
            self._looked_at = now
            self._look_secs = self._clock() - now
        return None if self._left_secs is None else max(0.0, self._left_secs - (now - self._looked_at))

    def fraction_done(self) -> float:
        """The share of its time that a run has behind it. It never shrinks, so that a progress bar never goes back."""
        left = self.left_secs()
        if left is not None:
            elapsed = self._clock() - self._began
            self._fraction = max(self._fraction, elapsed / (elapsed + left) if elapsed + left > 0 else 1.0)
        return self._fraction

    def _look(self) -> float:
        groups = [group for group in self._plan.groups() if group.cursors]
        left = {group.number: self._left_of(group) for group in groups}
        of_kind: dict[tuple[bool, bool], list[tuple[_GroupProgress, _Work]]] = {}
        for number, course in self._courses.items():
            if course.asked:
                of_kind.setdefault(course.kind, []).append((course, left.get(number, _Work())))
        scales = {kind: _ScaleFactors.of(courses) for kind, courses in of_kind.items()}
        wait = (self._waited() - self._waited_before) / self._done.requests
        pause = self._busy / self._done.requests  # between two requests, at the pace of now
        total = 0.0
        courses: list[tuple[RequestGroup, float]] = []
        for group in groups:
            work, course = left[group.number], self._courses[group.number]
            scale = scales.get(course.kind, _ScaleFactors())
            expected = scale.of_asked(work) if course.asked else scale.of_unasked(work)
            secs = self._costs.of(expected)
            total += secs
            alone = max(secs - wait * expected.requests, min(secs, pause * expected.requests)) if wait else secs
            courses.append((group, alone))
        at_once = self._costs.of(self._done) / self._busy if self._busy else 1.0
        return max(total / at_once if at_once else total, _one_after_the_other(courses, at_once))

    def _course(self, group: RequestGroup) -> _GroupProgress:
        course = self._courses.get(group.number)
        if course is None:
            fresh = any(cursor.low == cursor.high for cursor in group.cursors)
            course = _GroupProgress((group.cursors[0].backward, fresh), self._work_of(group))
            self._courses[group.number] = course
        return course

    def _left_of(self, group: RequestGroup) -> _Work:
        course = self._course(group)
        return self._work_of(group) if course.asked else course.foreseen

    def _work_of(self, group: RequestGroup) -> _Work:
        if (plain := self._one_answer(group)) is not None:
            return plain
        cursors = [cursor for cursor in group.cursors if not cursor.finished]
        rates = [self._rate(cursor) for cursor in cursors]
        begins = [cursor.expected_from for cursor in cursors]
        values = sum(rate * (r.end - begin) for rate, r, begin in zip(rates, cursors, begins, strict=True))
        if not cursors:
            return _Work()
        if cursors[0].backward:
            return _Work(self._requests_backward(cursors, rates), values)
        return _Work(self._requests_forward(cursors, rates, begins), values)

    def _one_answer(self, group: RequestGroup) -> _Work | None:
        """Most groups need one answer, once; there are hundreds of them, and this is quick."""
        limits, total, values, most, longest = self._plan.limits, 0.0, 0.0, 0.0, 0
        for cursor in group.cursors:
            quiet = cursor.comparison is not None and cursor.comparison.quiet
            if cursor.backward or quiet or cursor.slice_stop is not None or cursor in self._seen:
                return None
            span = cursor.end - cursor.start
            expected = cursor.rate * span
            total += cursor.rate
            values += expected
            most, longest = max(most, expected), max(longest, span)
        share = min(limits.max_count_per_tag, limits.answer_cap // max(1, len(group.cursors)))
        if most > share or longest > _slice_days(total, limits) * DAY:
            return None
        return _Work(len(group.cursors) if self._one_by_one else 1, values)

    def _rate(self, cursor: TagCursor) -> float:
        """Events per microsecond, as a tag has shown them; the fewer it has shown, the more the plan's word counts."""
        events, span = self._seen.get(cursor, (0.0, 0.0))
        if events >= _TELLING:
            return events / span
        if not span or not cursor.rate:
            return cursor.rate
        return (events + 1) / (span + 1 / cursor.rate)

    def _requests_forward(self, cursors: Sequence[TagCursor], rates: Sequence[float], begins: Sequence[int]) -> float:
        """The rest of the current slice, and then slice by slice, as long as the group would make them."""
        current = [
            rate * (cursor.slice_stop - begin)
            for cursor, rate, begin in zip(cursors, rates, begins, strict=True)
            if cursor.slice_stop is not None and cursor.slice_stop > begin
        ]
        requests = self._pages(sorted(current)) if current else 0.0
        spans = [
            cursor.end - max(begin, cursor.slice_stop or begin) for cursor, begin in zip(cursors, begins, strict=True)
        ]
        rest = max(spans)
        if rest <= 0:
            return requests
        share = sorted(rate * span / rest for rate, span in zip(rates, spans, strict=True))
        # The group makes its slices by rates that follow what tags show by half each time.
        limits, planned, shown = self._plan.limits, sum(cursor.rate for cursor in cursors), sum(rates)
        while rest > 0:
            length = _slice_days(planned, limits) * DAY
            steady_rates = abs(planned - shown) <= 0.1 * shown or length == _slice_days(shown, limits) * DAY
            slices = rest / length if steady_rates and rest > length else 1.0
            requests += slices * self._pages([rate * min(length, rest) for rate in share])
            rest -= int(slices * length) if slices > 1 else min(length, rest)
            planned = (planned + shown) / 2
            if slices > 1:
                break
        return requests

    def _pages(self, events: Sequence[float]) -> float:
        """Requests for one slice of a group; `events` of its tags, in rising order."""
        limits, asked, steps, given, at = self._plan.limits, 0, 0, 0.0, 0
        while at < len(events):
            open_now = len(events) - at
            share = max(1, min(limits.max_count_per_tag, limits.answer_cap // open_now))
            pages = max(1, math.ceil((events[at] - given) / share))
            asked += pages * open_now if steps else 1 + (pages - 1) * open_now
            steps += pages
            given += pages * share
            while at < len(events) and events[at] <= given:
                at += 1
        if self._one_by_one:
            return asked + (len(events) - 1 if events else 0)
        return float(asked if limits.one_window else steps)

    def _requests_backward(self, cursors: Sequence[TagCursor], rates: Sequence[float]) -> float:
        """Slices that fit a page each, of all tags of the group at once; the densest tag needs most."""
        limits, requests = self._plan.limits, 0.0
        length = _slice_days(sum(rates), limits) * DAY
        left = [(float(cursor.end - cursor.start), rate) for cursor, rate in zip(cursors, rates, strict=True)]
        while left:
            share = max(1, min(limits.max_count_per_tag, limits.answer_cap // len(left)))
            strides = [length if rate * length < share else max(1.0, share / (2 * rate)) for _, rate in left]
            steps = max(1, math.ceil(min(span / stride for (span, _), stride in zip(left, strides, strict=True))))
            requests += steps * (len(left) if self._one_by_one else 1)
            left = [
                (span - steps * stride, rate)
                for (span, rate), stride in zip(left, strides, strict=True)
                if span > steps * stride
            ]
        return requests


def _slice_days(rate: float, limits: RequestLimits) -> int:
    """As `RequestGroup` makes them."""
    per_day = rate * DAY
    return max(1, int(min(MAX_SLICE_DAYS, limits.values_per_answer / per_day))) if per_day > 0 else MAX_SLICE_DAYS


def _one_after_the_other(courses: Sequence[tuple[RequestGroup, float]], at_once: float) -> float:
    """How long groups take that are served in the order of the plan, some at once, and each a piece at a time.

    The most urgent group is the one that lags behind; one that reaches far back is alone in the end.
    """
    pieces = max(1, min(_PIECES, _MOST_PIECES // max(1, len(courses))))
    ready: list[tuple[tuple[bool, int, float, int], int, float]] = []
    spans: dict[int, float] = {}
    for group, secs in courses:
        failing, urgency, begin, number = group.priority
        spans[number] = max(cursor.end - cursor.start for cursor in group.cursors) / pieces
        ready.append(((failing, urgency, float(begin), number), pieces, secs / pieces))
    heapq.heapify(ready)
    fetchers = max(1, math.ceil(at_once - 0.1))
    flying: list[tuple[float, tuple[tuple[bool, int, float, int], int, float]]] = []
    now = 0.0
    while ready or flying:
        while ready and len(flying) < fetchers:
            taken = heapq.heappop(ready)
            heapq.heappush(flying, (now + taken[2], taken))
        now, ((failing, urgency, edge, number), left, secs) = heapq.heappop(flying)
        if left > 1:
            heapq.heappush(ready, ((failing, urgency, edge + spans[number], number), left - 1, secs))
    return now
