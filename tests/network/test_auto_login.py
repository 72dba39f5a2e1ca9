"""auth_type auto: what the server offers, the strongest first, and nothing before it asks."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from config.errors import AuthenticationError, UnavailableError
from engine.net.auth import auth_from
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from tests.network.conftest import Certificates
from tests.network.ntlm_server import PASSWORD, USER, NtlmServer, credentials_file
from tests.network.sinner import Sin, Sinner, answer

GET = Request("GET", "/system")


def client(pi: Sinner, url: str = "", **given: Any) -> PIClient:
    fields = {"username": None, "password": None, "token": None, "oauth": None, **given}
    auth = auth_from(SimpleNamespace(url=url or pi.url, auth_type="auto", **fields))  # type: ignore[arg-type]
    return PIClient(ClientSettings(pi.url, auth=auth, retry_attempts=1, max_requests_per_second=1000.0))


def asks_for(expected: str, *offers: str) -> Sin:
    async def sin(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == expected:
            return web.json_response({})
        refusal = web.Response(status=401)
        for offer in offers:
            refusal.headers.add("WWW-Authenticate", offer)
        return refusal

    return sin


BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


async def test_nothing_is_sent_before_the_server_asks_and_then_what_it_asks_for() -> None:
    async with (
        Sinner([asks_for(BASIC, 'Basic realm="pi"')]) as pi,
        client(pi, username=USER, password=PASSWORD) as piweb,
    ):
        assert piweb.login == "auto"
        for _ in range(3):
            assert (await piweb.send(GET)).status == 200
        assert piweb.login == "basic"
    assert [arrival.headers.get("authorization") for arrival in pi.arrivals] == [None, BASIC, BASIC, BASIC]


async def test_a_token_comes_before_a_password() -> None:
    async with (
        Sinner([asks_for("Bearer t0ken", "Bearer", "NTLM", "Basic")]) as pi,
        client(pi, username=USER, password=PASSWORD, token="t0ken") as piweb,
    ):
        assert (await piweb.send(GET)).status == 200
        assert piweb.login == "bearer"


async def test_ntlm_comes_before_basic_and_every_connection_logs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTLM_USER_FILE", str(credentials_file(tmp_path)))
    server = NtlmServer(offers=("Basic", "NTLM"))
    async with Sinner([server]) as pi, client(pi, username=USER, password=PASSWORD) as piweb:
        for _ in range(3):
            assert (await piweb.send(GET)).status == 200
        assert piweb.login == "ntlm"
    assert server.refused == ["not logged in"]
    assert server.proofs == 1


async def test_without_the_libraries_of_kerberos_the_next_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    async with (
        Sinner([asks_for(BASIC, "Negotiate", "Basic")]) as pi,
        client(pi, username=USER, password=PASSWORD) as piweb,
    ):
        assert (await piweb.send(GET)).status == 200
        assert piweb.login == "basic"


async def test_a_server_that_asks_for_no_login_gets_none() -> None:
    async with Sinner([answer()]) as pi, client(pi, username=USER, password=PASSWORD) as piweb:
        assert (await piweb.send(GET)).status == 200
        assert piweb.login == "anonymous"
    assert all("authorization" not in arrival.headers for arrival in pi.arrivals)


async def test_a_password_and_a_token_are_sent_over_https_only(certificates: Certificates) -> None:
    given = {"username": USER, "password": PASSWORD, "token": "t0ken"}
    # What decides is the address of the configuration; the answers come from here.
    async with Sinner([asks_for(BASIC, "Bearer", "Basic")]) as pi, client(pi, **given) as piweb:
        piweb._settings.auth._ways = auth_from(  # type: ignore[attr-defined]
            SimpleNamespace(url="http://pi.corp.example", auth_type="auto", oauth=None, **given)  # type: ignore[arg-type]
        )._ways  # type: ignore[attr-defined]
        with pytest.raises(AuthenticationError, match="can be used: it offers Bearer, Basic") as caught:
            await piweb.send(GET)
    assert "Basic: It is used over https only." in caught.value.hint
    assert all("authorization" not in arrival.headers for arrival in pi.arrivals)
    async with Sinner([asks_for(BASIC, "Basic")], tls=certificates.good) as pi:
        fields = SimpleNamespace(url=pi.url, auth_type="auto", oauth=None, **{**given, "token": None})
        settings = ClientSettings(pi.url, auth=auth_from(fields), ca_bundle=str(certificates.ca))  # type: ignore[arg-type]
        async with PIClient(settings) as piweb:
            assert (await piweb.send(GET)).status == 200


@pytest.mark.parametrize(
    ("offers", "hint"),
    [
        (("Negotiate", "Digest"), "Negotiate: "),
        (("NTLM",), "NTLM: auth_type ntlm needs a user name and a password."),
        (("Basic",), "Basic: auth_type basic needs a user name and a password."),
        ((), "Have Kerberos (Negotiate), OpenID Connect, NTLM or Basic enabled"),
    ],
)
async def test_where_nothing_can_be_used_each_way_says_why(
    offers: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    async with Sinner([asks_for("nothing", *offers)]) as pi, client(pi) as piweb:
        with pytest.raises(AuthenticationError, match=r"No way to log in that 127\.0\.0\.1") as caught:
            await piweb.send(GET)
    assert hint in caught.value.hint


async def test_a_server_that_is_busy_at_first_is_asked_again() -> None:
    async with (
        Sinner([answer(status=503), answer(status=503), asks_for(BASIC, "Basic")]) as pi,
        client(pi, username=USER, password=PASSWORD) as piweb,
    ):
        with pytest.raises(UnavailableError, match="answered 503"):
            await piweb.send(GET)
        assert piweb.login == "auto"
        assert (await piweb.send(GET)).status == 200
        assert piweb.login == "basic"
