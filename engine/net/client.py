"""The client of PI Web API: sends requests, and gives whole answers or raises our errors.

It decides nothing itself. The gate says when to send, `retry` whether to send again, `auth` as whom,
`piweb.problems` what a status means, `network_errors` what an exception means.

Invariant: `send` gives a complete body or raises one of our errors. Credentials go to the configured address only.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, Self, TypeAlias

import aiohttp
from yarl import URL

from config.errors import ExtractError, SplitError, UnavailableError
from engine.piweb.batches import Overload, overload_in, overload_of
from engine.piweb.http import Request, Response
from engine.piweb.limits import LearnedLimits
from engine.piweb.problems import (
    error_for,
    is_from_pi,
    is_refused,
    is_timed_out,
    is_too_long,
    is_worth_retrying,
    redirect_error,
    retry_after_secs,
    unauthorized,
)
from engine.piweb.requests import without_fields
from engine.plan.pace import LONGEST_PROBE_WAIT_SECS

from .auth import Auth, Credential, PerConnection
from .body import Body, read_body
from .gate import Gate
from .network_errors import network_error, without_credentials
from .retry import Exchange, PoliteRetry, with_retries
from .settings import ClientSettings, ClientStats
from .tls import tls_context

_log = logging.getLogger("osipi.net")
# Raises `UnavailableError` for an answer that is damaged.
Check: TypeAlias = Callable[[Response], object]
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
            max_requests_per_second=settings.max_requests_per_second,
            max_in_flight=settings.max_in_flight,
            probe_wait_secs=settings.retry_initial_wait_secs,
            # No pause is longer than the user allows.
            longest_probe_wait_secs=min(LONGEST_PROBE_WAIT_SECS, settings.retry_max_wait_secs),
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
        # How long requests this server takes; requests are built within these limits.
        self.limits = LearnedLimits(settings.max_url_chars, settings.max_request_bytes)
        # Sessions that nothing is sent by now, the one used last at the end.
        self._idle: list[aiohttp.ClientSession] = []
        self._sessions: tuple[aiohttp.ClientSession, ...] = ()

    def __repr__(self) -> str:
        return f"PIClient({self._base!r}, {self._settings.auth!r})"

    async def __aenter__(self) -> Self:
        settings = self._settings
        context = await asyncio.to_thread(tls_context, ca_bundle=settings.ca_bundle, verify=settings.verify_tls)
        auth = settings.auth
        # A login that holds for a connection wants to know which one it has: sessions of one connection each, then.
        if isinstance(auth, PerConnection):
            made = [self._session_of(1, context, auth.connections.trace()) for _ in range(settings.max_in_flight)]
        else:
            made = [self._session_of(settings.max_in_flight, context)]
        self._sessions, self._idle = tuple(made), made
        return self

    async def __aexit__(self, *_: object) -> None:
        sessions, self._sessions, self._idle = self._sessions, (), []
        for session in sessions:
            await session.close()

    def _session_of(
        self, connections: int, context: ssl.SSLContext, *traces: aiohttp.TraceConfig
    ) -> aiohttp.ClientSession:
        settings = self._settings
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=context),
            headers={**_HEADERS, "User-Agent": settings.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # body.py does it, and notices when it is cut
            timeout=aiohttp.ClientTimeout(
                total=settings.timeout_secs, sock_connect=min(_CONNECT_SECS, settings.timeout_secs)
            ),
            read_bufsize=_READ_BUFFER_BYTES,
            trace_configs=[self._tracing(), *traces],
        )

    async def send(
        self, request: Request, *, max_body_bytes: int | None = None, check: Check | None = None
    ) -> Response:
        """Send, wait for a turn before each attempt, and read the answer to its end.

        Statuses that say something about the request (400, 403, 404, 413 and the like) are answers. `check` looks at an
        answer of success; where it raises `UnavailableError`, the answer is damaged, and is asked for again.

        Raises:
            AuthenticationError: 401, also with refreshed credentials.
            CertificateError: the server's certificate is not trusted.
            ConfigurationError: the server redirects.
            SplitError: the body is larger than `max_body_bytes` or that of the settings; or the request is longer than is
                configured, or seems to be longer than something before the server takes.
            ThrottledError, UnavailableError: after all attempts.
        """
        request = self.limits.fitted(request)
        if self.limits.exceeds(request):
            raise SplitError(
                f"{_what(request)} at {self._settings.host} is longer than is configured",
                hint="ask for fewer at once",
                too_much="request",
            )
        response = await self._noted(request, max_body_bytes, check)
        if request.items < 2 and request.safe and is_too_long(response):
            # The only part that can still be left out is `selectedFields`: the server then sends all fields.
            bare = without_fields(request)
            if bare is not request:
                again = await self._noted(bare, max_body_bytes, check)
                if is_from_pi(again) and not is_too_long(again):
                    self.limits.drop_fields(request)
                    return again
        return response

    async def _noted(self, request: Request, max_body_bytes: int | None, check: Check | None) -> Response:
        """Send, and learn from the answer, or from its absence, how long requests may be."""
        try:
            answer = await self._sent(request, max_body_bytes, check)
        except UnavailableError as error:
            if error.dropped and self.limits.note_dropped(request):
                raise SplitError(error.message, hint=error.hint, too_much="request") from error
            raise
        response = replace(answer, items=request.items, worked=self.limits.worked(request), reached=self.limits.reached)
        self.limits.note(request, response)
        if is_worth_retrying(response):
            attempts = self._settings.retry_attempts if request.safe and request.patient else 1
            raise self._refusal(request, response, attempts=attempts)
        return response

    def _refusal(self, request: Request, response: Response, *, attempts: int) -> ExtractError:
        """The error of a 429 or 5xx that stays after all attempts."""
        tries = f" after {attempts} attempts" if attempts > 1 else ""
        error = error_for(response, f"{_what(request)} at {self._settings.host}{tries}")
        assert error is not None  # noqa: S101 - such a status stands for one
        return error

    async def _sent(self, request: Request, max_body_bytes: int | None, check: Check | None) -> Response:
        limit = self._limit(max_body_bytes)
        options = self._patient if request.safe and request.patient else self._once

        known_probes: int | None = None

        async def attempt(number: int) -> Exchange:
            nonlocal known_probes
            if number > 1:
                self._stats = replace(self._stats, retries=self._stats.retries + 1)
            try:
                exchange = await self._authenticated(request, limit, known_probes)
            finally:
                known_probes = self._gate.failed_probes
            return _checked(exchange, check)

        response = (await with_retries(attempt, options)).response
        if 300 <= response.status < 400 and "location" in response.headers:
            return await self._redirected(request, response, max_body_bytes, check)
        return response

    async def _redirected(
        self, request: Request, response: Response, max_body_bytes: int | None, check: Check | None
    ) -> Response:
        """Follow a redirect that only adds or takes away a slash at the end; nothing else is an address of PI's."""
        asked, target = URL(self._base + request.path, encoded=True), self._target(request, response)
        slash = target is not None and target != asked and _same_but_slash(target, asked)
        if not slash or request.method != "GET" or not request.safe:
            raise redirect_error(response.status, host=self._settings.host, target=_origin(target))
        path, mark, query = request.path.partition("?")
        other = path[:-1] if path.endswith("/") else f"{path}/"
        options = self._once
        moved = replace(request, path=f"{other}{mark}{query}", safe=False)  # once, so that it cannot go round
        limit = self._limit(max_body_bytes)
        answer = _checked(
            await with_retries(lambda _number: self._authenticated(moved, limit), options), check
        ).response
        if 300 <= answer.status < 400:
            raise redirect_error(answer.status, host=self._settings.host, target=_origin(target))
        return answer

    @property
    def login(self) -> str:
        """The way of logging in, as `pi_web_api.auth_type` calls it; with auto the one that the server has asked for."""
        return _auth_type(self._settings.auth)

    def _limit(self, wanted: int | None) -> int:
        """What an answer may be long: no request gets more than the settings allow to all."""
        most = self._settings.max_body_bytes
        return most if wanted is None else min(wanted, most)

    def statistics(self) -> ClientStats:
        gate = self._gate.statistics()
        return replace(
            self._stats,
            requests=gate.sent,
            in_flight=gate.in_flight,
            window=gate.window,
            rate=gate.rate,
            waited_secs=gate.waited_secs,
        )

    async def _authenticated(self, request: Request, limit: int, known_probes: int | None = None) -> Exchange:
        auth = self._settings.auth
        for last in (False, True):
            credential, response = await self._paced(request, limit, known_probes)
            if response.status != 401:
                return Exchange(request.method, response)
            if last or not await auth.refresh(credential):
                break
        said = f"{self._settings.host} does not accept our credentials ({auth!r})"
        raise unauthorized(response, said, auth=_auth_type(auth))

    async def _paced(
        self, request: Request, limit: int, known_probes: int | None = None
    ) -> tuple[Credential, Response]:
        """Pass the gate, send, and tell the gate how the server answered.

        The credential is fetched after the gate: waiting may take minutes, and tickets and tokens expire.
        """
        async with self._gate.slot(known_probes) as started_at:
            try:
                with self._line() as session:
                    credential = await self._settings.auth.credential(session)
                    response = await self._exchange(session, request, credential, limit)
            except TimeoutError as error:
                failure = self._translated(error)
                _log.debug("%s: %s", _what(request), failure)
                if isinstance(error, aiohttp.ConnectionTimeoutError):
                    self._gate.away(failure, started_at=started_at)
                else:
                    self._gate.overloaded(started_at=started_at, timed_out=True)
                raise failure from error
            except (aiohttp.ClientError, OSError, UnicodeError) as error:
                failure = self._translated(error)
                _log.debug("%s: %s", _what(request), failure)
                if isinstance(error, aiohttp.ClientConnectorError) and isinstance(failure, UnavailableError):
                    self._gate.away(failure, started_at=started_at)
                raise failure from without_credentials(error)
            _note(request, response)
            self._account(request, response, started_at)
            return credential, replace(response, started_at=started_at)

    async def _exchange(
        self, session: aiohttp.ClientSession, request: Request, credential: Credential, limit: int
    ) -> Response:
        headers = {"Authorization": credential.header} if credential.header else {}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        clock = time.monotonic
        sent = _SentAt(at=clock())
        async with session.request(
            request.method,
            URL(self._base + request.path, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=sent,
        ) as answer:
            first_byte = clock() - sent.at
            names = _headers(answer)
            await _prove(credential, answer.status, names)
            body = await self._body(answer, limit)
            return Response(
                status=answer.status,
                body=body.data,
                headers=names,
                elapsed_secs=clock() - sent.at,
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
                hint="Less is asked for at once. If a single value is so long: a larger performance.buffer_bytes, or fewer "
                "requests at once (pi_web_api.max_in_flight), leaves room for it.",
            )
        return body

    def _account(self, request: Request, response: Response, started_at: float) -> None:
        if is_refused(response):
            self._stats = replace(self._stats, throttled=self._stats.throttled + 1)
            asked = retry_after_secs(response.headers, now=time.time()) or 0.0
            pause = min(asked, self._settings.max_retry_after_secs)
            if response.status == 429:
                self._gate.overloaded(started_at=started_at, retry_after_secs=pause)
            else:
                self._gate.away(
                    self._refusal(request, response, attempts=1), started_at=started_at, retry_after_secs=pause
                )
        elif is_timed_out(response):
            # What lies before PI Web API is there. Most often one request asks for too much, and less is asked next.
            self._gate.overloaded(started_at=started_at, timed_out=True, partly=True)
        elif response.status < 500:
            latency = self._stats.first_byte_secs or response.first_byte_secs
            latency += _LATENCY_WEIGHT * (response.first_byte_secs - latency)
            self._stats = replace(self._stats, first_byte_secs=latency)
            searched = request.path == "/batch" and response.status < 300 and not request.tells_of_parts
            overload = overload_of(response.body) if searched else None
            if overload is None:
                self._gate.answered(_kind(request), started_at=started_at, first_byte_secs=response.first_byte_secs)
            else:
                self._account_for_parts(overload, started_at)

    def note_parts(self, response: Response, errors: Iterable[Exception]) -> None:
        """Account for the errors of the parts of a batch that `tells_of_parts`."""
        if overload := overload_in(errors):
            self._account_for_parts(overload, response.started_at)

    def _account_for_parts(self, overload: Overload, started_at: float) -> None:
        self._stats = replace(self._stats, throttled=self._stats.throttled + overload.refused)
        self._gate.overloaded(
            started_at=started_at,
            retry_after_secs=min(overload.retry_after_secs, self._settings.max_retry_after_secs),
            timed_out=not overload.refused,
            partly=True,
        )

    def _tracing(self) -> aiohttp.TraceConfig:
        """Hold every sending to the rate once it has a connection. This includes what aiohttp repeats by itself when a
        connection breaks, and requests for tokens, which PI may have to answer.
        """

        async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
            await self._gate.wait_to_send()
            if isinstance(context.trace_request_ctx, _SentAt):
                context.trace_request_ctx.at = time.monotonic()

        config = aiohttp.TraceConfig()
        config.on_connection_create_end.append(connected)
        config.on_connection_reuseconn.append(connected)
        return config

    @property
    def _session(self) -> aiohttp.ClientSession:
        if not self._sessions:
            raise RuntimeError("PIClient is used outside of its `async with`")
        return self._sessions[0]

    @contextmanager
    def _line(self) -> Iterator[aiohttp.ClientSession]:
        """A session to send by: the only one; or, of those of one connection, the idle one that was used last.

        The gate lets no more requests pass than there are sessions.
        """
        if len(self._sessions) < 2:
            yield self._session
            return
        session = self._idle.pop()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _translated(self, error: Exception) -> ExtractError:
        return network_error(error, host=self._settings.host, timeout_secs=self._settings.timeout_secs)

    def _target(self, request: Request, response: Response) -> URL | None:
        try:
            return URL(self._base + request.path, encoded=True).join(URL(response.headers["location"]))
        except ValueError:
            return None


def _checked(exchange: Exchange, check: Check | None) -> Exchange:
    if check is not None and 200 <= exchange.response.status < 300:
        check(exchange.response)
    return exchange


@dataclass(slots=True)
class _SentAt:
    """When a request was last sent."""

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
    """Where a redirect points, without path and query: either may hold a token."""
    try:
        return str(target.origin()) if target is not None else "elsewhere"
    except ValueError:
        return "elsewhere"


def _kind(request: Request) -> str:
    """Group requests whose latency compares: GET dataservers, POST batch."""
    return f"{request.method} {request.path.strip('/').partition('?')[0].partition('/')[0]}"


def _note(request: Request, response: Response) -> None:
    """Log an answer. Neither query, headers nor body: none of these is needed, and each may hold what is secret."""
    millis = response.elapsed_secs * 1000
    _log.debug("%s: %d, %d bytes, %.0f ms", _what(request), response.status, len(response.body), millis)


def _what(request: Request) -> str:
    """Name a request in a sentence: without its query, and no longer than a line bears."""
    path = request.path.partition("?")[0]
    return f"{request.method} {path if len(path) <= 80 else path[:77] + '...'}"
