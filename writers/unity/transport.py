"""HTTP to the catalog: authenticate, send, and give the answer back as it is.

The Databricks SDK authenticates (tokens, profiles, OAuth, the identity of a job); its own transport is
not used, because it waits out a 429 that tells us to publish commits, and loses the error words of the
Delta API. Invariant: only requests that may safely arrive twice are repeated here.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import requests

from config.errors import AuthenticationError, UnavailableError

from .answers import Answer

__all__ = ["Transport", "connect"]

_ROOT = "/api/2.1/unity-catalog/"
_TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
_ATTEMPTS = 4
_LONGEST_PAUSE = 20.0
_PASSING = frozenset({429, 502, 503, 504})


class Transport:
    """Calls of one catalog server. Safe for several threads."""

    def __init__(
        self,
        host: str,
        authenticate: Callable[[], Mapping[str, str]],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host = host.rstrip("/")
        self._authenticate = authenticate
        self._sleep = sleep
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Transport({self._host!r})"

    @property
    def host(self) -> str:
        return self._host

    def get(self, path: str, **query: str) -> Answer:
        return self._repeated("GET", path, query=query)

    def ask(self, path: str, body: Mapping[str, Any]) -> Answer:
        """POST something that changes nothing, or nothing more the second time."""
        return self._repeated("POST", path, body=body)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """POST once; again only if we were told to come back later, for then nothing has been done.

        Raises `UnavailableError` where nobody knows whether it has arrived.
        """
        for attempt in range(1, _ATTEMPTS):
            answer = self._send("POST", path, {}, body)
            if answer.status != 429 or answer.backlog:
                return answer
            self._sleep(_pause(attempt, answer.retry_after_secs))
        return self._send("POST", path, {}, body)

    def _repeated(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        for attempt in range(1, _ATTEMPTS):
            try:
                answer = self._send(method, path, query or {}, body)
            except UnavailableError:
                self._sleep(_pause(attempt, None))
                continue
            if answer.status not in _PASSING:
                return answer
            self._sleep(_pause(attempt, answer.retry_after_secs))
        return self._send(method, path, query or {}, body)

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Answer:
        try:
            headers = dict(self._authenticate())
        except ValueError as error:  # how the SDK says that it found or got no credentials
            raise AuthenticationError(
                f"Logging in to Unity Catalog at {self._host} failed: {_first_line(error)}.",
                hint="Check the token, profile or environment variables that the Databricks SDK reads.",
            ) from None
        try:
            response = self._session().request(
                method, f"{self._host}{_ROOT}{path}", params=query, json=body, headers=headers, timeout=_TIMEOUT
            )
        except requests.RequestException as error:
            raise UnavailableError(
                f"Unity Catalog at {self._host} cannot be reached ({type(error).__name__}).",
                hint="Check the host and the network, then run again.",
            ) from None
        return Answer(response.status_code, _parsed(response), _seconds(response.headers.get("Retry-After")))

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.auth = _as_it_is  # or it would put a login of ~/.netrc in place of ours
        return session


def connect(host: str | None = None, token: str | None = None) -> Transport:
    """Authenticate with a token, or as the SDK finds out by itself (job identity, profile, environment).

    Raises `AuthenticationError` where there is nothing to authenticate with.
    """
    if host is not None and token is not None:
        return Transport(host, lambda: {"Authorization": f"Bearer {token}"})
    from databricks.sdk.config import Config

    try:
        config = Config(host=host, token=token, retry_timeout_seconds=30)
        found = str(config.host or "")
    except ValueError as error:
        raise AuthenticationError(
            f"The Databricks SDK finds no credentials for Unity Catalog: {_first_line(error)}.",
            hint="Inside a job nothing is needed; elsewhere set DATABRICKS_HOST and DATABRICKS_TOKEN, or a profile.",
        ) from None
    return Transport(found, config.authenticate)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _pause(attempt: int, asked: float | None) -> float:
    """How long to wait; the jitter keeps shards from coming back together."""
    return min(asked if asked is not None else 0.25 * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def _parsed(response: requests.Response) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(response.content) if response.content else {}
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested beyond reason
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text[:12]) if text is not None and text.isascii() and text.isdigit() else None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
