"""How long a run still takes, by what it has been through so far. Pure; the clock is an argument.

What is left is counted in requests and values: lane by lane, with the slices and pages that a lane would ask for,
and with the rates that tags have shown in this run rather than those they were planned with. Lanes that were not
asked yet are corrected by how wrong the plan was about those of their kind that were: nobody knows the rate of a tag
that was never read. What a request and a value take is learnt from the answers. A lane is in flight once at a time,
so a run lasts at least as long as its longest lane.

Invariant: only looks at the plan; a run goes on in the same way with it or without.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from ..model import Outcomes
from .lanes import MAX_SLICE_DAYS, Lane, Limits, Reading
from .planner import Chunk, Plan
from .timeline import DAY

__all__ = ["Remaining"]

# Between two looks at the whole plan so long at least, and so many times what a look takes.
_EVERY_SECS = 1.0
_LOOK_SHARE = 200
# What lies so far back counts for a third in what answers are expected to take.
_MEMORY = 500
# After so many events the rate that a tag has shown is its rate.
_TELLING = 10
# Longer than this without an answer, and longer than three answers take, nothing was being done: an outage.
_IDLE_SECS = 30.0
# A lane is looked at in so many pieces at most, and all lanes together in so many.
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
class _Course:
    """One lane: what it was expected to take as a whole, before it was asked, and what it has taken."""

    kind: tuple[bool, bool]
    foreseen: _Work
    done: _Work = field(default_factory=_Work)
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much more, or less, lanes of a kind take than was foreseen: in requests and values, of those that were not
    asked yet, and in requests of those that were.
    """

    requests: float = 1.0
    values: float = 1.0
    begun: float = 1.0

    @classmethod
    def of(cls, courses: Sequence[tuple[_Course, _Work]]) -> Self:
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


class _Costs:
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


class Remaining:
    """Watches a plan being carried out, and says how long the rest takes."""

    def __init__(self, plan: Plan, clock: Callable[[], float], waited: Callable[[], float] = lambda: 0.0) -> None:
        """`waited`: seconds that requests have waited for their turn, all together, which a lane alone would not."""
        self._plan = plan
        self._waited, self._waited_before = waited, waited()
        self._clock = clock
        self._began = self._last = clock()
        self._busy = 0.0
        self._done = _Work()
        self._costs = _Costs()
        self._courses: dict[int, _Course] = {}
        self._seen: dict[Reading, tuple[float, float]] = {}  # events and microseconds, of readings that go on
        self._largest = 1
        self._one_by_one = False
        self._looked_at = self._began
        self._look_secs = 0.0
        self._left_secs: float | None = None
        self._fraction = 0.0

    def took(self, chunk: Chunk, requests: int) -> None:
        """A chunk is about to be asked, in so many requests."""
        self._course(chunk.lane).asked = True
        if len(chunk.asks) > self._largest:
            self._largest, self._one_by_one = len(chunk.asks), requests == len(chunk.asks)

    def answered(self, chunk: Chunk, outcomes: Outcomes, secs: float) -> None:
        """A request, for a chunk or a part of one, was answered after so many seconds and is settled."""
        now = self._clock()
        self._busy += min(now - self._last, max(_IDLE_SECS, 3 * secs))
        self._last = now
        work = _Work(1, float(outcomes.rows.sum()))
        self._done.add(work)
        self._course(chunk.lane).done.add(work)
        self._costs.learn(work.values, secs)
        for n, reading in enumerate(chunk.readings):
            if reading.start >= reading.end:
                if self._seen:
                    self._seen.pop(reading, None)
            elif (span := int(outcomes.untils[n]) - outcomes.asks[n].start) > 0:
                events, before = self._seen.get(reading, (0.0, 0.0))
                self._seen[reading] = events + int(outcomes.rows[n]), before + span

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
        """The share of its time that a run has behind it. It never shrinks: a bar that goes back helps nobody."""
        left = self.left_secs()
        if left is not None:
            elapsed = self._clock() - self._began
            self._fraction = max(self._fraction, elapsed / (elapsed + left) if elapsed + left > 0 else 1.0)
        return self._fraction

    def _look(self) -> float:
        lanes = [lane for lane in self._plan.lanes() if lane.readings]
        left = {lane.number: self._left_of(lane) for lane in lanes}
        of_kind: dict[tuple[bool, bool], list[tuple[_Course, _Work]]] = {}
        for number, course in self._courses.items():
            if course.asked:
                of_kind.setdefault(course.kind, []).append((course, left.get(number, _Work())))
        scales = {kind: _Scale.of(courses) for kind, courses in of_kind.items()}
        wait = (self._waited() - self._waited_before) / self._done.requests
        pause = self._busy / self._done.requests  # between two requests, at the pace of now
        total = 0.0
        courses: list[tuple[Lane, float]] = []
        for lane in lanes:
            work, course = left[lane.number], self._courses[lane.number]
            scale = scales.get(course.kind, _Scale())
            expected = scale.of_asked(work) if course.asked else scale.of_unasked(work)
            secs = self._costs.of(expected)
            total += secs
            alone = max(secs - wait * expected.requests, min(secs, pause * expected.requests)) if wait else secs
            courses.append((lane, alone))
        at_once = self._costs.of(self._done) / self._busy if self._busy else 1.0
        return max(total / at_once if at_once else total, _one_after_the_other(courses, at_once))

    def _course(self, lane: Lane) -> _Course:
        course = self._courses.get(lane.number)
        if course is None:
            fresh = any(reading.low == reading.high for reading in lane.readings)
            course = _Course((lane.readings[0].backward, fresh), self._work_of(lane))
            self._courses[lane.number] = course
        return course

    def _left_of(self, lane: Lane) -> _Work:
        course = self._course(lane)
        return self._work_of(lane) if course.asked else course.foreseen

    def _work_of(self, lane: Lane) -> _Work:
        if (plain := self._one_answer(lane)) is not None:
            return plain
        readings = [reading for reading in lane.readings if not reading.finished]
        rates = [self._rate(reading) for reading in readings]
        begins = [max(r.start, min(r.high, r.end)) if r.quiet else r.start for r in readings]
        values = sum(rate * (r.end - begin) for rate, r, begin in zip(rates, readings, begins, strict=True))
        if not readings:
            return _Work()
        if readings[0].backward:
            return _Work(self._requests_backward(readings, rates), values)
        return _Work(self._requests_forward(readings, rates, begins), values)

    def _one_answer(self, lane: Lane) -> _Work | None:
        """Most lanes need one answer, once; there are hundreds of them, and this is quick."""
        limits, total, values, most, longest = self._plan.limits, 0.0, 0.0, 0.0, 0
        for reading in lane.readings:
            if reading.backward or reading.quiet or reading.mark is not None or reading in self._seen:
                return None
            span = reading.end - reading.start
            expected = reading.rate * span
            total += reading.rate
            values += expected
            most, longest = max(most, expected), max(longest, span)
        share = min(limits.max_count_per_tag, limits.answer_cap // max(1, len(lane.readings)))
        if most > share or longest > _slice_days(total, limits) * DAY:
            return None
        return _Work(len(lane.readings) if self._one_by_one else 1, values)

    def _rate(self, reading: Reading) -> float:
        """Events per microsecond, as a tag has shown them; the fewer it has shown, the more the plan's word counts."""
        events, span = self._seen.get(reading, (0.0, 0.0))
        if events >= _TELLING:
            return events / span
        if not span or not reading.rate:
            return reading.rate
        return (events + 1) / (span + 1 / reading.rate)

    def _requests_forward(self, readings: Sequence[Reading], rates: Sequence[float], begins: Sequence[int]) -> float:
        """The rest of the current slice, and then slice by slice, as long as the lane would make them."""
        current = [
            rate * (reading.mark - begin)
            for reading, rate, begin in zip(readings, rates, begins, strict=True)
            if reading.mark is not None and reading.mark > begin
        ]
        requests = self._pages(sorted(current)) if current else 0.0
        spans = [
            reading.end - max(begin, reading.mark or begin) for reading, begin in zip(readings, begins, strict=True)
        ]
        rest = max(spans)
        if rest <= 0:
            return requests
        share = sorted(rate * span / rest for rate, span in zip(rates, spans, strict=True))
        # The lane makes its slices by rates that follow what tags show by half each time.
        limits, planned, shown = self._plan.limits, sum(reading.rate for reading in readings), sum(rates)
        while rest > 0:
            length = _slice_days(planned, limits) * DAY
            settled = abs(planned - shown) <= 0.1 * shown or length == _slice_days(shown, limits) * DAY
            slices = rest / length if settled and rest > length else 1.0
            requests += slices * self._pages([rate * min(length, rest) for rate in share])
            rest -= int(slices * length) if slices > 1 else min(length, rest)
            planned = (planned + shown) / 2
            if slices > 1:
                break
        return requests

    def _pages(self, events: Sequence[float]) -> float:
        """Requests for one slice of a lane; `events` of its tags, in rising order."""
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

    def _requests_backward(self, readings: Sequence[Reading], rates: Sequence[float]) -> float:
        """Slices that fit a page each, of all tags of the lane at once; the densest tag needs most."""
        limits, requests = self._plan.limits, 0.0
        length = _slice_days(sum(rates), limits) * DAY
        left = [(float(reading.end - reading.start), rate) for reading, rate in zip(readings, rates, strict=True)]
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


def _slice_days(rate: float, limits: Limits) -> int:
    """As `Lane` makes them."""
    per_day = rate * DAY
    return max(1, int(min(MAX_SLICE_DAYS, limits.values_per_answer / per_day))) if per_day > 0 else MAX_SLICE_DAYS


def _one_after_the_other(courses: Sequence[tuple[Lane, float]], at_once: float) -> float:
    """How long lanes take that are served in the order of the plan, some at once, and each a piece at a time.

    The most urgent lane is the one that lags behind; one that reaches far back is alone in the end.
    """
    pieces = max(1, min(_PIECES, _MOST_PIECES // max(1, len(courses))))
    ready: list[tuple[tuple[bool, bool, float, int], int, float]] = []
    spans: dict[int, float] = {}
    for lane, secs in courses:
        failing, backward, _, begin, number = lane.priority
        spans[number] = max(reading.end - reading.start for reading in lane.readings) / pieces
        ready.append(((failing, backward, float(begin), number), pieces, secs / pieces))
    heapq.heapify(ready)
    fetchers = max(1, math.ceil(at_once - 0.1))
    flying: list[tuple[float, tuple[tuple[bool, bool, float, int], int, float]]] = []
    now = 0.0
    while ready or flying:
        while ready and len(flying) < fetchers:
            taken = heapq.heappop(ready)
            heapq.heappush(flying, (now + taken[2], taken))
        now, ((failing, backward, edge, number), left, secs) = heapq.heappop(flying)
        if left > 1:
            heapq.heappush(ready, ((failing, backward, edge + spans[number], number), left - 1, secs))
    return now
