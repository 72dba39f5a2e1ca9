"""Logging in: what goes out, what is refused before it goes out, and that no secret shows."""

from __future__ import annotations

import base64
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from config.errors import AuthenticationError, ConfigurationError, ExtractError
from config.model_source import PiWebApiConfig
from engine.net.auth import Anonymous, Auth, Basic, Bearer, OAuth, OAuthSettings, auth_from
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from tests.network.sinner import Sinner, answer

GET = Request("GET", "/system")
SECRET = "s3cr3t-Pa55"


def fields(**values: Any) -> Any:
    empty = {"url": "https://pi.corp.example/piwebapi", "username": None, "password": None, "token": None}
    return SimpleNamespace(**{**empty, "oauth": None, **values})


async def authorization(auth: Auth) -> str | None:
    async with Sinner([answer()]) as pi, PIClient(ClientSettings(pi.url, auth=auth)) as piweb:
        await piweb.send(GET)
    return pi.arrivals[0].headers.get("authorization")


@pytest.mark.parametrize("user", [r"CORP\svc_pi", "svc_pi@corp.example", "plain", "Jörg"])
async def test_basic_goes_out_with_the_first_request_in_utf8(user: str) -> None:
    auth = auth_from(fields(auth_type="basic", username=user, password=SecretStr("pä:ß wörd")))
    header = await authorization(auth)
    assert header is not None
    scheme, _, pair = header.partition(" ")
    assert (scheme, base64.b64decode(pair).decode()) == ("Basic", f"{user}:pä:ß wörd")


@pytest.mark.parametrize("token", ["abc.DEF-123_~+/==", "abc.DEF-123_~+/==\n", "Bearer abc.DEF-123_~+/=="])
async def test_a_token_goes_out_bare_however_it_was_pasted(token: str) -> None:
    assert await authorization(auth_from(fields(auth_type="bearer", token=token))) == "Bearer abc.DEF-123_~+/=="


@pytest.mark.parametrize(
    ("section", "shown"),
    [
        ({"auth_type": "basic", "username": "svc", "password": SECRET}, "basic, user svc"),
        ({"auth_type": "bearer", "token": SECRET}, "bearer, static token"),
        ({"auth_type": "oauth", "token": SECRET}, "bearer, static token"),
        (
            {"auth_type": "oauth", "oauth": {"client_id": "connector", "client_secret": SECRET, "discover": True}},
            "oauth, client connector",
        ),
        ({"auth_type": "anonymous"}, "anonymous"),
    ],
)
def test_the_section_of_the_configuration_fits(section: dict[str, Any], shown: str) -> None:
    assert repr(auth_from(PiWebApiConfig(url="https://pi.corp.example/piwebapi", **section))) == shown


async def test_anonymous_sends_nothing() -> None:
    assert await authorization(auth_from(fields(auth_type="anonymous"))) is None


async def test_oauth_with_a_token_that_was_fetched_elsewhere_is_a_bearer() -> None:
    empty = SimpleNamespace(client_id=None, client_secret=None, token_url=None, discover=False, scope="system")
    auth = auth_from(fields(auth_type="oauth", token=SecretStr("t0k"), oauth=empty))
    assert await authorization(auth) == "Bearer t0k"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auth_type": "basic", "username": "u"}, "needs a user name and a password"),
        ({"auth_type": "basic", "password": SECRET}, "needs a user name and a password"),
        ({"auth_type": "basic", "username": "a:b", "password": SECRET}, "cannot hold a colon"),
        ({"auth_type": "bearer"}, "needs a token"),
        ({"auth_type": "bearer", "token": f"{SECRET}\r\nX-Evil: 1"}, "characters that no token has"),
        ({"auth_type": "bearer", "token": '{"access_token": "' + SECRET + '"}'}, "characters that no token has"),
        ({"auth_type": "oauth"}, "needs a client id and a client secret"),
        ({"auth_type": "ntlm", "username": "u"}, "needs a user name and a password"),
        ({"auth_type": "digest", "username": "u", "password": SECRET}, "'digest' is not supported"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_tried(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        auth_from(fields(**values))
    assert caught.value.hint
    assert SECRET not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        (Anonymous(), "anonymous"),
        (Basic(r"CORP\svc_pi", SECRET), r"basic, user CORP\svc_pi"),
        (Bearer(SECRET), "bearer, static token"),
        (OAuth(OAuthSettings("https://pi/piwebapi", "connector", SECRET)), "oauth, client connector"),
    ],
)
async def test_no_secret_is_in_a_repr_an_error_or_a_log(
    auth: Auth, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert repr(auth) == shown
    settings = ClientSettings("http://127.0.0.1:1/piwebapi", auth=auth, retry_attempts=2, retry_initial_wait_secs=0.01)
    seen = [repr(settings), repr(PIClient(settings)), repr(getattr(auth, "_settings", ""))]
    sins = [answer(status=503), answer(status=401)]
    async with Sinner(sins) as pi:
        settings = ClientSettings(pi.url, auth=auth, retry_attempts=2, retry_initial_wait_secs=0.01)
        if isinstance(auth, OAuth):
            settings = ClientSettings(
                pi.url, auth=OAuth(OAuthSettings(pi.url, "connector", SECRET, f"{pi.url}/t")), retry_attempts=1
            )
        async with PIClient(settings) as piweb:
            with pytest.raises(ExtractError) as caught:
                await piweb.send(GET)
            if not isinstance(auth, OAuth):
                seen.append(repr(await auth.credential(piweb._session)))
    chain: BaseException | None = caught.value
    while chain is not None:
        seen += [str(chain), repr(chain), getattr(chain, "hint", "")]
        chain = chain.__cause__ or chain.__context__
    coded = base64.b64encode(rf"CORP\svc_pi:{SECRET}".encode()).decode()
    for text in [*seen, caplog.text]:
        assert SECRET not in text
        assert coded not in text


@pytest.mark.parametrize("url", ["pi.corp.example", "ftp://pi/piwebapi", "https:///piwebapi", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address"):
        ClientSettings(url)


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="holds a user name or password") as caught:
        ClientSettings(f"https://svc:{SECRET}@pi.corp.example/piwebapi")
    assert SECRET not in str(caught.value) + caught.value.hint


async def test_a_wrong_password_is_asked_about_once() -> None:
    async with Sinner([answer(status=401)]) as pi, PIClient(ClientSettings(pi.url, auth=Basic("svc", SECRET))) as piweb:
        with pytest.raises(AuthenticationError, match=r"does not accept our credentials \(basic, user svc\)"):
            await piweb.send(GET)
    assert len(pi.arrivals) == 1
