"""How fast PI may be asked: decided from what it has answered so far. Pure; the time is an argument.

A `Pace` is a value. Every start, every answer and every sign of overload gives the next one. Below what is configured it
moves two numbers, the requests in flight and the requests a second:

- In flight: halved by a time-out or a connection that cannot be made; a tenth less when first bytes come later than
  usual; by a refusal, as much less as the rate; a step more in about a round trip while all is well.
- A second: what the server bears is between `low` and `high`. `high` was too fast: it was refused. `low` was borne: that
  many were answered, less what a server may have saved up while it was not asked. After a cut the rate starts at `low`. It
  climbs to the middle, rests there, and only then tries more, up to `high`; behind it, ever faster. This is the curve of
  CUBIC (RFC 9438), of logarithms. The closer the two are, the longer it takes: a limit that is known is met seldom, one
  that is not is found soon, and one that has gone is left soon.
- The rate grows only while requests are sent about as fast as it allows. Otherwise something else holds them back, and
  their answers say nothing about more. For the same reason a refusal is laid to the rate that was really sent.
- Both fall at most once per round trip: what was sent before the last cut says nothing about the pace since.
- A Retry-After stops every start until it is over.
- Three signs in a row without an answer between them are an outage, or a quota that is used up. Slower does not help
  then, so nothing more is cut. One request at a time is let through, after a pause that doubles: the probe. Its answer
  ends this.

"Usual" is a slow average per kind of request, since a batch of a hundred streams and a page of tags have nothing in
common. It follows a lasting change, so a server that is simply slower than it was is not punished for ever.

Invariant: `1 <= window <= ceiling` and `0 < rate <= max_rate`, and any steady sequence of answers leads back to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, inf, log
from types import MappingProxyType
from typing import Final, Self

_HALF: Final = 0.5
_TENTH: Final = 0.1
_TENTH_LESS: Final = 0.9
_RECENT_WEIGHT: Final = 0.3
_USUAL_WEIGHT: Final = 0.02
_RISING: Final = 2.0  # recent first bytes take twice the usual
_OUTLIER: Final = 3.0  # one slow answer alone, however slow, does not reach _RISING
_QUICK_SECS: Final = 0.05  # below this, twice as long is noise, not load
_LEAST_RATE: Final = 0.2  # requests a second; less tells nothing about a server for too long
_LEAST_SHARE: Final = 1 / 20  # of the ceiling: a server that refuses some requests at any rate must not stop the others
_PROBING_AFTER: Final = 3  # signs of overload in a row
LONGEST_PROBE_WAIT_SECS: Final = 5.0
_SAVED_SECS: Final = 1.0  # servers let through at once what they bear in so long a time, if they were not asked before
_CLOSEST: Final = 0.96  # `low`, as a share of `high`: limits are known no better
_WIDEST: Final = 1 / 16
_FEW: Final = 2
_CLIMB_SECS: Final = 3.0
_CLIMB_SECS_PER_LOG: Final = 2.0  # 50 s and more for the closest: a limit is remembered for minutes
_LATELY_SECS: Final = 10.0
_LONGEST_SILENCE_SECS: Final = 10.0
_LEAVE_SECS: Final = 15.0  # behind `high` the limit has gone: the curve goes on by this time instead
_BREATH_STARTS: Final = 3
_LONGEST_BREATH_SECS: Final = 0.5
_USED: Final = 0.8  # of the rate: what is sent is held back by it
_GAP_WEIGHT: Final = 0.1
_LARGEST_EXPONENT: Final = 100.0
_LONGEST_GAP_SECS: Final = 1.0
_WINDOW_STEP: Final = 1 / 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How many requests may be in flight now, how many may start a second, and from when the next may start."""

    ceiling: int
    limit: float
    max_rate: float
    low: float  # requests a second that are borne
    high: float  # requests a second that are too many; as many as `low` if nothing was refused yet
    probe_wait_secs: float = 0.5
    longest_probe_wait_secs: float = LONGEST_PROBE_WAIT_SECS
    climbed_secs: float = 0.0  # time since the last cut in which answers came to requests that the rate held back
    heard_at: float = -inf
    pause_until: float = -inf
    cut_at: float = -inf
    started_at: float = -inf  # the last request
    gap_secs: float = 0.0  # between starts, recently
    asking_secs: float = 0.0  # time since the last cut in which requests started
    sent: int = 0  # requests since then
    lately: float = 0.0  # of these, those of the last ten seconds or so
    silence_secs: float = _SAVED_SECS  # that the last cut has brought
    signs: int = 0  # of overload, one after the other
    trend: float = 1.0  # recent first-byte times, as a multiple of the usual
    usual_secs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def full(
        cls,
        max_in_flight: int,
        max_rate: float,
        *,
        probe_wait_secs: float = 0.5,
        longest_probe_wait_secs: float = LONGEST_PROBE_WAIT_SECS,
    ) -> Self:
        """Start at the configured numbers: they are the user's word for what the server bears."""
        most = max(1, max_in_flight)
        return cls(
            ceiling=most,
            limit=float(most),
            max_rate=max_rate,
            low=max_rate,
            high=max_rate,
            probe_wait_secs=probe_wait_secs,
            longest_probe_wait_secs=longest_probe_wait_secs,
        )

    @property
    def window(self) -> int:
        """Requests that may be in flight."""
        return 1 if self.probing else max(1, min(self.ceiling, int(self.limit)))

    @property
    def rate(self) -> float:
        """Requests that may start in a second."""
        return self.rate_after(self.climbed_secs)

    def rate_after(self, climbed_secs: float) -> float:
        """The rate after climbing for so long: `low` at first, `high` after twice the time to the middle."""
        span = log(self.high / self.low)
        if span <= 0:
            return min(self.max_rate, self.high)
        half = climb_secs(span, self.silence_secs)
        way = climbed_secs / half - 1
        if way > 1:
            way = 1 + (climbed_secs - 2 * half) / min(half, _LEAVE_SECS)
        return min(self.max_rate, self.high * exp(min(span / 2 * (way**3 - 1), _LARGEST_EXPONENT)))

    @property
    def sent_rate(self) -> float:
        """Requests that really started in a second, recently; never more than the rate."""
        return min(self.rate, 1 / self.gap_secs) if self.gap_secs > 0 else self.rate

    @property
    def probing(self) -> bool:
        """Whether nothing but signs of overload has come for long enough that requests go one by one."""
        return self.signs >= _PROBING_AFTER

    def may_start(self, *, now: float, in_flight: int) -> bool:
        return in_flight < self.window and now >= self.pause_until

    def started(self, *, now: float) -> Pace:
        """Account for a request that is sent now."""
        if self.started_at == -inf or self.started_at < self.pause_until:
            return replace(self, started_at=now, sent=self.sent + 1, lately=self.lately + 1)  # a silence was asked for
        gap = min(now - self.started_at, max(_LONGEST_GAP_SECS, 4 / self.rate))
        usual = self.gap_secs or 1 / self.rate
        return replace(
            self,
            started_at=now,
            gap_secs=usual + _GAP_WEIGHT * (gap - usual),
            asking_secs=self.asking_secs + gap,
            sent=self.sent + 1,
            lately=1 + self.lately * exp(-gap / _LATELY_SECS),
        )

    def answered(self, kind: str, *, started_at: float, now: float, first_byte_secs: float) -> Pace:
        """Account for an answer whose first byte took `first_byte_secs`; `kind` groups like with like."""
        usual = self.usual_secs.get(kind, first_byte_secs)
        ratio = min(_OUTLIER, first_byte_secs / max(usual, _QUICK_SECS))
        # Time in which nothing was asked says nothing about the server.
        heard_secs = max(0.0, min(now - self.heard_at, max(1.0, now - started_at)))
        fresh = started_at >= self.cut_at
        used = self.sent_rate >= _USED * self.rate
        learned = replace(
            self,
            climbed_secs=self.climbed_secs + heard_secs if fresh and used else self.climbed_secs,
            heard_at=now,
            signs=0 if fresh else self.signs,
            trend=self.trend + _RECENT_WEIGHT * (ratio - self.trend),
            usual_secs=MappingProxyType(
                {**self.usual_secs, kind: usual + _USUAL_WEIGHT * (first_byte_secs - usual)},
            ),
        )
        if learned.trend > _RISING:
            return _cut(learned, _TENTH_LESS, now=now, high=learned.rate) if fresh else learned
        step = max(1 / self.window, _WINDOW_STEP)
        return replace(learned, limit=min(float(self.ceiling), self.limit + step))

    def overloaded(
        self,
        *,
        started_at: float,
        now: float,
        retry_after_secs: float = 0.0,
        timed_out: bool = False,
        partly: bool = False,
    ) -> Pace:
        """Account for a 429, a 503, a time-out, or a connection that cannot be made.

        `partly`: something was answered, the rest of a batch, or a 408 or 504 by what lies before the server. So it is not
        away. Only one archive behind it may be, or one request too large, which a slower pace does not help: this alone
        takes no more than nine tenths of the rate.
        """
        pause = now + retry_after_secs if retry_after_secs > 0 else -inf
        noted = replace(self, heard_at=now, pause_until=max(self.pause_until, pause))
        if started_at < self.cut_at:
            return noted
        signs = 1 if partly else self.signs + 1
        if signs > 1:
            wait = min(
                self.longest_probe_wait_secs, self.probe_wait_secs * 2.0 ** min(max(0, signs - _PROBING_AFTER), 30)
            )
            pause = now + max(wait, retry_after_secs)
        noted = replace(noted, signs=signs, pause_until=max(noted.pause_until, pause))
        if noted.probing:
            return replace(noted, cut_at=now)
        if partly:
            noted = replace(noted, signs=0)
            if self.rate <= _TENTH * self.max_rate:
                return noted
        if timed_out:
            return _cut(noted, _HALF, now=now, high=_tried(noted, started_at=started_at, now=now))
        if signs > 1:
            # The second sign in a row says nothing new about where the limit is.
            return replace(_cut(noted, _HALF, now=now, high=self.rate), high=max(self.high, self.rate))
        return _refused(noted, started_at=started_at, now=now)


def climb_secs(span: float, silence_secs: float) -> float:
    """From `low` to the middle, and from there to `high`, if the logarithm of high/low is `span`.

    A refusal that brought a silence cost that much, so the next is put off for longer.
    """
    return _CLIMB_SECS + (_CLIMB_SECS_PER_LOG + min(silence_secs, _LONGEST_SILENCE_SECS)) / span


def _refused(pace: Pace, *, started_at: float, now: float) -> Pace:
    """Too much was sent at `started_at`: what was it, and how much was borne?"""
    high = _tried(pace, started_at=started_at, now=now)
    # What was sent before it was borne, or its refusal would have come before. Part of that the server had saved up.
    asking_secs = max(0.0, pace.asking_secs - (now - started_at))
    saved_secs = min(_SAVED_SECS, pace.silence_secs)
    sent = pace.sent * asking_secs / max(pace.asking_secs, 1e-9)
    low = max(sent / (asking_secs + saved_secs + 1 / high), pace.lately / (_LATELY_SECS + _SAVED_SECS))
    if pace.low < _CLOSEST * high:
        low = max(low, pace.low)
    # One or two requests tell nothing of what is borne.
    factor = min(_CLOSEST, max(_WIDEST if pace.sent > _FEW else _HALF, low / high))
    # What the server lets through at once is used up; without a moment it would refuse the next, too, at any rate.
    breath = now + min(_LONGEST_BREATH_SECS, _BREATH_STARTS / (high * factor))
    return replace(_cut(pace, factor, now=now, high=high), pause_until=max(pace.pause_until, breath))


def _tried(pace: Pace, *, started_at: float, now: float) -> float:
    """Requests a second that were sent at `started_at`."""
    rate = pace.rate_after(max(0.0, pace.climbed_secs - (now - started_at)))
    # After a full window there was one long gap, which hides how fast the requests before it were sent.
    sent = max(pace.sent_rate, _sent_lately(pace))
    return rate if sent >= _USED * pace.rate else min(rate, sent / _USED)


def _sent_lately(pace: Pace) -> float:
    """Requests a second that started in the last ten seconds or so since the last cut."""
    secs = _LATELY_SECS * (1 - exp(-pace.asking_secs / _LATELY_SECS))
    return pace.lately / secs if pace.sent > _FEW and secs > 0 else 0.0


def _cut(pace: Pace, factor: float, *, now: float, high: float) -> Pace:
    least = min(max(_LEAST_RATE, _LEAST_SHARE * pace.max_rate), pace.max_rate)
    return replace(
        pace,
        limit=max(1.0, pace.limit * max(_HALF, factor)),
        low=max(least, high * factor),
        high=max(least / _CLOSEST, high),
        climbed_secs=0.0,
        cut_at=now,
        asking_secs=0.0,
        sent=0,
        lately=0.0,
        silence_secs=max(0.0, pace.pause_until - now),
    )
