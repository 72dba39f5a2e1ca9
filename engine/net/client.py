"""The client of PI Web API: requests in, whole answers or errors of ours out.

Puts the parts of this package together, and keeps no decision to itself: the gate says when, the retry
options whether again, `auth` as whom, `failures` what a mishap means. Reads no body: that is piweb's.

Invariant: what leaves `send` is a complete body or one of our errors; credentials go to the configured
address and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from config.errors import SplitError, UnavailableError
from engine.piweb.http import Request, Response
from engine.piweb.limits import LearnedLimits
from engine.piweb.problems import is_from_pi, is_settled, is_too_long, retry_after_secs
from engine.piweb.requests import without_fields

from .auth import Auth, Credential
from .body import Body, read_body
from .failures import redirected, refused, rejected, translated, without_credentials
from .gate import Gate
from .retry import RETRIED_STATUSES, Exchange, PoliteRetry, with_retries
from .settings import ClientSettings, ClientStats, warn_of_danger
from .tls import tls_context

__all__ = ["ClientSettings", "ClientStats", "PIClient"]

_ERROR_BODY_BYTES: Final = 1 << 16  # enough for PI's own error texts; proxies send megabytes of HTML
_READ_BUFFER_BYTES: Final = 1 << 20
_CONNECT_SECS: Final = 30.0
_LATENCY_WEIGHT: Final = 0.1
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "X-Requested-With": "XMLHttpRequest",  # PI refuses a POST without it (defence against forged requests)
}


class PIClient:
    """One session with one PI Web API; an async context manager."""

    def __init__(self, settings: ClientSettings, *, rand: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/")
        self._gate = Gate(
            max_requests_per_second=settings.max_requests_per_second, max_in_flight=settings.max_in_flight
        )
        self._patient = PoliteRetry(
            attempts=settings.retry_attempts,
            initial_wait_secs=settings.retry_initial_wait_secs,
            max_wait_secs=settings.retry_max_wait_secs,
            max_retry_after_secs=settings.max_retry_after_secs,
            rand=rand,
        )
        self._once = PoliteRetry(attempts=1, initial_wait_secs=0.0, max_wait_secs=0.0, max_retry_after_secs=0.0)
        self._stats = ClientStats()
        # What this server has shown to take; whoever builds requests looks here first.
        self.limits = LearnedLimits(settings.max_url_chars, settings.max_request_bytes)
        self._open: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"PIClient({self._base!r}, {self._settings.auth!r})"

    async def __aenter__(self) -> Self:
        settings = self._settings
        warn_of_danger(settings)
        context = await asyncio.to_thread(tls_context, ca_bundle=settings.ca_bundle, verify=settings.verify_tls)
        self._open = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.max_in_flight, ssl=context),
            headers={**_HEADERS, "User-Agent": settings.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # body.py does it, and notices when it is cut
            timeout=aiohttp.ClientTimeout(
                total=settings.timeout_secs, sock_connect=min(_CONNECT_SECS, settings.timeout_secs)
            ),
            read_bufsize=_READ_BUFFER_BYTES,
            trace_configs=[self._tracing()],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    async def send(self, request: Request, *, max_body_bytes: int | None = None) -> Response:
        """Send, wait for a turn before each attempt, and read the answer to its end.

        Statuses that say something about the request (400, 403, 404, 413 and the like) are answers.

        Raises:
            AuthenticationError: 401, also with refreshed credentials.
            CertificateError: the server's certificate is not trusted.
            ConfigurationError: the server redirects.
            SplitError: the body is larger than `max_body_bytes`; or the request seems to be longer than
                something before the server takes.
            ThrottledError, UnavailableError: after all attempts.
        """
        request = self.limits.fitted(request)
        response = await self._noted(request, max_body_bytes)
        if request.items < 2 and request.safe and is_too_long(response):
            # Nothing is left to take out of it but what the server sends anyway, if it is not told what to send.
            bare = without_fields(request)
            if bare is not request:
                again = await self._noted(bare, max_body_bytes)
                if is_from_pi(again) and not is_too_long(again):
                    self.limits.drop_fields(request)
                    return again
        return response

    async def _noted(self, request: Request, max_body_bytes: int | None) -> Response:
        """Send, and learn from the answer, or from its absence, how long requests may be."""
        try:
            answer = await self._sent(request, max_body_bytes)
        except UnavailableError as error:
            if error.dropped and self.limits.note_dropped(request):
                raise SplitError(error.message, hint=error.hint, too_much="request") from error
            raise
        response = replace(answer, items=request.items, worked=self.limits.worked(request), reached=self.limits.reached)
        self.limits.note(request, response)
        if response.status in RETRIED_STATUSES and not is_settled(response):
            attempts = self._settings.retry_attempts if request.safe and request.patient else 1
            raise refused(response, host=self._settings.host, what=_what(request), attempts=attempts)
        return response

    async def _sent(self, request: Request, max_body_bytes: int | None) -> Response:
        limit = self._settings.max_body_bytes if max_body_bytes is None else max_body_bytes
        options = self._patient if request.safe and request.patient else self._once

        async def attempt(number: int) -> Exchange:
            if number > 1:
                self._stats = replace(self._stats, retries=self._stats.retries + 1)
            return await self._authenticated(request, limit)

        response = (await with_retries(attempt, options)).response
        if 300 <= response.status < 400 and "location" in response.headers:
            return await self._redirected(request, response, max_body_bytes)
        return response

    async def _redirected(self, request: Request, response: Response, max_body_bytes: int | None) -> Response:
        """Follow a redirect that only adds or takes away a slash at the end; nothing else is an address of PI's."""
        asked, target = URL(self._base + request.path, encoded=True), self._target(request, response)
        slash = target is not None and target != asked and _same_but_slash(target, asked)
        if not slash or request.method != "GET" or not request.safe:
            raise redirected(response.status, host=self._settings.host, origin=_origin(target))
        path, mark, query = request.path.partition("?")
        other = path[:-1] if path.endswith("/") else f"{path}/"
        options = self._once
        moved = replace(request, path=f"{other}{mark}{query}", safe=False)  # once, so that it cannot go round
        limit = self._settings.max_body_bytes if max_body_bytes is None else max_body_bytes
        answer = (await with_retries(lambda _number: self._authenticated(moved, limit), options)).response
        if 300 <= answer.status < 400:
            raise redirected(answer.status, host=self._settings.host, origin=_origin(target))
        return answer

    def statistics(self) -> ClientStats:
        gate = self._gate.statistics()
        return replace(
            self._stats,
            requests=gate.sent,
            in_flight=gate.in_flight,
            window=gate.window,
            waited_secs=gate.waited_secs,
        )

    async def _authenticated(self, request: Request, limit: int) -> Exchange:
        auth = self._settings.auth
        for last in (False, True):
            credential, response = await self._paced(request, limit)
            if response.status != 401:
                return Exchange(request.method, response)
            if last or not await auth.refresh(credential):
                break
        raise rejected(response, host=self._settings.host, auth=repr(auth), auth_type=_auth_type(auth))

    async def _paced(self, request: Request, limit: int) -> tuple[Credential, Response]:
        """Pass the gate, and tell it afterwards how the server took it.

        The credential is had only then: at the gate it may be minutes, and tickets and tokens age.
        """
        async with self._gate.passage() as started_at:
            credential = await self._settings.auth.credential(self._session)
            try:
                response = await self._exchange(request, credential, limit)
            except TimeoutError as error:
                self._gate.overloaded(started_at=started_at)
                raise self._translated(error) from error
            except (aiohttp.ClientError, OSError, UnicodeError) as error:
                raise self._translated(error) from without_credentials(error)
            self._account(request, response, started_at)
            return credential, response

    async def _exchange(self, request: Request, credential: Credential, limit: int) -> Response:
        headers = {"Authorization": credential.header} if credential.header else {}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        clock = time.monotonic
        sending = _Sending(at=clock())
        async with self._session.request(
            request.method,
            URL(self._base + request.path, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=sending,
        ) as answer:
            first_byte = clock() - sending.at
            names = _headers(answer)
            await _prove(credential, answer.status, names)
            body = await self._body(answer, limit)
            return Response(
                status=answer.status,
                body=body.data,
                headers=names,
                elapsed_secs=clock() - sending.at,
                first_byte_secs=first_byte,
            )

    async def _body(self, answer: aiohttp.ClientResponse, limit: int) -> Body:
        failed = answer.status >= 400
        body = await read_body(
            answer.content,
            encoding=answer.headers.get("Content-Encoding", ""),
            max_bytes=_ERROR_BODY_BYTES if failed else limit,
        )
        self._stats = replace(self._stats, bytes_received=self._stats.bytes_received + body.wire_bytes)
        if not body.complete and not failed:
            raise SplitError(
                f"{self._settings.host} sends more than {limit} bytes in one answer.",
                hint="Ask for fewer events at once (extraction.batch_size, max_count_per_tag).",
            )
        return body

    def _account(self, request: Request, response: Response, started_at: float) -> None:
        if response.status in {429, 503}:
            self._stats = replace(self._stats, throttled=self._stats.throttled + 1)
            asked = retry_after_secs(response.headers, now=time.time()) or 0.0
            pause = min(asked, self._settings.max_retry_after_secs)
            self._gate.overloaded(started_at=started_at, retry_after_secs=pause)
        elif response.status < 500:
            latency = self._stats.first_byte_secs or response.first_byte_secs
            latency += _LATENCY_WEIGHT * (response.first_byte_secs - latency)
            self._stats = replace(self._stats, first_byte_secs=latency)
            self._gate.answered(_kind(request), started_at=started_at, first_byte_secs=response.first_byte_secs)

    def _tracing(self) -> aiohttp.TraceConfig:
        """Hold every sending to the rate once it has a connection: also what aiohttp repeats by itself when one
        breaks, and requests for tokens, which may be PI's to answer.
        """

        async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
            await self._gate.sending()
            if isinstance(context.trace_request_ctx, _Sending):
                context.trace_request_ctx.at = time.monotonic()

        config = aiohttp.TraceConfig()
        config.on_connection_create_end.append(connected)
        config.on_connection_reuseconn.append(connected)
        return config

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            raise RuntimeError("PIClient is used outside of its `async with`")
        return self._open

    def _translated(self, error: Exception) -> Exception:
        return translated(error, host=self._settings.host, timeout_secs=self._settings.timeout_secs)

    def _target(self, request: Request, response: Response) -> URL | None:
        try:
            return URL(self._base + request.path, encoded=True).join(URL(response.headers["location"]))
        except ValueError:
            return None


@dataclass(slots=True)
class _Sending:
    """One request on its way: when it was last sent."""

    at: float


async def _prove(credential: Credential, status: int, headers: Mapping[str, str]) -> None:
    """Check the server's proof of identity, if the way of logging in has one.

    Answers from before the login (HTTP.sys refusing a URL, a proxy's 502) carry none and need none.
    """
    if credential.verify is not None and status < 400:
        await credential.verify(headers)


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Names in lower case. A server may offer each way to log in by a header of its own."""
    names = {name.lower(): value for name, value in answer.headers.items()}
    for name in ("www-authenticate", "proxy-authenticate"):
        if name in names:
            names[name] = ", ".join(answer.headers.getall(name))
    return names


def _auth_type(auth: Auth) -> str:
    """The way of logging in as the configuration calls it: the first word of its repr."""
    return repr(auth).partition(",")[0]


def _same_but_slash(target: URL, asked: URL) -> bool:
    same = target.origin() == asked.origin() and target.raw_query_string == asked.raw_query_string
    return same and target.raw_path.rstrip("/") == asked.raw_path.rstrip("/")


def _origin(target: URL | None) -> str:
    """Where a redirect points, without its query, which may hold a token."""
    try:
        return str(target.origin()) + target.path if target is not None else "elsewhere"
    except ValueError:
        return "elsewhere"


def _kind(request: Request) -> str:
    """Group requests whose latency compares: GET dataservers, POST batch."""
    return f"{request.method} {request.path.strip('/').partition('?')[0].partition('/')[0]}"


def _what(request: Request) -> str:
    """Name a request in a sentence: without its query, and no longer than a line bears."""
    path = request.path.partition("?")[0]
    return f"{request.method} {path if len(path) <= 80 else path[:77] + '...'}"
