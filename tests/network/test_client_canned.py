"""The client on canned answers: what it makes of them when no network is involved."""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ServerDisconnectedError, ServerTimeoutError
from aioresponses import aioresponses

from config.errors import UnavailableError
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request

URL = "http://pi.corp.example/piwebapi"
GET = Request("GET", "/system")


class Canned(ClientResponse):
    """An answer as aioresponses 0.7.9 makes it, which does not know what aiohttp 3.14 wants beside."""

    def __init__(self, *where: Any, **given: Any) -> None:
        if "stream_writer" in signature(ClientResponse.__init__).parameters:
            given.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*where, **given)


def client() -> PIClient:
    return PIClient(ClientSettings(URL, retry_attempts=3, max_requests_per_second=1000.0, retry_initial_wait_secs=0.0))


async def test_a_canned_answer_is_taken() -> None:
    with aioresponses() as pi:
        pi.get(f"{URL}/system", body=b'{"ProductTitle":"PI Web API"}', response_class=Canned, headers={"X-One": "1"})
        async with client() as piweb:
            response = await piweb.send(GET)
    assert (response.status, response.body) == (200, b'{"ProductTitle":"PI Web API"}')
    assert response.headers["x-one"] == "1"


@pytest.mark.parametrize(
    "error", [ServerDisconnectedError(), ServerTimeoutError(), ClientPayloadError("half"), ConnectionResetError()]
)
async def test_every_way_to_lose_a_connection_is_tried_again(error: Exception) -> None:
    with aioresponses() as pi:
        pi.get(f"{URL}/system", exception=error)
        pi.get(f"{URL}/system", body=b"{}", response_class=Canned)
        async with client() as piweb:
            assert (await piweb.send(GET)).body == b"{}"
            assert piweb.statistics().retries == 1


async def test_losing_it_every_time_is_an_error_that_names_the_server() -> None:
    with aioresponses() as pi:
        pi.get(f"{URL}/system", exception=ServerDisconnectedError(), repeat=True)
        async with client() as piweb:
            with pytest.raises(UnavailableError, match=r"pi\.corp\.example closed the connection without an answer"):
                await piweb.send(GET)
