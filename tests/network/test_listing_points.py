"""A long list of points comes in pages, several at a time, and whole, whatever the server makes of a page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from config import ExtractionConfig
from config.errors import ConfigurationError, UnavailableError
from engine.datasets.tags import ask_time, find_tags
from engine.net.client import ClientSettings, PIClient
from engine.piweb.times import parse_micros


class Server:
    """Points 0 .. total - 1 of one data server; at most `cap` a page, with links to the next page or without."""

    def __init__(self, total: int, *, cap: int = 1_000, links: bool = True, refuses_above: int = 1_000) -> None:
        self.total, self.cap, self.links, self.refuses_above = total, cap, links, refuses_above
        self.time: str | None = None
        self.deaf = False
        self.grows = False  # a point comes in front of all others once the first page was shown
        self.asked: list[tuple[int, int]] = []
        self.lookups = 0

    async def lookup(self, request: web.Request) -> web.Response:
        """One bad identifier is the answer to all, which some gateways make of a 207."""
        self.lookups += 1
        paths = request.query.getall("path")
        if any(not path.startswith("\\\\DA\\t") for path in paths):
            return web.json_response({"Errors": ["PI Point not found."]}, status=404)
        found = [{"WebId": f"F1DP{path[6:]}", "Name": path[5:], "Path": path} for path in paths]
        return web.json_response({"Items": [{"Identifier": one["Path"], "Object": one} for one in found]})

    async def servers(self, _request: web.Request) -> web.Response:
        clock = {"Date": "Tue, 05 Mar 2024 10:15:30 GMT"}
        return web.json_response({"Items": [{"WebId": "F1DS", "Name": "DA", "ServerTime": self.time}]}, headers=clock)

    async def points(self, request: web.Request) -> web.Response:
        start, count = int(request.query["startIndex"]), int(request.query["maxCount"])
        self.asked.append((start, count))
        if self.deaf:
            start = 0
        start -= self.grows and start > 0
        if request.query["nameFilter"] not in {"*", "t?"}:
            return web.json_response({"Links": {}, "Items": []})
        if count > self.refuses_above:
            return web.json_response({"Errors": ["maxCount is greater than the maximum allowed."]}, status=400)
        end = min(start + min(count, self.cap), self.total)
        items = [{"WebId": f"F1DP{n:06d}", "Name": f"t{n}"} for n in range(start, end)]
        more = {"Links": {"Next": "there is one"} if end < self.total else {}} if self.links else {}
        return web.json_response({**more, "Items": items})


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[PIClient]:
    app = web.Application()
    app.router.add_get("/dataservers", server.servers)
    app.router.add_get("/dataservers/F1DS/points", server.points)
    app.router.add_get("/points/multiple", server.lookup)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    settings = ClientSettings(url=f"http://127.0.0.1:{address[1]}", max_requests_per_second=10_000, max_in_flight=8)
    try:
        async with PIClient(settings) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("total", [0, 1, 999, 1_000, 1_001, 7_000, 12_345])
async def test_all_points_are_found_once(total: int, links: bool) -> None:
    server = Server(total, links=links)
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    assert [tag.name for tag in found.tags] == [f"t{n}" for n in range(total)]
    assert len(server.asked) <= total // 1_000 + 5
    assert len(set(server.asked)) == len(server.asked)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("cap", [1, 7, 400, 999])
async def test_a_server_that_gives_less_than_was_asked_for_is_followed(cap: int, links: bool) -> None:
    server = Server(cap * 9 + 1, cap=cap, links=links)
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    assert [tag.name for tag in found.tags] == [f"t{n}" for n in range(cap * 9 + 1)]


async def test_a_server_that_refuses_large_pages_is_asked_for_smaller_ones() -> None:
    server = Server(1_234, refuses_above=300)
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    assert [tag.name for tag in found.tags] == [f"t{n}" for n in range(1_234)]
    assert server.asked[0] == (0, 1_000)


@pytest.mark.parametrize("links", [True, False])
async def test_a_server_that_shows_the_same_page_again_is_not_asked_for_ever(links: bool) -> None:
    server = Server(2_500, links=links)
    server.deaf = True
    async with client_of(server) as client:
        with pytest.raises(
            UnavailableError, match=r"'\*': from 1,000 on the server shows the first ones again"
        ) as refused:
            await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    assert "startIndex" in refused.value.hint


async def test_a_point_that_is_created_meanwhile_shifts_the_pages_and_ends_nothing() -> None:
    """The last page holds nothing but a point that was shown already."""
    server = Server(1_000, links=False)
    server.grows = True
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    assert [tag.name for tag in found.tags] == [f"t{n}" for n in range(1_000)]
    assert len(server.asked) > 1


async def test_pages_come_side_by_side_once_the_list_has_shown_to_be_long() -> None:
    server = Server(20_000)
    async with client_of(server) as client:
        await find_tags(client, ExtractionConfig(tag_name_filter="*"))
    starts = [start for start, _ in server.asked]
    assert starts[0] == 0
    assert sorted(starts[1:3]) == [1_000, 2_000]
    assert sorted(starts[3:7]) == [3_000, 4_000, 5_000, 6_000]


@pytest.mark.parametrize(
    ("told", "now"),
    [
        ("2024-03-05T10:20:00.1234567Z", "2024-03-05T10:20:00.123456Z"),
        (None, "2024-03-05T10:15:30Z"),
        ("", "2024-03-05T10:15:30Z"),
        ("0001-01-01T00:00:00Z", "2024-03-05T10:15:30Z"),
        ("1970-01-01T00:00:00Z", "2024-03-05T10:15:30Z"),
        ("2024-03-05T10:20:00", "2024-03-05T10:15:30Z"),
    ],
)
async def test_an_archive_that_does_not_tell_its_time_leaves_it_to_the_pi_web_api(told: str | None, now: str) -> None:
    """Taken at its word, nothing would be due, and a run that read nothing would call that a success."""
    server = Server(1)
    server.time = told
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter="*"))
        assert await ask_time(client, ExtractionConfig()) == found.server_now == parse_micros(now)


async def test_a_name_that_is_no_points_is_told_and_a_pattern_without_points_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_of(Server(3)) as client:
        found = await find_tags(client, ExtractionConfig(tag_name_filter=["t?", "NO.SUCH", "U9.*"]))
    assert [tag.name for tag in found.tags] == ["t0", "t1", "t2"]
    assert found.unresolved == (("NO.SUCH", "no point that we may see has this name"),)
    assert [record.getMessage() for record in caplog.records if record.name == "osipi.tags"] == [
        "extraction.tag_name_filter: no point that we may see matches 'U9.*'"
    ]


async def test_a_name_for_which_a_whole_lookup_is_refused_costs_no_other() -> None:
    server = Server(0)
    async with client_of(server) as client:
        found = await find_tags(client, ExtractionConfig(tags=["t1", "GONE", "t2", "t3"]))
    assert [tag.name for tag in found.tags] == ["t1", "t2", "t3"]
    [(name, why)] = found.unresolved
    assert name.endswith("GONE")
    assert "PI Point not found." in why
    assert server.lookups == 5


async def test_a_server_that_refuses_every_lookup_is_given_up_after_some() -> None:
    server = Server(0)
    async with client_of(server) as client:
        with pytest.raises(ConfigurationError, match="PI Point not found"):
            await find_tags(client, ExtractionConfig(tags=[f"x{n}" for n in range(200)]))
    assert server.lookups < 60
