"""Counting where only so much is counted at once: tags, days, or the hours of a day, whatever says that it was more.

The statuses are those that people report of PI Web API and of what stands before it: 500 with [-11091] when an
archive collects more than ArcMaxCollect, 408 and 504 of layers that wait no longer, 413, 414 and 431, pages of IIS
for URLs (404.15) and bodies (404.13) that are too long, connections that a proxy drops.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import ceil, log2
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ExtractError, RetryError, ThrottledError, UnavailableError
from engine.datasets.counts import CountSource, asks_for
from engine.datasets.request_mode import Mode
from engine.model import Ask, Tag, Window
from engine.net.client import ClientSettings, PIClient
from engine.piweb import requests
from engine.piweb.counts import NOT_COUNTED
from engine.piweb.times import iso_text, parse_micros
from engine.plan.tag_cursor import RequestLimits
from engine.plan.timeline import DAY, HOUR
from tests.examples import examples
from tests.patience import patiently

MIDNIGHT = 1_709_596_800_000_000  # 2024-03-05T00:00:00Z
PAGE = "<html><head><title>404 - File or directory not found.</title></head></html>"


@dataclass
class Refusal:
    """What is said to too much at once; without a status the connection is dropped."""

    status: int | None
    body: str = '{"Errors": ["no"]}'
    kind: str = "application/json"


REFUSALS = {
    "408": Refusal(408, "<html>Request Timeout</html>", "text/html"),
    "413": Refusal(413, PAGE, "text/html"),
    "414": Refusal(414, PAGE, "text/html"),
    "431": Refusal(431, PAGE, "text/html"),
    "500": Refusal(500, '{"Errors": ["[-11091] Event collection exceeded the maximum allowed"]}'),
    "502": Refusal(502, "<html>Bad Gateway</html>", "text/html"),
    "503": Refusal(503, "<html>Service Unavailable</html>", "text/html"),
    "504": Refusal(504, "<html>504 Gateway Time-out</html>", "text/html"),
    "dropped": Refusal(None),
}
SILENCE = Refusal(None, "")
PAGES = {
    "400": Refusal(400, PAGE, "text/html"),
    "403": Refusal(403, PAGE, "text/html"),
    "404": Refusal(404, PAGE, "text/html"),
}


@dataclass
class Scales:
    """A server that counts 1 event an hour of every tag, where it is willing to.

    `too_much` is asked of every request from outside (its tags, the longest window in days), `of_one` of each tag. Of more
    than `most_figures` the first are sent without a word.
    """

    too_much: Callable[[set[str], float], bool] = lambda _tags, _days: False
    most_figures: int = 1_000
    of_one: Callable[[str, int, int], bool] = lambda _tag, _start, _end: False
    refusal: Refusal = field(default_factory=lambda: REFUSALS["504"])
    down: bool = False
    asked: list[tuple[int, float, bool]] = field(default_factory=list)  # tags, days, whether it was answered
    small: int = 0

    def summary(self, tag: str, query: dict[str, str]) -> tuple[int, object]:
        start, end = parse_micros(query["startTime"]), parse_micros(query["endTime"]) + 1
        if self.of_one(tag, start, end):
            return self.refusal.status or 500, {"Errors": ["[-11002] Record Header Data Mismatch"]}
        step = DAY if "summaryDuration" in query else end - start
        stamps = range(start, end, step)
        items = [
            {"Type": "Count", "Value": {"Timestamp": iso_text(at), "Value": -(-(min(at + step, end) - at) // HOUR)}}
            for at in stamps
        ][: self.most_figures]
        return 200, {"Items": items}

    async def handle(self, request: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=504, text="<html>Gateway Time-out</html>")
        if request.path.endswith("/system"):
            self.small += 1
            return web.json_response({"ProductVersion": "1"})
        body = await request.read()
        if request.method == "POST":
            wanted = [urlsplit(part["Resource"]) for part in json.loads(body).values()]
        else:
            wanted = [urlsplit(request.raw_path)]
        asks = []
        for url in wanted:
            pairs = parse_qsl(url.query)
            tags = [value for key, value in pairs if key == "webId"] or [url.path.split("/")[-2]]
            asks += [(tag, dict(pairs)) for tag in tags]
        days = max((parse_micros(q["endTime"]) + 1 - parse_micros(q["startTime"])) / DAY for _, q in asks)
        refused = self.too_much({tag for tag, _ in asks}, days)
        self.asked.append((len({tag for tag, _ in asks}), days, not refused))
        if refused:
            if self.refusal is SILENCE:
                await asyncio.Event().wait()
            if self.refusal.status is None:
                assert request.transport is not None
                request.transport.close()
            return web.Response(
                status=self.refusal.status or 500, text=self.refusal.body, content_type=self.refusal.kind
            )
        answers = [(tag, *self.summary(tag, query)) for tag, query in asks]
        if request.method == "POST":
            parts = {str(n): {"Status": status, "Content": said} for n, (_, status, said) in enumerate(answers)}
            return web.json_response(parts, status=207)
        failed = next((status for _, status, _ in answers if status != 200), None)
        if failed is not None:
            return web.json_response({"Errors": ["[-11002] Record Header Data Mismatch"]}, status=failed)
        if "streamsets" in request.path:
            return web.json_response({"Items": [{"WebId": tag, **said} for tag, _, said in answers]})
        return web.json_response(answers[0][2])


@asynccontextmanager
async def counting(
    scales: Scales, mode: Mode, *, workers: int = 1, timeout_secs: float = 30.0
) -> AsyncIterator[CountSource]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{tail:.*}", scales.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/piwebapi"
    settings_ = ClientSettings(
        url=url,
        timeout_secs=timeout_secs,
        max_requests_per_second=100_000,
        retry_attempts=1,
        retry_initial_wait_secs=0.0,
        retry_max_wait_secs=0.0,
    )
    try:
        async with PIClient(settings_) as client:
            with suppress(ExtractError):
                await client.send(requests.system())  # as a run has reached PI before it counts
            yield CountSource(client, url, mode, RequestLimits(), workers=workers)
    finally:
        await runner.cleanup()


def tags_of(number: int) -> list[Tag]:
    return [Tag(f"F1DPAAAAAAAAAAAAAAAAAAAA{n:06d}", f"T{n}") for n in range(number)]


async def counted(source: CountSource, number: int, days: int, first: int = 0) -> dict[str, tuple[int, ...]]:
    """By the name of the tag what was counted, of those that have no error."""
    window = Window(MIDNIGHT + first * DAY, MIDNIGHT + (first + days) * DAY)
    asks: list[Ask] = [ask for tag in tags_of(number) for ask in asks_for(tag, window, RequestLimits())]
    found = [each async for each in source.counts(asks)]
    assert sorted(each.ask.tag.name for each in found) == sorted(ask.tag.name for ask in asks)
    return {each.ask.tag.name: each.days for each in found if each.error is None}


def whole(number: int, days: int) -> dict[str, tuple[int, ...]]:
    return {f"T{n}": (24,) * days for n in range(number)}


def refusals(tags: int, days: int) -> int:
    """The most requests that may be refused before it is known how much is counted at once.

    Halving finds one limit, and, where tags and days have a limit each, the other one after it.
    """
    return 2 * ceil(log2(days)) + ceil(log2(tags)) + 3


def bound(tags: int, days: int, most_tags: int, most_days: int) -> int:
    """The most requests that counting may take for one pack of tags where so much is counted at once.

    Halving finds more than half of what is counted. What had been cut on the way to it stays cut, in the first pack.
    """
    if most_tags >= tags and most_days >= days:
        return 1
    longest = ceil(most_days / 2) if most_tags >= tags else 1
    return refusals(tags, days) + 2 * ceil(days / longest) * ceil(tags / ceil(most_tags / 2))


@pytest.mark.parametrize(
    ("mode", "refusal"),
    [
        *((Mode.BATCH, each) for each in (*REFUSALS, *PAGES)),
        *((mode, each) for mode in (Mode.STREAMSET, Mode.SINGLE) for each in ("500", "403", "dropped")),
    ],
)
async def test_a_shorter_window_is_counted_after_every_refusal(mode: Mode, refusal: str):
    scales = Scales(too_much=lambda _, days: days > 7, refusal={**REFUSALS, **PAGES}[refusal])
    async with counting(scales, mode) as source:
        assert await counted(source, 6, 30) == whole(6, 30)
        assert source.refused == {}
        before = len(scales.asked)
        assert await counted(source, 6, 30, first=30) == whole(6, 30)
        assert all(answered for _, _, answered in scales.asked[before:]), "what works is remembered"


@pytest.mark.parametrize(
    ("mode", "refusal"),
    [
        *((Mode.BATCH, each) for each in (*REFUSALS, *PAGES)),
        *((Mode.STREAMSET, each) for each in ("414", "404", "504")),
    ],
)
async def test_fewer_tags_are_counted_after_every_refusal(mode: Mode, refusal: str):
    scales = Scales(too_much=lambda tags, _: len(tags) > 5, refusal={**REFUSALS, **PAGES}[refusal])
    async with counting(scales, mode) as source:
        assert await counted(source, 24, 8) == whole(24, 8)
        before = len(scales.asked)
        assert await counted(source, 24, 8, first=8) == whole(24, 8)
        again = scales.asked[before:]
        assert all(answered for _, _, answered in again)
        assert max(days for _, days, _ in again) == 8, "it were the tags that were too many, not the days"
        assert len(again) <= ceil(24 / 3)


@examples(15)
@given(
    st.integers(1, 12), st.integers(1, 20), st.integers(1, 14), st.integers(1, 24), st.sampled_from([Mode.BATCH, Mode.STREAMSET]),
    # These two speak of the request's length, which the days do not change.
    st.sampled_from(sorted(set(REFUSALS) - {"414", "431"})),
)  # fmt: skip
async def test_of_any_limits_all_is_counted_in_so_many_requests(
    number: int, days: int, most_tags: int, most_days: int, mode: Mode, refusal: str
):
    scales = Scales(lambda tags, length: len(tags) > most_tags or length > most_days, refusal=REFUSALS[refusal])
    async with counting(scales, mode) as source:
        assert await counted(source, number, days) == whole(number, days)
        assert len(scales.asked) <= bound(number, days, most_tags, most_days)
        assert await counted(source, number, days, first=days) == whole(number, days)
        assert sum(not answered for _, _, answered in scales.asked) <= refusals(number, days)
        before = len(scales.asked)
        assert await counted(source, number, days, first=2 * days) == whole(number, days)
        assert all(answered for _, _, answered in scales.asked[before:]), "what works is remembered"
        assert scales.small <= refusals(number, days)


async def test_where_our_own_patience_ends_less_is_asked_for():
    scales = Scales(too_much=lambda _, days: days > 7, refusal=SILENCE)
    async with counting(scales, Mode.BATCH, timeout_secs=patiently(0.3)) as source:
        assert await counted(source, 6, 30) == whole(6, 30)
        assert sum(not answered for _, _, answered in scales.asked) <= refusals(6, 30)


@pytest.mark.parametrize("hours", [12, 5, 1])
async def test_a_day_that_is_too_much_is_the_sum_of_its_hours(hours: int):
    scales = Scales(too_much=lambda _, days: days > hours / 24)
    async with counting(scales, Mode.BATCH) as source:
        assert await counted(source, 1, 2) == whole(1, 2)
        assert len(scales.asked) <= 2 * 2 * (24 // hours + 6)


@pytest.mark.parametrize("mode", Mode)
@examples(12)
@given(at=st.integers(0, 16 * 24 - 1), bad=st.integers(0, 7), status=st.sampled_from([500, 502, 504]))
async def test_a_damaged_hour_of_one_tag_costs_its_day_alone(mode: Mode, at: int, bad: int, status: int):
    """One damaged record fails every range that touches it (500 [-11002], as users of PIconnect report)."""
    instant, name = MIDNIGHT + at * HOUR + HOUR // 2, tags_of(8)[bad].web_id
    scales = Scales(of_one=lambda tag, start, end: tag == name and start <= instant < end, refusal=Refusal(status))
    async with counting(scales, mode) as source:
        found = await counted(source, 8, 16)
        expected = whole(8, 16)
        days = list(expected[f"T{bad}"])
        days[at // 24] = NOT_COUNTED
        # A first day that fails ends it: of a tag that was never counted, no second is tried.
        assert {n: d for n, d in found.items() if n != f"T{bad}"} == {
            n: d for n, d in expected.items() if n != f"T{bad}"
        }
        assert found.get(f"T{bad}") in ([tuple(days)] if at >= 24 else [tuple(days), None, (NOT_COUNTED,) * 16])
        assert "-11002" in str({**source.reasons, **source.refused}[name])
        alone = 8 if mode is Mode.SINGLE else 1
        narrowing = ceil(log2(16)) + ceil(log2(8)) + ceil(log2(24))
        assert len(scales.asked) <= alone + 2 * narrowing + 2 * 16


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_tag_that_is_never_counted_holds_up_no_other(mode: Mode, status: int):
    bad = {tag.web_id for tag in tags_of(40)[10:13]}
    scales = Scales(of_one=lambda tag, *_: tag in bad, refusal=Refusal(status))
    async with counting(scales, mode) as source:
        found = await counted(source, 40, 8)
        assert found == {name: days for name, days in whole(40, 8).items() if name not in {"T10", "T11", "T12"}}
        assert set(source.refused) == bad
        narrowing = ceil(log2(8)) + ceil(log2(40)) + ceil(log2(24))
        assert len(scales.asked) <= 40 + 2 * len(bad) * narrowing + 2 * 8
        before = len(scales.asked)
        await counted_again(source, 40)
        assert len(scales.asked) - before == {Mode.BATCH: 1, Mode.STREAMSET: 1, Mode.SINGLE: 37}[mode]


async def counted_again(source: CountSource, number: int) -> None:
    window = Window(MIDNIGHT + 8 * DAY, MIDNIGHT + 16 * DAY)
    asks = [ask for tag in tags_of(number) for ask in asks_for(tag, window, RequestLimits())]
    assert {each.days async for each in source.counts(asks)} == {(24,) * 8}


@pytest.mark.parametrize("mode", Mode)
async def test_a_source_that_is_down_ends_it_after_a_few_requests(mode: Mode):
    scales = Scales(down=True)
    async with counting(scales, mode) as source:
        with pytest.raises(UnavailableError, match="504"):
            await counted(source, 300, 30)
        assert scales.asked == []


@pytest.mark.parametrize("mode", Mode)
async def test_a_source_that_counts_nothing_at_all_ends_it_and_is_not_asked_for_each_tag(mode: Mode):
    scales = Scales(too_much=lambda *_: True)
    async with counting(scales, mode) as source:
        with pytest.raises(RetryError, match="504"):
            await counted(source, 300, 30)
        assert len(scales.asked) <= 2 * 5 * (ceil(log2(30)) + ceil(log2(300)) + ceil(log2(24)))


@pytest.mark.parametrize("mode", Mode)
async def test_a_few_tags_of_which_none_is_counted_are_told_of(mode: Mode):
    scales = Scales(of_one=lambda *_: True, refusal=Refusal(500))
    async with counting(scales, mode) as source:
        assert await counted(source, 2, 8) == {}
        assert len(source.refused) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_page_before_pi_that_stands_before_everything_is_an_error_of_the_setup(status: int):
    scales = Scales(too_much=lambda *_: True, refusal=Refusal(status, PAGE, "text/html"))
    async with counting(scales, Mode.BATCH) as source:
        with pytest.raises(ExtractError, match=str(status)):
            await counted(source, 30, 30)


async def test_a_server_that_asks_for_patience_is_not_asked_for_less():
    """503 with Retry-After says when to come again, and nothing of how much was asked."""
    async with counting(Scales(too_much=lambda *_: True, refusal=Refusal(429)), Mode.BATCH) as source:
        with pytest.raises(ThrottledError):
            await counted(source, 30, 30)


@examples(15)
@given(days=st.integers(1, 20), most=st.integers(1, 20))
async def test_days_that_an_answer_leaves_out_are_asked_for_again(days: int, most: int):
    scales = Scales(most_figures=most)
    async with counting(scales, Mode.BATCH) as source:
        [(_, found)] = (await counted(source, 1, days)).items()
        assert found == (24,) * min(days, most) + (NOT_COUNTED,) * (days - most)
        rest = Ask(tags_of(1)[0], MIDNIGHT + min(days, most) * DAY, MIDNIGHT + days * DAY, 1)
        if rest.start < rest.end:
            assert (await source.once_more(rest)).days == (24,) * (days - most)
            assert len(scales.asked) <= 1 + 2 * days


async def test_what_is_always_left_out_is_not_asked_for_for_ever():
    scales = Scales(most_figures=0)
    async with counting(scales, Mode.BATCH) as source:
        for tag in tags_of(60):
            nothing = await source.once_more(Ask(tag, MIDNIGHT, MIDNIGHT + 8 * DAY, 1))
            assert nothing.days == (NOT_COUNTED,) * 8
        assert len(scales.asked) <= 2 * (20 + 8)
