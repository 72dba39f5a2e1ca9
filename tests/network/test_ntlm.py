"""NTLM against a server that verifies it, connection by connection."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from aiohttp import web

from config import from_mapping
from config.errors import AuthenticationError, ConfigurationError, ExtractError
from engine.commands.check.probes import CheckResult, run_checks
from engine.net.auth import Ntlm, auth_from
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from engine.run import run
from engine.simulator import Simulator, SimulatorOptions
from tests.network.ntlm_server import PASSWORD, USER, MixingProxy, NtlmServer, credentials_file, guarding
from tests.network.sinner import Sinner, answer
from tests.variants import slowly

GET = Request("GET", "/system")
POST = Request("POST", "/batch", body=b"{}")


@pytest.fixture(autouse=True)
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NTLM_USER_FILE", str(credentials_file(tmp_path)))


def client(pi: Sinner, auth: Ntlm | None = None, **changes: int) -> PIClient:
    auth = auth or Ntlm(pi.url, USER, PASSWORD)
    settings = ClientSettings(pi.url, auth=auth, retry_attempts=1, max_requests_per_second=1000.0, **changes)
    return PIClient(settings)


@pytest.mark.parametrize("username", [USER, "svc_pi@CORP"])
async def test_a_connection_logs_in_once_and_then_carries_every_request(username: str, tmp_path: Path) -> None:
    server = NtlmServer()
    if "@" in username:  # the acceptor looks for the name as it came
        (tmp_path / "ntlm_users").write_text(f":{username}:{PASSWORD}\n")
    async with Sinner([server]) as pi, client(pi, Ntlm(pi.url, username, PASSWORD)) as piweb:
        for request in (GET, POST, GET, POST):
            assert (await piweb.send(request)).status == 200
    assert server.refused == []
    assert server.proofs == 1
    assert [call for _, call in server.accepted] == [
        "GET /piwebapi/",
        "GET /piwebapi/system",
        "POST /piwebapi/batch",
        "GET /piwebapi/system",
        "POST /piwebapi/batch",
    ]


async def test_requests_at_one_time_have_a_connection_each_and_each_of_them_logs_in() -> None:
    server = NtlmServer()
    together = asyncio.Barrier(4)

    async def slowly(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            await together.wait()
        return await server(request)

    async with Sinner([slowly]) as pi, client(pi, max_in_flight=4) as piweb:
        answers = await asyncio.gather(*(piweb.send(POST) for _ in range(4)))
    assert {reply.status for reply in answers} == {200}
    assert server.proofs == len(server.users) == 4
    assert server.refused == []


async def test_a_login_holds_for_its_connection_alone_and_the_next_connection_logs_in_anew() -> None:
    server = NtlmServer(close_after=frozenset({"answer"}))
    async with Sinner([server]) as pi, client(pi) as piweb:
        with pytest.raises(AuthenticationError, match="closes the connection that has just logged in"):
            await piweb.send(GET)
    server = NtlmServer()
    async with Sinner([server]) as pi, client(pi, max_in_flight=1) as piweb:
        await piweb.send(GET)
        for transport in list(server.users):
            transport.close()
        assert (await piweb.send(GET)).status == 200
    assert server.proofs == 2
    assert server.refused == ["not logged in"]


async def test_after_a_pause_a_connection_logs_in_before_it_is_used() -> None:
    server, now = NtlmServer(), 100.0
    async with Sinner([server]) as pi:
        auth = Ntlm(pi.url, USER, PASSWORD, clock=lambda: now)
        async with client(pi, auth, max_in_flight=1) as piweb:
            await piweb.send(POST)
            now += 13.0
            await piweb.send(POST)
    assert server.proofs == 2
    assert server.refused == []


async def test_all_connections_that_were_closed_log_in_again() -> None:
    """One that was closed is no proof that the account is refused, and the retry may meet another that was closed."""
    server = NtlmServer()
    together = asyncio.Barrier(3)

    async def slowly(request: web.Request) -> web.StreamResponse:
        if request.method == "POST" and request.transport in server.users:
            await together.wait()
        return await server(request)

    async with Sinner([slowly]) as pi, client(pi, max_in_flight=3) as piweb:
        for _ in range(3):
            answers = await asyncio.gather(*(piweb.send(POST) for _ in range(3)))
            assert {reply.status for reply in answers} == {200}
            server.users.clear()


async def test_a_wrong_password_is_tried_once_whatever_waits() -> None:
    server = NtlmServer()
    async with Sinner([server]) as pi, client(pi, Ntlm(pi.url, USER, "wr0ng"), max_in_flight=4) as piweb:
        ends = await asyncio.gather(*(piweb.send(GET) for _ in range(4)), return_exceptions=True)
    assert server.proofs == 1
    assert {str(end) for end in ends} == {
        rf"127.0.0.1:{pi.port} does not accept our credentials (ntlm, user CORP\svc_pi)."
    }


async def test_a_proxy_that_mixes_connections_is_named() -> None:
    server = NtlmServer()
    async with Sinner([server]) as pi, Sinner([mixing := MixingProxy(pi.port)]) as proxy, client(proxy) as piweb:
        with pytest.raises(AuthenticationError) as caught:
            await piweb.send(GET)
        mixing.close()
    assert "A proxy, gateway or load balancer between here and PI Web API breaks it" in caught.value.hint
    assert server.refused == ["a proof on another connection than its challenge"]


@pytest.mark.parametrize(
    ("sins", "message"),
    [
        ([NtlmServer(close_after=frozenset({"challenge"}))], "closes the connection in the middle of the NTLM login"),
        ([answer(status=401, WWW_Authenticate="NTLM")], "does not answer the offer of an NTLM login with a challenge"),
        (
            [answer(status=401, WWW_Authenticate="NTLM !")],
            "does not answer the offer of an NTLM login with a challenge",
        ),
        ([answer(status=401, WWW_Authenticate="NTLM Z2FyYmFnZQ==")], "sends an NTLM challenge that is none"),
    ],
)
async def test_what_breaks_a_login_is_said(sins: list[NtlmServer], message: str) -> None:
    async with Sinner(sins) as pi, client(pi) as piweb:
        with pytest.raises(AuthenticationError, match=message) as caught:
            await piweb.send(GET)
    assert "NTLM logs in one connection" in caught.value.hint


@pytest.mark.parametrize("auth_type", ["auto", *slowly("ntlm")])
async def test_a_whole_run_logs_in_and_check_says_how(auth_type: str, tmp_path: Path) -> None:
    server = NtlmServer()
    async with Simulator(SimulatorOptions(tags=5)).serve() as behind, guarding(behind, server) as url:
        pi = {"url": url, "auth_type": auth_type, "username": USER, "password": PASSWORD}
        config = from_mapping(
            {
                "pipeline": "plant",
                "pi_web_api": {**pi, "max_requests_per_second": 1000},
                "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
                "storage": {"root": str(tmp_path / "lake")},
            }
        ).config
        found: list[CheckResult] = []
        await run_checks(config, found.append)
        report = await run(config)
    assert all(one.passed for one in found)
    assert next(one.text for one in found if one.name == "login").startswith("accepted (ntlm), by PI Web API")
    assert report.exit_code == 0
    assert report.records_written > 100
    assert {user for user, _ in server.accepted} == {USER}
    assert server.refused == ["not logged in"] * (2 if auth_type == "auto" else 0)


async def test_a_connection_that_is_refused_right_after_its_login_ends_the_run() -> None:
    server = NtlmServer()

    async def forgets(request: web.Request) -> web.StreamResponse:
        reply = await server(request)
        server.users.clear()
        return reply

    async with Sinner([forgets]) as pi, client(pi) as piweb:
        with pytest.raises(AuthenticationError, match="refuses what is sent on a connection that has logged in"):
            await piweb.send(GET)
    assert server.proofs == 1


async def test_a_server_without_ntlm_says_what_it_offers() -> None:
    async with Sinner([answer(status=401, WWW_Authenticate='Basic realm="x"')]) as pi, client(pi) as piweb:
        with pytest.raises(AuthenticationError, match=r"does not take an NTLM login .*; it offers Basic") as caught:
            await piweb.send(GET)
    assert caught.value.hint == "set pi_web_api.auth_type: basic"


async def test_a_server_that_wants_no_login_gets_none() -> None:
    async with Sinner([answer()]) as pi, client(pi) as piweb:
        assert (await piweb.send(GET)).status == 200
        assert (await piweb.send(GET)).status == 200
    assert [arrival.raw_path for arrival in pi.arrivals] == ["/piwebapi/", "/piwebapi/system", "/piwebapi/system"]


async def test_the_password_appears_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = NtlmServer()
    async with Sinner([server]) as pi:
        auth = Ntlm(pi.url, USER, "wr0ng-Pa55")
        async with client(pi, auth) as piweb:
            with pytest.raises(ExtractError) as caught:
                await piweb.send(GET)
    assert server.proofs == 1
    assert all(b"wr0ng" not in arrival.body and "wr0ng" not in str(arrival.headers) for arrival in pi.arrivals)
    assert "TlRMTVNTUAAD" not in caplog.text  # the proof: passwords can be guessed from it
    assert "wr0ng" not in caplog.text + repr(auth) + str(caught.value) + caught.value.hint + repr(vars(caught.value))


async def test_every_request_of_a_login_counts_at_the_gate() -> None:
    server = NtlmServer()
    async with Sinner([server]) as pi, client(pi) as piweb:
        await piweb.send(GET)
        assert piweb.statistics().requests == len(pi.arrivals) == 3


def test_without_the_extra_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spnego", None)
    fields = type("Fields", (), {"url": "https://pi/piwebapi", "auth_type": "ntlm", "username": "u", "password": "p"})
    with pytest.raises(ConfigurationError, match="a library that is not installed") as caught:
        auth_from(fields())  # type: ignore[arg-type]
    assert "pip install 'osipi-connector[ntlm]'" in caught.value.hint


def test_a_login_without_a_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a user name and a password"):
        Ntlm("https://pi/piwebapi", USER, "")
