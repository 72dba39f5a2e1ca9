"""Kerberos against a real KDC: who is let in, who is refused, and that the server has to prove itself."""

from __future__ import annotations

import asyncio
import base64
import logging
import sys
from collections.abc import Iterator

import pytest
from aiohttp import web

from config.errors import AuthenticationError, ConfigurationError, UnavailableError
from engine.net.auth import Kerberos, auth_from
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from tests.network.kdc import Realm, realm, require_kdc
from tests.network.sinner import Sin, Sinner, answer

GET = Request("GET", "/system")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    require_kdc()
    with realm(tmp_path_factory.mktemp("realm")) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            if name.startswith("KRB5"):
                patch.setenv(name, value)
        patch.setenv("KRB5_KTNAME", str(made.service_keytab))
        yield made


def asks_for_kerberos(users: list[str], *, proof: str | None = None, status: int = 200) -> Sin:
    """A server that lets in who has a ticket, and proves itself; `proof` puts something in its place."""

    async def sin(request: web.Request) -> web.StreamResponse:
        import spnego
        from spnego.exceptions import SpnegoError

        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        context = spnego.server(hostname="localhost", service="HTTP", protocol="kerberos")
        try:
            reply = context.step(base64.b64decode(token)) if scheme == "Negotiate" else None
        except SpnegoError:
            reply = None
        if not context.complete:
            return web.Response(status=401, headers={"WWW-Authenticate": "Negotiate"})
        users.append(str(context.client_principal))
        genuine = f"Negotiate {base64.b64encode(reply or b'').decode()}"
        headers = {"WWW-Authenticate": genuine if proof is None else proof}
        return web.json_response({"Name": users[-1]}, headers=headers, status=status)

    return sin


def client(pi: Sinner, auth: Kerberos) -> PIClient:
    url = pi.url.replace("127.0.0.1", "localhost")
    return PIClient(ClientSettings(url, auth=auth, retry_attempts=1, max_requests_per_second=1000.0))


def issued_by(realm: Realm) -> list[str]:
    """What its KDC noted of each ticket that it has issued."""
    log = realm.folder / "kdc.log"
    return [line for line in log.read_text().splitlines() if "ISSUE" in line] if log.exists() else []


async def test_a_password_logs_in_once_and_every_request_has_a_ticket(plant: Realm) -> None:
    users: list[str] = []
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    before = len(issued_by(plant))  # other tests log in, too
    async with Sinner([asks_for_kerberos(users)]) as pi, client(pi, auth) as piweb:
        for _ in range(3):
            assert (await piweb.send(GET)).status == 200
    assert users == [plant.user] * 3
    assert len({arrival.headers["authorization"] for arrival in pi.arrivals}) == 3
    issued = issued_by(plant)[before:]
    assert sum("AS_REQ" in line for line in issued) == 1
    assert sum("TGS_REQ" in line for line in issued) == 1


@pytest.mark.parametrize("username", ["", "svc_pi@PLANT.EXAMPLE"])
async def test_a_keytab_logs_in(plant: Realm, username: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(plant.user_keytab))
    monkeypatch.setenv("KRB5CCNAME", f"MEMORY:keytab-{username}")
    users: list[str] = []
    auth = Kerberos(hostname="localhost", username=username)
    async with Sinner([asks_for_kerberos(users)]) as pi, client(pi, auth) as piweb:
        await piweb.send(GET)
    assert users == [plant.user]


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ({"username": "svc_pi@PLANT.EXAMPLE", "password": "wr0ng-Pa55"}, "the password is wrong"),
        ({"username": "nobody@PLANT.EXAMPLE", "password": "wr0ng-Pa55"}, "the KDC does not know the user"),
        ({"username": "svc_pi@OTHER.EXAMPLE", "password": "wr0ng-Pa55"}, "the realm is not known"),
        ({"username": "svc_pi@PLANT.EXAMPLE"}, "there is no ticket"),
        ({}, "there is no ticket"),
    ],
)
@pytest.mark.usefixtures("plant")
async def test_a_login_that_fails_says_why_and_sends_nothing(
    login: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    auth = Kerberos(hostname="localhost", **login)
    async with Sinner([answer()]) as pi, client(pi, auth) as piweb:
        with pytest.raises(AuthenticationError, match=f"login for HTTP/localhost failed: {reason}") as caught:
            await piweb.send(GET)
    assert pi.arrivals == []
    assert caught.value.hint
    assert "wr0ng-Pa55" not in caplog.text + repr(auth) + str(caught.value) + repr(caught.value.__cause__)


async def test_a_service_without_a_name_in_the_realm_is_said_to_be_that(plant: Realm) -> None:
    auth = Kerberos(hostname="pi.nowhere.example", username=plant.user, password=plant.password)
    async with Sinner([answer()]) as pi, client(pi, auth) as piweb:
        with pytest.raises(AuthenticationError, match="the KDC does not know the service") as caught:
            await piweb.send(GET)
    assert "setspn" in caught.value.hint


@pytest.mark.parametrize("proof", ["", "Negotiate", "Negotiate !!!", "Negotiate cnViYmlzaA==", "NTLM"])
async def test_a_server_that_does_not_prove_itself_is_not_believed(plant: Realm, proof: str) -> None:
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    async with Sinner([asks_for_kerberos([], proof=proof)]) as pi, client(pi, auth) as piweb:
        with pytest.raises(AuthenticationError, match="did not prove that it holds the key of HTTP/localhost"):
            await piweb.send(GET)


async def test_an_error_from_before_the_login_is_still_readable(plant: Realm) -> None:
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    async with Sinner([answer(b"Bad Request - Invalid URL", 400)]) as pi, client(pi, auth) as piweb:
        assert (await piweb.send(GET)).status == 400


async def test_after_a_401_a_new_login_is_tried_once(plant: Realm) -> None:
    users: list[str] = []
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    refusal = answer(status=401, WWW_Authenticate="Negotiate")
    async with Sinner([refusal, asks_for_kerberos(users)]) as pi, client(pi, auth) as piweb:
        await piweb.send(GET)
    assert users == [plant.user]
    async with Sinner([refusal]) as pi, client(pi, auth) as piweb:
        with pytest.raises(AuthenticationError, match=r"\(kerberos, user svc_pi@PLANT.EXAMPLE\)"):
            await piweb.send(GET)
    assert len(pi.arrivals) == 2


async def test_many_that_are_rejected_together_log_in_once_more(plant: Realm) -> None:
    users: list[str] = []
    welcome, stale = asks_for_kerberos(users), 4
    rejected, all_rejected = 0, asyncio.Event()

    async def sin(request: web.Request) -> web.StreamResponse:
        nonlocal rejected
        if not users or rejected == stale:
            return await welcome(request)
        rejected += 1
        if rejected == stale:
            all_rejected.set()
        await all_rejected.wait()
        return web.Response(status=401, headers={"WWW-Authenticate": "Negotiate"})

    def logins() -> int:
        return sum("AS_REQ" in line for line in issued_by(plant))

    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    async with Sinner([sin]) as pi, client(pi, auth) as piweb:
        await piweb.send(GET)
        before = logins()
        async with asyncio.TaskGroup() as group:
            for _ in range(stale):
                group.create_task(piweb.send(GET))
    assert users == [plant.user] * (1 + stale)
    assert logins() == before + 1


async def test_tickets_are_renewed_before_they_expire(plant: Realm) -> None:
    now = 0.0
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password, wall=lambda: now)
    users: list[str] = []
    async with Sinner([asks_for_kerberos(users)]) as pi, client(pi, auth) as piweb:
        await piweb.send(GET)
        first = auth._login
        assert first is not None
        now = first.ends_at - 301
        await piweb.send(GET)
        assert auth._login is first
        now = first.ends_at - 299
        await piweb.send(GET)
        assert auth._login is not first
    assert users == [plant.user] * 3


async def test_a_kdc_that_cannot_be_reached_is_worth_another_try(plant: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = plant.folder / "nowhere.conf"
    text = (plant.folder / "krb5.conf").read_text()
    nowhere.write_text("\n".join("    kdc = 127.0.0.1:1" if "kdc =" in line else line for line in text.split("\n")))
    monkeypatch.setenv("KRB5_CONFIG", str(nowhere))
    auth = Kerberos(hostname="localhost", username=plant.user, password=plant.password)
    async with Sinner([answer()]) as pi, client(pi, auth) as piweb:
        with pytest.raises(UnavailableError, match="No Kerberos KDC can be reached"):
            await piweb.send(GET)


def test_without_the_extra_the_commands_that_install_it_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    fields = type("Fields", (), {"url": "https://pi/piwebapi", "auth_type": "kerberos", "username": "", "password": ""})
    with pytest.raises(ConfigurationError, match="libraries that are not installed") as caught:
        auth_from(fields())  # type: ignore[arg-type]
    assert "pip install 'osipi-connector[kerberos]'" in caught.value.hint
    assert "apt-get install libkrb5-dev" in caught.value.hint


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({"username": r"CORP\svc_pi", "password": "x"}, "Kerberos knows no user name like"),
        ({"password": "x"}, "has a password but no user name"),
    ],
)
def test_a_login_that_cannot_work_is_refused(login: dict[str, str], message: str) -> None:
    pytest.importorskip("gssapi")
    with pytest.raises(ConfigurationError, match=message):
        Kerberos(hostname="localhost", **login)


def test_ci_does_not_pass_over_kerberos_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI tests Kerberos, but lacks"):
        require_kdc()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="install_kdc"):
        require_kdc()
