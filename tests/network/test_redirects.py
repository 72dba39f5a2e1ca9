"""No request that carries a credential follows a redirect: the place it points to never hears of us."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from config.errors import ConfigurationError, ExtractError, UnavailableError
from config.secrets import workspace_secrets
from engine.net.auth import Basic, OAuth, OAuthSettings
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from writers.unity import transport
from writers.unity.transport import Transport

SECRET = "planted-token-4711"
SIGNATURE = "signed-4711"


class Handler(BaseHTTPRequestHandler):
    answer: ClassVar[Callable[[BaseHTTPRequestHandler], None]]
    heard: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.heard.append(f"{self.command} {self.path}\n{self.headers}")
        type(self).answer(self)

    do_POST = do_GET  # noqa: N815 - http.server's

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server with one answer to everything; gives its address, and what it has heard."""
    heard: list[str] = []
    kind = type("Kind", (Handler,), {"answer": staticmethod(answer), "heard": heard})
    http = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", heard
    finally:
        http.shutdown()
        http.server_close()


def welcome(handler: BaseHTTPRequestHandler) -> None:
    body = b'{"access_token": "t", "token_endpoint": "http://127.0.0.1:9/t", "value": "dA=="}'
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def sends_to(target: str, status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{target}/caught?signature={SIGNATURE}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


async def ask_the_catalog(url: str) -> None:
    Transport(url, lambda: {"X-Databricks-Azure-SP-Management-Token": SECRET}).get("schemas/main.bronze")


async def commit_in_the_catalog(url: str) -> None:
    Transport(url, lambda: {"Authorization": f"Bearer {SECRET}"}).post("tables", {"name": SECRET})


async def read_a_secret(url: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATABRICKS_HOST", url)
        patched.setenv("DATABRICKS_TOKEN", SECRET)
        workspace_secrets()("scope", "key")


async def ask_pi(url: str) -> None:
    async with PIClient(ClientSettings(url=f"{url}/piwebapi", auth=Basic("user", SECRET))) as client:
        await client.send(Request("GET", "/system"))


async def fetch_a_token(url: str) -> None:
    auth = OAuth(OAuthSettings(url, "client", SECRET, token_url=f"{url}/token"))
    async with PIClient(ClientSettings(url=f"{url}/piwebapi", auth=auth)) as client:
        await client.send(Request("GET", "/system"))


async def look_for_the_token_endpoint(url: str) -> None:
    auth = OAuth(OAuthSettings(f"{url}/piwebapi", "client", SECRET))
    async with PIClient(ClientSettings(url=f"{url}/piwebapi", auth=auth)) as client:
        await client.send(Request("GET", "/system"))


ANONYMOUS = {look_for_the_token_endpoint}


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(
    "ask",
    [ask_the_catalog, commit_in_the_catalog, ask_pi, fetch_a_token, look_for_the_token_endpoint, read_a_secret],
)
async def test_no_redirect_is_followed_with_a_credential(ask: Callable, status: int) -> None:
    with (
        server(welcome) as (thief, caught),
        server(sends_to(thief, status)) as (front, heard),
        pytest.raises(ExtractError) as raised,
    ):
        await ask(front)
    said = raised.value.message + raised.value.hint
    assert any(SECRET in request or "Authorization" in request for request in heard) or ask in ANONYMOUS
    assert "redirect" in said.lower() or "points to" in said
    assert SECRET not in said
    assert SIGNATURE not in said
    if ask is read_a_secret:
        # The SDK looks, without a login, what kind of host it is.
        assert not any(SECRET in request or "Authorization" in request for request in caught)
    else:
        assert not caught
        assert isinstance(raised.value, ConfigurationError)
        assert raised.value.hint


def test_an_answer_of_the_catalog_is_bounded_while_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20), 9)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    with server(answer) as (url, _), pytest.raises(UnavailableError, match="more than 1048576 bytes"):
        Transport(url, dict, sleep=lambda _secs: None).get("tables/a.b.c")
