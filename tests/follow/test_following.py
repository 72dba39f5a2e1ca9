"""Following by a clock that leaps: days of cycles, outages, failures and discoveries, each at its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import from_mapping
from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExtractError,
    FencedError,
    UnavailableError,
)
from engine.flow.stop import Stop
from engine.model import Micros, Tag
from engine.run.follow import MAX_REFUSED_LOGINS, FollowCallbacks, Following
from engine.run.report import CycleResult
from engine.telemetry.events import Cleared, Cycled, DiscoveryFailed, Paused, RunEvent, Stopping, Summed
from engine.telemetry.freshness import Freshness
from tests.examples import examples
from tests.follow.virtual import in_virtual_time

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
CLASSES = {"interval": "1h", "classes": [{"name": "critical", "tags": "C*", "interval": "1m"}]}


def tag(name: str) -> Tag:
    return Tag(f"F{name}", name)


@dataclass
class Site:
    """A run to follow with: what is read takes as long, fails and gives out as told. Times are seconds from the start."""

    extraction: dict[str, Any] = field(default_factory=lambda: dict(CLASSES))
    tags: tuple[Tag, ...] = (tag("C1"), tag("C2"), tag("D1"))
    seconds: Callable[[int], float] = lambda _n: 0.0
    failing: Callable[[float, Tag], bool] = lambda _at, _tag: False
    down: Callable[[float], ExtractError | None] = lambda _at: None
    discovered: Callable[[float], tuple[Tag, ...] | None] = lambda _at: None
    cycles: list[tuple[float, float, tuple[str, ...]]] = field(default_factory=list)
    events: list[tuple[float, RunEvent]] = field(default_factory=list)
    accounts: list[float] = field(default_factory=list)
    results: list[tuple[float, CycleResult]] = field(default_factory=list)
    reading: int = 0
    start: float = 0.0

    @property
    def at(self) -> float:
        return round(asyncio.get_running_loop().time() - self.start, 3)

    async def server_now(self) -> Micros:
        if error := self.down(self.at):
            await asyncio.sleep(0.5)
            raise error
        return int(self.at * 1e6)

    async def cycle(self, tags: Sequence[Tag], now: Micros, *, since: float) -> CycleResult:
        assert not self.reading, "two cycles at once"
        self.reading += 1
        began = self.at
        await asyncio.sleep(self.seconds(len(self.cycles)))
        self.cycles.append((began, self.at, tuple(one.name for one in tags)))
        self.reading -= 1
        failed = {one.web_id: one.name for one in tags if self.failing(began, one)}
        return CycleResult(now, rows=len(tags), failed=failed)

    async def discover(self) -> None:
        if error := self.down(self.at):
            raise error
        self.tags = self.discovered(self.at) or self.tags

    async def account(self, _last: CycleResult) -> None:
        self.accounts.append(self.at)

    async def tell(self, last: CycleResult) -> None:
        self.results.append((self.at, last))

    async def _go(self, secs: float) -> CycleResult:
        self.start = asyncio.get_running_loop().time()
        stop = Stop()
        asyncio.get_running_loop().call_later(secs, stop.ask, "enough")
        callbacks = FollowCallbacks(
            tags=lambda: self.tags,
            server_now=self.server_now,
            cycle=self.cycle,
            discover=self.discover,
            add_metrics_row=self.account,
            freshness=lambda: Freshness(1.0, 2.0, 3.0, ()),
            tell=self.tell,
        )
        extraction = from_mapping({"extraction": self.extraction}).config.extraction
        last = await Following(
            extraction,
            callbacks,
            initial=CycleResult(0),
            emit=lambda event: self.events.append((self.at, event)),
            stop=stop,
        ).run()
        assert stop.asked == (self.at >= secs)
        return last

    def followed(self, secs: float) -> CycleResult:
        """Follow for so long; give the last cycle."""
        return in_virtual_time(self._go(secs))

    def told(self, kind: type[RunEvent]) -> list[tuple[float, Any]]:
        return [(at, event) for at, event in self.events if isinstance(event, kind)]


def test_two_classes_for_two_days_without_drift():
    site = Site(seconds=lambda n: 0.25 + n % 7)
    last = site.followed(2 * DAY + 1)
    assert last.stopped is None
    critical = [began for began, _, names in site.cycles if "C1" in names]
    other = [began for began, _, names in site.cycles if "D1" in names]
    assert critical == [n * MINUTE for n in range(2 * 24 * 60 + 1)]
    assert other == [n * HOUR for n in range(2 * 24 + 1)]
    # Those of an hour are read along with those of a minute.
    assert len(site.cycles) == len(critical)
    assert sum(event.skipped for _, event in site.told(Cycled)) == 0
    assert [event.number for _, event in site.told(Cycled)] == list(range(1, len(critical) + 1))
    assert [at for at, _ in site.told(Stopping)] == []  # the stop came within the last cycle


@examples(50)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=50))
def test_cycles_too_long_for_their_interval_skip_ticks_and_keep_the_grid(lengths: list[float]):
    site = Site(
        extraction={"interval": "90s", "classes": [{"name": "critical", "tags": "C*", "interval": "20s"}]},
        seconds=lambda n: lengths[n % len(lengths)],
    )
    site.followed(3000)
    for (_, ended, _), (began, _, _) in pairwise(site.cycles):
        assert began >= ended
    ticks = sum(len(event.classes) + event.skipped for _, event in site.told(Cycled))
    began = site.cycles[-1][0]
    # Every tick up to the last cycle was served or counted; a class not in it may have one to come that is read early.
    expected = int(began // 20) + 1 + int(began // 90) + 1
    assert expected <= ticks <= expected + 2
    for name, interval in (("C1", 20), ("D1", 90)):
        at = [began for began, _, names in site.cycles if name in names]
        assert all(b - a <= interval * 1.1 + max(lengths) + 0.01 for a, b in pairwise([*at, began]))


def test_a_tag_that_fails_waits_longer_and_longer_and_holds_up_no_other():
    mended = 5 * HOUR
    site = Site(failing=lambda at, one: one.name == "C1" and at < mended)
    site.followed(8 * HOUR)
    tried = [began / MINUTE for began, _, names in site.cycles if "C1" in names]
    # 1, 2, 4 .. cycles of a minute, then an hour.
    failing = [at for at in tried if at * MINUTE < mended]
    assert failing == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert [at for at in tried if at * MINUTE >= mended] == list(range(303, 8 * 60))
    assert [began / MINUTE for began, _, names in site.cycles if "C2" in names] == list(range(8 * 60))
    assert [(at / MINUTE, event.tag) for at, event in site.told(Cleared)] == [(303, "C1")]
    assert site.told(Cycled)[200][1].failing == 1
    assert site.told(Cycled)[-1][1].failing == 0


def test_a_source_that_is_down_is_waited_for_with_growing_pauses():
    site = Site(down=lambda at: UnavailableError("no answer") if 100 < at < 1000 else None)
    last = site.followed(HOUR + 1)
    assert last.stopped is None
    assert [event.seconds for _, event in site.told(Paused)] == [5, 10, 20, 40, 80, 160, 300, 300]
    gone, back = (began for began, _, _ in site.cycles[1:3])
    assert (gone, back) == (60, 1039.0)
    # What was missed is passed over, and the grid is where it was.
    assert site.told(Cycled)[2][1].skipped == 15
    assert [began for began, _, _ in site.cycles[3:6]] == [1080, 1140, 1200]
    assert site.cycles[-1][2] == ("C1", "C2", "D1")


def test_an_outage_says_nothing_of_a_tag_that_fails():
    site = Site(
        failing=lambda _at, one: one.name == "C1",
        down=lambda at: UnavailableError("no answer") if 170 < at < 250 else None,
    )
    site.followed(17 * MINUTE)
    assert site.told(Cleared) == []
    # Its third try was due in the outage. It comes after it, and counts as the third.
    assert [began // MINUTE for began, _, names in site.cycles if "C1" in names] == [0, 1, 4, 8, 16]


def test_told_to_stop_while_the_source_is_down():
    site = Site(down=lambda at: UnavailableError("no answer") if at > 100 else None)
    last = site.followed(1000)
    assert isinstance(last.stopped, UnavailableError)
    assert len(last.unfinished) == 2
    assert len(site.cycles) == 2


def test_one_outage_after_another_begins_with_a_short_pause_again():
    site = Site(down=lambda at: UnavailableError("no answer") if at % 600 > 300 else None)
    site.followed(1199)
    pauses = [event.seconds for _, event in site.told(Paused)]
    assert pauses == [5, 10, 20, 40, 80, 160, 5, 10, 20, 40, 80, 160]


def test_a_stop_during_a_question_that_is_not_answered():
    async def never() -> Micros:
        await asyncio.Event().wait()
        raise AssertionError

    site = Site()
    site.server_now = never  # type: ignore[method-assign]
    assert site.followed(30) == CycleResult(0)
    assert site.cycles == []


def test_what_waiting_cannot_mend_ends_it():
    site = Site(down=lambda at: AccessDeniedError("not allowed") if at > 100 else None)
    last = site.followed(HOUR)
    assert isinstance(last.stopped, AccessDeniedError)
    assert site.told(Paused) == []
    assert site.events[-1][0] < 121


def test_a_login_that_is_refused_for_a_while_is_waited_for():
    site = Site(down=lambda at: AuthenticationError("not known") if 100 < at < 130 else None)
    assert site.followed(HOUR).stopped is None
    assert [event.seconds for _, event in site.told(Paused)] == [5.0, 10.0]


def test_a_login_that_worked_in_between_is_refused_for_the_first_time_again():
    site = Site(down=lambda at: AuthenticationError("not known") if at > 60 and at % 600 < 10 else None)
    assert site.followed(HOUR).stopped is None
    assert len(site.told(Paused)) > MAX_REFUSED_LOGINS


def test_a_login_that_is_refused_for_good_ends_it_after_few_tries():
    site = Site(down=lambda at: AuthenticationError("not known") if at > 100 else None)
    assert isinstance(site.followed(HOUR).stopped, AuthenticationError)
    assert len(site.told(Paused)) == MAX_REFUSED_LOGINS - 1
    assert site.events[-1][0] < 200


def test_a_rival_ends_it():
    class Fenced(Site):
        async def cycle(self, tags: Sequence[Tag], now: Micros, *, since: float) -> CycleResult:
            raise FencedError("another run has committed")

    with pytest.raises(ExceptionGroup) as ended:
        Fenced().followed(HOUR)
    assert ended.group_contains(FencedError)


def test_tags_come_and_go_with_discovery():
    later = {50: (tag("C1"), tag("D1"), tag("D2")), 100: (tag("D1"), tag("D2"))}
    site = Site(
        extraction={**CLASSES, "discovery_interval": "50m"},
        discovered=lambda at: later.get(round(at / MINUTE)),
        failing=lambda _at, one: one.name == "C2",
    )
    site.followed(3 * HOUR)
    read = {name: [began / MINUTE for began, _, names in site.cycles if name in names] for name in ("C1", "C2", "D2")}
    # The discovery and the cycle of one moment may come in any order.
    assert read["C1"] in (list(range(100)), list(range(101)))
    assert read["C2"] == [0, 1, 3, 7, 15, 31]
    assert read["D2"] == [60, 120]
    # What failed and is gone fails no more.
    assert [(at // MINUTE, event.tag) for at, event in site.told(Cleared)] in ([(50, "C2")], [(51, "C2")])


@pytest.mark.parametrize("error", [UnavailableError("no answer"), ConfigurationError("no such server")])
def test_a_failed_discovery_is_a_warning(error: ExtractError):
    class Undiscovered(Site):
        async def discover(self) -> None:
            raise error

    site = Undiscovered()
    assert site.followed(2.5 * HOUR).stopped is None
    assert [round(at / HOUR, 3) for at, _ in site.told(DiscoveryFailed)] == [1, 2]
    assert len(site.cycles) == 150


def test_a_discovery_that_meets_a_refusal_ends_it():
    site = Site(down=lambda at: AccessDeniedError("not allowed") if at == HOUR else None)
    with pytest.raises(ExceptionGroup) as ended:
        site.followed(2 * HOUR)
    assert ended.group_contains(AccessDeniedError)


def test_sums_every_ten_minutes_and_rows_every_hour():
    site = Site(seconds=lambda _n: 2.0)
    site.followed(6 * HOUR + 30)
    sums = site.told(Summed)
    assert [at for at, _ in sums] == [n * 600 + 2.0 for n in range(1, 37)]
    assert sum(event.cycles for _, event in sums) == 361
    assert sum(event.rows for _, event in sums) == 2 * 361 + 7
    assert sums[0][1].fresh == Freshness(1.0, 2.0, 3.0, ())
    assert site.accounts == [n * HOUR + 2 for n in range(1, 7)]


def test_a_class_without_tags_costs_nothing():
    site = Site(tags=(tag("D1"),))
    site.followed(DAY + 1)
    assert [began / HOUR for began, _, _ in site.cycles] == list(range(25))
