"""A limit of any size on URL or body, signalled in any way, costs a few refusals and no tag."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ExtractionConfig
from config.errors import ConfigurationError, ExtractError, SplitError, TagError
from engine.datasets.recorded_values import RecordedSource
from engine.datasets.request_mode import Mode
from engine.datasets.tags import find_tags
from engine.model import Ask, Tag
from engine.net.client import ClientSettings, PIClient
from engine.plan.planner import Chunk
from engine.plan.tag_cursor import RequestGroup
from tests.examples import examples
from tests.network.strict_layer import BODIES, CLOSED, Layer, serving
from tests.variants import crossed

STATUSES = (400, 403, 404, 413, 414, 431, CLOSED)
TAGS = [Tag(f"F1DP{n:06d}{'x' * (n % 7)}", f"T{n}") for n in range(120)]
# What one request of a single tag needs at least: without selectedFields, where that is what it takes.
BARE_URL, BARE_BODY = 200, 700
START, END = 1_704_067_200_000_000, 1_704_153_600_000_000


def client_of(url: str) -> PIClient:
    return PIClient(
        ClientSettings(
            url,
            max_requests_per_second=100_000,
            max_in_flight=8,
            retry_attempts=2,
            retry_initial_wait_secs=0.001,
            retry_max_wait_secs=0.002,
        )
    )


def refusals_allowed(longest: int, limit: int, *, attempts: int = 1) -> float:
    """The search halves down to the limit, and then halves what is unknown until it is an eighth; each of these
    may be refused, as often as it is sent: by the client, and a closed connection once more by aiohttp. A few more
    for requests that were built before it was learnt.
    """
    return attempts * (log2(max(2, longest / limit)) + 3 + 4)


async def read_all(source: RecordedSource, asks: list[Ask]) -> tuple[set[str], dict[str, ExtractError]]:
    """What a plan does: cut, ask, and halve what is refused for its length."""
    done: set[str] = set()
    failed: dict[str, ExtractError] = {}
    waiting = [asks[n : n + 60] for n in range(0, len(asks), 60)]
    while waiting:
        pack = waiting.pop(0)
        for part in source.split(Chunk(RequestGroup(0, []), (), tuple(pack))):
            some = list(part.asks)
            try:
                outcomes = (await source.read(some)).answer.outcomes
            except SplitError as split:
                if split.too_much != "request" or len(some) == 1:
                    raise
                waiting[:0] = [some[: len(some) // 2], some[len(some) // 2 :]]
            except TagError as error:
                failed[some[0].tag.name] = error
            else:
                done |= {outcome.ask.tag.name for outcome in outcomes if outcome.error is None and outcome.rows}
    return done, failed


@examples(12)
@given(
    status=st.sampled_from(STATUSES),
    body=st.sampled_from(BODIES),
    limit=st.integers(BARE_URL, 9_000),
)
def test_tags_are_looked_up_for_any_length_of_a_url_that_passes(status: int, body: str, limit: int) -> None:
    async def go() -> None:
        layer = Layer(TAGS, limit, status=status, body=body)
        async with serving(layer) as url, client_of(url) as client:
            if status == CLOSED and limit < 500:
                return  # of one tag there is no shorter request: that is no answer, and no reason to drop fields
            found = await find_tags(client, ExtractionConfig(tags=tuple(tag.web_id for tag in TAGS)))
            assert {tag.web_id for tag in found.tags} == {tag.web_id for tag in TAGS}
            # One more for each kind of request that needs to drop selectedFields.
            allowed = refusals_allowed(8_000, limit, attempts=4 if status == CLOSED else 1) + 2
            assert layer.refusals <= allowed
            if layer.refusals and status != CLOSED and limit > 700:
                [advice] = client.limits.advice()
                assert advice.endswith(f"set pi_web_api.max_url_chars: {layer.longest}")

    asyncio.run(go())


@examples(15)
@given(
    status=st.sampled_from(STATUSES),
    body=st.sampled_from(BODIES),
    limit=st.integers(BARE_BODY, 40_000),
    mode=st.sampled_from([Mode.BATCH, Mode.STREAMSET]),
)
def test_values_are_read_for_any_length_of_a_request_that_passes(
    status: int, body: str, limit: int, mode: Mode
) -> None:
    async def go() -> None:
        layer = Layer(TAGS, limit, of_body=mode is Mode.BATCH, status=status, body=body)
        async with serving(layer) as url, client_of(url) as client:
            await find_tags(client, ExtractionConfig(tags=(TAGS[0].web_id,)))
            with ThreadPoolExecutor(1) as executor:
                source = RecordedSource(client, url, mode, executor, now=lambda: 0, may_change=True)
                done, failed = await read_all(source, [Ask(tag, START, END, 5) for tag in TAGS])
            assert not failed
            assert done == {tag.name for tag in TAGS}
            longest = 40_000 if mode is Mode.BATCH else 8_000
            assert layer.refusals <= refusals_allowed(longest, limit, attempts=4 if status == CLOSED else 1)

    asyncio.run(go())


@pytest.mark.parametrize(("mode", "status"), crossed(Mode, [400, 403, 404]))
async def test_what_is_refused_for_one_tag_costs_that_tag_and_no_length(status: int, mode: Mode) -> None:
    layer = Layer(TAGS, status=status, refuses=TAGS[77].web_id)
    async with serving(layer) as url, client_of(url) as client:
        await find_tags(client, ExtractionConfig(tags=(TAGS[0].web_id,)))
        with ThreadPoolExecutor(1) as executor:
            source = RecordedSource(client, url, mode, executor, now=lambda: 0)
            await read_all(source, [Ask(TAGS[0], START, END, 5)])
            done, failed = await read_all(source, [Ask(tag, START, END, 5) for tag in TAGS])
            assert done == {tag.name for tag in TAGS} - {"T77"}
            assert str(failed["T77"]).startswith("reading tag T77: something before PI Web API (layer/1) answered")
            if mode is Mode.SINGLE:
                return
            # In time longer requests are tried again, and pass.
            before = layer.requests
            others = [Ask(tag, START, END, 5) for tag in TAGS if tag.name != "T77"]
            for _ in range(10):
                await read_all(source, others)
            assert layer.requests - before < 10 * len(others) / 3


@pytest.mark.parametrize("status", [400, 403, 404, 413, 414])
@pytest.mark.parametrize("body", BODIES)
async def test_an_address_that_takes_nothing_is_a_wrong_address(status: int, body: str) -> None:
    layer = Layer(TAGS, 0, status=status, body=body)
    async with serving(layer) as url, client_of(url) as client:
        with pytest.raises(ConfigurationError, match=r"something before PI Web API \(layer/1\) answered"):
            await find_tags(client, ExtractionConfig(tags=(TAGS[0].web_id,)))
    assert layer.requests <= 2
