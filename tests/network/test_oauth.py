"""Client credentials: fetched once, renewed in time, dropped on 401, and never seen."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from config.errors import (
    AuthenticationError,
    CertificateError,
    ConfigurationError,
    ExtractError,
    UnavailableError,
)
from engine.net.auth import OAuth, OAuthSettings
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from tests.network.conftest import Certificates
from tests.network.sinner import Sinner, answer

GET = Request("GET", "/system")
SECRET = "s3cr3t/Pa55:+"


@dataclass
class Issuer:
    """A PI Web API and its identity provider in one; accepts the newest token only."""

    refuse: dict[str, object] | None = None
    status: int = 200
    expires_in: object = 600
    methods: list[str] | None = None
    token_endpoint: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    discovered: int = 0
    revoked: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    url: str = ""

    async def token(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        self.logins.append(request.headers.get("Authorization", ""))
        if self.refuse is not None:
            return web.json_response(self.refuse, status=self.status)
        return web.json_response({"access_token": f"token-{len(self.forms)}", "expires_in": self.expires_in})

    async def discovery(self, _request: web.Request) -> web.Response:
        self.discovered += 1
        document: dict[str, object] = {"token_endpoint": self.token_endpoint or f"{self.url}/connect/token"}
        if self.methods is not None:
            document["token_endpoint_auth_methods_supported"] = self.methods
        return web.json_response(document)

    async def system(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append(token)
        return web.json_response({}, status=401 if token in self.revoked or not token else 200)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    app = web.Application()
    app.router.add_post("/piwebapi/connect/token", made.token)
    app.router.add_get("/piwebapi/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/piwebapi/system", made.system)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = f"http://127.0.0.1:{server.port}/piwebapi"
        yield made


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def piweb(issuer: Issuer, clock: Callable[[], float] = Clock(), **changes: str) -> PIClient:  # noqa: B008
    settings = OAuthSettings(issuer.url, "connector", SECRET)
    auth = OAuth(dataclasses.replace(settings, **changes), clock=clock)
    return PIClient(ClientSettings(issuer.url, auth=auth, max_requests_per_second=1000.0, retry_attempts=1))


async def test_a_token_is_discovered_fetched_once_and_shared(issuer: Issuer) -> None:
    async with piweb(issuer) as client, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(client.send(GET))
    assert issuer.seen == ["token-1"] * 20
    assert issuer.discovered == 1
    assert issuer.forms == [{"grant_type": "client_credentials", "scope": "system"}]
    pair = base64.b64decode(issuer.logins[0].removeprefix("Basic ")).decode()
    assert pair == "connector:s3cr3t%2FPa55%3A%2B"


async def test_the_secret_goes_in_the_body_where_the_provider_wants_it_there(issuer: Issuer) -> None:
    issuer.methods = ["client_secret_post"]
    async with piweb(issuer) as client:
        await client.send(GET)
    assert (issuer.forms[0]["client_id"], issuer.forms[0]["client_secret"]) == ("connector", SECRET)
    assert issuer.logins == [""]


async def test_a_configured_endpoint_is_not_discovered(issuer: Issuer) -> None:
    async with piweb(issuer, token_url=f"{issuer.url}/connect/token", scope="pi.read") as client:
        await client.send(GET)
    assert issuer.discovered == 0
    assert issuer.forms[0]["scope"] == "pi.read"


@pytest.mark.parametrize(
    ("expires_in", "kept", "renewed"),
    [
        (600, 539.0, 540.0),
        ("600", 539.0, 540.0),
        (30, 23.9, 24.0),
        (None, 239.0, 240.0),
        ("soon", 239.0, 240.0),
        ("²", 239.0, 240.0),
        (0, 239.0, 240.0),
    ],
)
async def test_a_token_is_renewed_a_little_before_it_expires(
    issuer: Issuer, expires_in: object, kept: float, renewed: float
) -> None:
    clock = Clock()
    issuer.expires_in = expires_in
    async with piweb(issuer, clock) as client:
        await client.send(GET)
        clock.now = 1000.0 + kept
        await client.send(GET)
        clock.now = 1000.0 + renewed
        await client.send(GET)
    assert issuer.seen == ["token-1", "token-1", "token-2"]


async def test_many_that_are_rejected_together_fetch_one_new_token(issuer: Issuer) -> None:
    async with piweb(issuer) as client:
        await client.send(GET)
        issuer.revoked = {"token-1"}
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(client.send(GET))
    assert len(issuer.forms) == 2
    assert issuer.seen.count("token-2") == 10


async def test_a_fresh_token_that_is_rejected_too_ends_it(issuer: Issuer) -> None:
    issuer.revoked = {f"token-{n}" for n in range(9)}
    async with piweb(issuer) as client:
        with pytest.raises(AuthenticationError, match=r"does not accept our credentials \(oauth, client connector\)"):
            await client.send(GET)
    assert issuer.seen == ["token-1", "token-2"]


@pytest.mark.parametrize(
    ("status", "answered", "error", "message"),
    [
        (400, {"error": "invalid_client"}, AuthenticationError, r"refuses the client \(invalid_client\)"),
        (401, {"error": f"no {SECRET}"}, AuthenticationError, r"refuses the client \(status 401\)"),
        (400, {"error": "invalid_scope", "error_description": SECRET}, AuthenticationError, r"\(invalid_scope\)"),
        (503, {}, UnavailableError, r"gives no token \(status 503\)"),
        (408, {}, UnavailableError, r"gives no token \(status 408\)"),
        (302, {}, ConfigurationError, r"redirects a request for a token \(status 302\)"),
        (200, {"token": "x"}, AuthenticationError, "sent no access token"),
        (200, {"access_token": "a\r\nb"}, ConfigurationError, "characters that no token has"),
    ],
)
async def test_a_refusal_is_repeated_without_secrets(
    issuer: Issuer, status: int, answered: dict[str, object], error: type[Exception], message: str
) -> None:
    issuer.status, issuer.refuse = status, answered
    async with piweb(issuer) as client:
        with pytest.raises(error, match=message) as caught:
            await client.send(GET)
    assert SECRET not in str(caught.value)
    assert issuer.seen == []


async def test_what_is_asked_for_a_token_counts_and_keeps_to_the_rate() -> None:
    """The address of the token endpoint is PI's to tell; where PI issues tokens, so are these."""
    async with Sinner([]) as pi:
        document = answer(json.dumps({"token_endpoint": f"{pi.url}/token"}).encode())
        pi.sins = [document, answer(b'{"access_token": "fresh"}'), answer()]
        auth = OAuth(OAuthSettings(pi.url, "connector", SECRET))
        async with PIClient(ClientSettings(pi.url, auth=auth, max_requests_per_second=10.0)) as client:
            await client.send(GET)
            assert client.statistics().requests == len(pi.arrivals) == 3
    instants = [arrival.at for arrival in pi.arrivals]
    assert min(later - earlier for earlier, later in itertools.pairwise(instants)) > 0.09


async def test_a_server_that_publishes_no_endpoint_is_named() -> None:
    async with Sinner([answer(b"<html>", 404)]) as pi, piweb(Issuer(url=pi.url)) as client:
        with pytest.raises(
            ConfigurationError, match=r"publishes no token endpoint \(status 404 at /piwebapi/"
        ) as caught:
            await client.send(GET)
    assert "token_url" in caught.value.hint


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_server_that_cannot_name_its_endpoint_just_now_is_asked_again(status: int) -> None:
    async with Sinner([]) as pi:
        document = answer(json.dumps({"token_endpoint": f"{pi.url}/token"}).encode())
        pi.sins = [answer(status=status), document, answer(b'{"access_token": "fresh"}'), answer()]
        auth = OAuth(OAuthSettings(pi.url, "connector", SECRET))
        async with PIClient(ClientSettings(pi.url, auth=auth, retry_initial_wait_secs=0.01)) as client:
            assert (await client.send(GET)).status == 200


async def test_the_secret_is_not_sent_to_where_an_endpoint_points(issuer: Issuer) -> None:
    async with Sinner([answer(status=307, Location=f"{issuer.url}/connect/token")]) as elsewhere:
        with pytest.raises(ConfigurationError, match="status 307"):
            async with piweb(issuer, token_url=elsewhere.url) as client:
                await client.send(GET)
    assert len(elsewhere.arrivals) == 1
    assert issuer.forms == []


async def test_the_secret_is_not_sent_to_an_endpoint_without_tls(certificates: Certificates) -> None:
    document = json.dumps({"token_endpoint": "http://127.0.0.1:1/token"}).encode()
    async with Sinner([answer(document)], tls=certificates.good) as pi:
        auth = OAuth(OAuthSettings(pi.url, "connector", SECRET))
        async with PIClient(ClientSettings(pi.url, auth=auth, ca_bundle=str(certificates.ca))) as client:
            with pytest.raises(ConfigurationError, match="names a token endpoint without TLS"):
                await client.send(GET)


async def test_tokens_are_asked_for_under_the_same_tls_settings(certificates: Certificates) -> None:
    tokens = answer(json.dumps({"access_token": "over-tls"}).encode())
    async with Sinner([tokens], tls=certificates.good) as idp, Sinner([answer()], tls=certificates.good) as pi:
        settings = OAuthSettings(pi.url, "connector", SECRET, f"{idp.url}/token")
        trusting = ClientSettings(pi.url, auth=OAuth(settings), ca_bundle=str(certificates.ca))
        async with PIClient(trusting) as client:
            await client.send(GET)
        assert pi.arrivals[0].headers["authorization"] == "Bearer over-tls"
        async with PIClient(ClientSettings(pi.url, auth=OAuth(settings))) as client:
            with pytest.raises(
                CertificateError, match=f"asking for a token: The TLS certificate of 127.0.0.1:{idp.port}"
            ):
                await client.send(GET)
    assert len(idp.arrivals) == 1


POISON = {
    "an open bracket half a million times": b"[" * 500_000,
    "nested beyond reason": b'{"access_token":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "invalid UTF-8": b'{"access_token":"\xff"}',
    "half a surrogate": b'{"access_token":"\\ud83d"}',
    "a number beyond reason": b'{"access_token":' + b"9" * 5000 + b"}",
    "a token endpoint that is half an address": b'{"token_endpoint":"http://[x"}',
    "a token endpoint with a port beyond 65535": b'{"token_endpoint":"http://127.0.0.1:99999999/"}',
    "a token endpoint with a NUL": b'{"token_endpoint":"http://a\\u0000b/"}',
    "a token endpoint without a host": b'{"token_endpoint":"token"}',
    "methods that are a number": b'{"token_endpoint":"http://127.0.0.1:1/","token_endpoint_auth_methods_supported":7}',
    "a list": b"[1]",
    "nothing": b"",
}


@pytest.mark.parametrize("discovered", [True, False], ids=["discovery", "token"])
@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
async def test_every_answer_of_an_identity_provider_is_one_error_of_ours(body: bytes, discovered: bool) -> None:
    async with Sinner([answer(body)] * 3) as provider:
        settings = OAuthSettings(provider.url, "connector", SECRET, "" if discovered else f"{provider.url}/token")
        client = PIClient(ClientSettings(provider.url, auth=OAuth(settings), retry_attempts=1))
        async with client:
            with pytest.raises(ExtractError) as raised:
                await client.send(GET)
    assert raised.value.message.isprintable()
    assert SECRET not in f"{raised.value}{raised.value.hint}"
