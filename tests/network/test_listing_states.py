"""Digital sets and their states come whole from servers that page them, whether or not they say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from engine.datasets.digital_states import StatesSource
from engine.datasets.request_mode import Mode
from engine.datasets.tags import WantedSets
from engine.net.client import ClientSettings, PIClient


class Server:
    """Sets s0 .. s{sets - 1} of `states` states each, at most `cap` things a page."""

    def __init__(self, sets: int = 1, states: int = 3, *, cap: int = 1_000, links: str = "given") -> None:
        self.sets, self.states, self.cap, self.links = sets, states, cap, links
        self.deaf = self.strict = False
        self.asked: list[str] = []

    def page(self, request: web.Request, items: list[dict[str, Any]]) -> web.Response:
        self.asked.append(request.path_qs)
        if self.strict and "startIndex" in request.query:
            return web.json_response({"Errors": ["The parameter 'startIndex' is not known."]}, status=400)
        start = 0 if self.deaf else int(request.query.get("startIndex", 0))
        end = start + min(self.cap, int(request.query.get("maxCount", 1_000)))
        links = {"Next": "there is one"} if end < len(items) and self.links == "given" else {}
        return web.json_response({"Items": items[start:end]} | ({"Links": links} if self.links != "missing" else {}))

    async def listing(self, request: web.Request) -> web.Response:
        return self.page(request, [{"WebId": f"F1MS{n}", "Name": f"s{n}"} for n in range(self.sets)])

    async def values(self, request: web.Request) -> web.Response:
        return self.page(request, [{"Name": f"n{code}", "Value": code} for code in range(self.states)])


@asynccontextmanager
async def source_of(server: Server) -> AsyncIterator[StatesSource]:
    app = web.Application()
    app.router.add_get("/dataservers/F1DS/enumerationsets", server.listing)
    app.router.add_get("/enumerationsets/{set}/enumerationvalues", server.values)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    [address] = runner.addresses
    url = f"http://127.0.0.1:{address[1]}"
    try:
        async with PIClient(ClientSettings(url=url, max_requests_per_second=10_000, max_in_flight=8)) as client:
            yield StatesSource(client, url, Mode.SINGLE, batch_size=1)
    finally:
        await runner.cleanup()


def wanted(*names: str) -> list[WantedSets]:
    return [WantedSets("DA", "F1DS", frozenset(names))]


@pytest.mark.parametrize("links", ["given", "empty", "missing"])
@pytest.mark.parametrize(
    ("sets", "states", "cap"), [(1, 3, 1_000), (1_001, 1_000, 1_000), (230, 512, 100), (300, 257, 256)]
)
async def test_all_sets_and_all_states_are_found(links: str, sets: int, states: int, cap: int) -> None:
    server = Server(sets, states, cap=cap, links=links)
    async with source_of(server) as source:
        read = await source.read(wanted("s0", f"s{sets - 1}"))
    assert read.unread == ()
    assert read.rows.num_rows == len({0, sets - 1}) * states


async def test_a_short_list_costs_no_more_than_before() -> None:
    server = Server(3, 40, links="missing")
    async with source_of(server) as source:
        await source.read(wanted("s0", "s1"))
    assert len(server.asked) == 3
    assert not any("startIndex" in path for path in server.asked)


@pytest.mark.parametrize("odd", ["deaf", "strict"])
async def test_a_server_without_paging_shows_all_there_is(odd: str) -> None:
    """As documented: what it is not to know it ignores, or refuses, and the set is whole all the same."""
    server = Server(50, 100, links="empty")
    setattr(server, odd, True)
    async with source_of(server) as source:
        read = await source.read(wanted("s49"))
    assert (read.unread, read.rows.num_rows) == ((), 100)


@pytest.mark.parametrize("odd", ["deaf", "strict"])
async def test_a_set_of_which_there_is_more_than_can_be_had_is_unread(odd: str) -> None:
    """A state that is not shown would count as removed."""
    server = Server(1, 100, cap=60)
    setattr(server, odd, True)
    async with source_of(server) as source:
        read = await source.read(wanted("s0"))
    assert read.rows.num_rows == 0
    assert [(name, "only a part" in why) for name, why in read.unread] == [("s0 of DA", True)]


async def test_sets_that_a_server_keeps_back_are_unread_with_the_reason() -> None:
    server = Server(100, 3, cap=60)
    server.deaf = True
    async with source_of(server) as source:
        read = await source.read(wanted("s1", "s99"))
    assert read.rows.num_rows == 3
    assert read.unread == (("s99 of DA", "the server shows only a part of its digital sets"),)
