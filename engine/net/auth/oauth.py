"""OAuth 2 client credentials, as PI Web API 2023 and later wants them (OpenID Connect).

The token endpoint is configured, or discovered below PI Web API's own address. A token is fetched once
for all requests, renewed a little before it expires, and once more when PI answers 401.

Invariant: client secret and token appear in no message; of an answer of the token endpoint, only the
`error` word is repeated, and only if it looks like one.
"""

from __future__ import annotations

import asyncio
import base64
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

import aiohttp
import msgspec

from config.errors import AuthenticationError, ConfigurationError, ExtractError, UnavailableError
from engine.net.network_errors import network_error, without_credentials

from .credential import Credential
from .static import bearer_header

_DISCOVERY: Final = "/.well-known/openid-configuration"
_EARLY_SECS: Final = 60.0
_EARLY_SHARE: Final = 0.2  # of a short life
_ERROR_WORD: Final = re.compile(r"[a-z_]{1,40}")
_ANSWER_BYTES: Final = 1 << 20
_NO_HOST: Final = "an address without a host"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0)


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """Where and as whom to ask for tokens. Without `token_url`, it is discovered below `pi_url`."""

    pi_url: str
    client_id: str
    client_secret: str
    token_url: str = ""
    scope: str = "system"

    def __repr__(self) -> str:
        return f"OAuthSettings(client_id={self.client_id!r}, client_secret='***', token_url={self.token_url!r})"


@dataclass(frozen=True, slots=True)
class _Endpoint:
    url: str
    secret_in_body: bool = False


class OAuth:
    """Sends a token that it fetches and renews itself."""

    def __init__(self, settings: OAuthSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not settings.client_id or not settings.client_secret:
            raise ConfigurationError(
                "auth_type oauth needs a client id and a client secret.",
                hint="Set pi_web_api.oauth.client_id and client_secret; for a token you fetched yourself, "
                "secrets_scope with oauth_token_key.",
            )
        self._settings = settings
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._endpoint: _Endpoint | None = None
        self._credential: Credential | None = None
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return f"oauth, client {self._settings.client_id}"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:
        async with self._fetching:  # one fetches, the others wait for what it gets
            if self._credential is None or self._clock() >= self._renew_at:
                self._credential = await self._fetch(session)
            return self._credential

    async def refresh(self, rejected: Credential) -> bool:
        # Many requests may be rejected with one and the same token; the first of them drops it.
        if self._credential is rejected:
            self._credential = None
        return True

    async def _fetch(self, session: aiohttp.ClientSession) -> Credential:
        if self._endpoint is None:
            self._endpoint = await self._find_endpoint(session)
        asked_at = self._clock()
        form, headers = self._token_request(self._endpoint)
        status, answer = await _call(session, "POST", self._endpoint.url, data=form, headers=headers)
        host = _host_of(self._endpoint.url)
        if status != 200:
            raise _refusal(status, answer, host)
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise AuthenticationError(
                f"The token endpoint at {host} sent no access token.", hint="Check pi_web_api.oauth.token_url."
            )
        secs = _life_secs(answer.get("expires_in"))
        self._renew_at = asked_at + secs - min(_EARLY_SECS, _EARLY_SHARE * secs)
        return Credential(bearer_header(token))

    def _token_request(self, endpoint: _Endpoint) -> tuple[dict[str, str], dict[str, str]]:
        settings = self._settings
        form = {"grant_type": "client_credentials", "scope": settings.scope}
        if endpoint.secret_in_body:
            return {**form, "client_id": settings.client_id, "client_secret": settings.client_secret}, {}
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"  # RFC 6749, 2.3.1
        return form, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    async def _find_endpoint(self, session: aiohttp.ClientSession) -> _Endpoint:
        settings = self._settings
        if settings.token_url:
            return _Endpoint(settings.token_url)
        where = settings.pi_url.rstrip("/") + _DISCOVERY
        status, document = await _call(session, "GET", where)
        if _may_pass(status):
            raise UnavailableError(f"{urlsplit(where).netloc} does not say now who issues tokens (status {status}).")
        url = document.get("token_endpoint")
        if status != 200 or not isinstance(url, str):
            raise ConfigurationError(
                f"{urlsplit(where).netloc} publishes no token endpoint (status {status} at {urlsplit(where).path}).",
                hint="PI Web API does so from 2023 on, when bearer authentication is on; else set "
                "pi_web_api.oauth.token_url.",
            )
        if _host_of(url) == _NO_HOST:
            raise ConfigurationError(
                f"{urlsplit(where).netloc} names a token endpoint that is no URL.",
                hint="Have the identity provider's address corrected, or set pi_web_api.oauth.token_url.",
            )
        if urlsplit(where).scheme == "https" and urlsplit(url).scheme != "https":
            raise ConfigurationError(
                f"{urlsplit(where).netloc} names a token endpoint without TLS; the client secret is not sent there.",
                hint="Have the identity provider's address corrected, or set pi_web_api.oauth.token_url.",
            )
        methods = document.get("token_endpoint_auth_methods_supported")
        # What is no list says nothing; then it is basic (RFC 8414, 2).
        offered = methods if isinstance(methods, list) and methods else ["client_secret_basic"]
        return _Endpoint(url, secret_in_body="client_secret_basic" not in offered)


async def _call(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, Any]]:
    host = _host_of(url)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", **options.pop("headers", {})}
    try:
        async with session.request(
            method, url, headers=headers, allow_redirects=False, timeout=_TIMEOUT, **options
        ) as response:
            body = await response.content.read(_ANSWER_BYTES)
            while chunk := await response.content.read(_ANSWER_BYTES - len(body)):
                body += chunk
            if 300 <= response.status < 400:
                raise ConfigurationError(
                    f"{host} redirects a request for a token (status {response.status}). Redirects are not followed, "
                    "because the client secret would travel along.",
                    hint="Set pi_web_api.oauth.token_url to the address of the endpoint itself.",
                )
            return response.status, _document(body)
    except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
        said = _named(network_error(error, host=host, timeout_secs=_TIMEOUT.total or 0.0))
        raise said from without_credentials(error)


def _host_of(url: str) -> str:
    """The host, for a sentence: a server may name any as its token endpoint."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:  # [half an address
        return _NO_HOST
    return host[:100] or _NO_HOST


def _named(error: ExtractError) -> ExtractError:
    return type(error)(f"While asking for a token: {error.message}", hint=error.hint)


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested beyond reason
        return {}
    return document if isinstance(document, dict) else {}


def _life_secs(lifetime: Any) -> float:
    """How long a token lives; where the server does not say, or says what cannot be, five minutes."""
    try:
        secs = 0.0 if isinstance(lifetime, bool) else float(lifetime)
    except (TypeError, ValueError, OverflowError):
        secs = 0.0
    return secs if 0 < secs < math.inf else 300.0


def _may_pass(status: int) -> bool:
    return status >= 500 or status in {408, 429}


def _refusal(status: int, answer: Mapping[str, Any], host: str) -> ExtractError:
    word = answer.get("error")
    reason = word if isinstance(word, str) and _ERROR_WORD.fullmatch(word) else f"status {status}"
    if _may_pass(status):
        # Without the status: a 500 of this server is no tag's fault.
        return UnavailableError(f"The token endpoint at {host} gives no token ({reason}).")
    return AuthenticationError(
        f"The token endpoint at {host} refuses the client ({reason}).",
        hint="Check pi_web_api.oauth: client_id, client_secret and scope.",
    )
