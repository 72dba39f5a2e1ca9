"""HTTP to the catalog: authenticates, sends, and returns the answer as it is.

The Databricks SDK authenticates (tokens, profiles, OAuth, the identity of a job). Its own transport is
not used, because it waits out a 429 that tells us to publish commits, and loses the error codes of the
Delta API. Invariants: only requests that may safely arrive twice are repeated here. Tokens and bodies go to the host
of the catalog alone: no redirect is followed. No answer takes more than `_MOST_BYTES` of memory, unpacked.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests

from config.errors import AuthenticationError, ConfigurationError, UnavailableError

from .answers import CatalogAnswer

_ROOT = "/api/2.1/unity-catalog/"
_TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
_ATTEMPTS = 4
_LONGEST_PAUSE = 20.0
_PASSING = frozenset({429, 502, 503, 504})
# Where Databricks serves workspaces.
_DATABRICKS_ZONES = (
    *(".databricks.com", ".azuredatabricks.net", ".databricks.us"),
    *(".databricks.azure.cn", ".databricks.azure.us"),
)
_MOST_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16  # as sent; a piece of gzip may become a thousand times larger


class Transport:
    """Calls of one catalog server. Safe for several threads."""

    def __init__(
        self,
        host: str,
        authenticate: Callable[[], Mapping[str, str]],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = host.rstrip("/")
        self._authenticate = authenticate
        self._sleep = sleep
        self._local = threading.local()
        # Whether this is Databricks, as far as its address or an answer shows.
        self.databricks = is_databricks(self.host)

    def __repr__(self) -> str:
        return f"Transport({self.host!r})"

    def get(self, path: str, **query: str) -> CatalogAnswer:
        """`path`: below the root of the API, or from the root of the server where it begins with a slash."""
        return self._repeated("GET", path, query=query)

    def ask(self, path: str, body: Mapping[str, Any]) -> CatalogAnswer:
        """POST a request that changes nothing, or nothing more the second time."""
        return self._repeated("POST", path, body=body)

    def post(self, path: str, body: Mapping[str, Any]) -> CatalogAnswer:
        """POST once; again only if the server asked us to come back later, because then nothing has been done.

        Raises `UnavailableError` where it is unknown whether it has arrived.
        """
        for attempt in range(1, _ATTEMPTS):
            answer = self._send("POST", path, {}, body)
            if answer.status != 429 or answer.backlog:
                return answer
            self._sleep(_pause(attempt, answer.retry_after_secs))
        return self._send("POST", path, {}, body)

    def _repeated(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> CatalogAnswer:
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

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> CatalogAnswer:
        try:
            headers = dict(self._authenticate())
        except ValueError as error:  # the SDK found or got no credentials
            raise AuthenticationError(
                f"Logging in to Unity Catalog at {self.host} failed: {_first_line(error)}.",
                hint="Check the token, profile or environment variables that the Databricks SDK reads.",
            ) from None
        url = self.host + (path if path.startswith("/") else f"{_ROOT}{path}")
        try:
            with self._session().request(
                method,
                url,
                params=query,
                json=body,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.is_redirect:
                    raise self._redirected(response)
                content = self._content(response)
        except requests.RequestException as error:
            raise UnavailableError(
                f"Unity Catalog at {self.host} cannot be reached ({type(error).__name__}).",
                hint="Check the host and the network, then run again.",
            ) from None
        self.databricks = self.databricks or response.headers.get("Server", "").lower() == "databricks"
        asked = _seconds(response.headers.get("Retry-After"))
        return CatalogAnswer(response.status_code, _parsed(content), asked, self.databricks)

    def _content(self, response: requests.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_content(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_BYTES:
                raise UnavailableError(
                    f"Unity Catalog at {self.host} sends more than {_MOST_BYTES} bytes in one answer.",
                    hint="Look whether a proxy answers in its place.",
                )
        return b"".join(pieces)

    def _redirected(self, response: requests.Response) -> ConfigurationError:
        return ConfigurationError(
            f"Unity Catalog at {self.host} redirects to {_origin(response)} (status {response.status_code}). Redirects "
            "are not followed, because tokens would travel along.",
            hint="Set DATABRICKS_HOST to the address of the workspace itself, and look whether a proxy or a login page "
            "stands before it.",
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.auth = _as_it_is  # else requests would use a login of ~/.netrc instead of ours
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


def is_databricks(host: str) -> bool:
    """Whether a host serves a Databricks workspace, going by its name."""
    return (urlsplit(host).hostname or "").endswith(_DATABRICKS_ZONES)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _pause(attempt: int, asked: float | None) -> float:
    """Return the seconds to wait; the jitter keeps shards from coming back together."""
    return min(asked if asked is not None else 0.25 * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def _origin(response: requests.Response) -> str:
    """Where a redirect points, without its query, which may hold a token."""
    try:
        parts = urlsplit(urljoin(response.url, response.headers["Location"]))
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:200]


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(content) if content else {}
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested beyond reason
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text[:12]) if text is not None and text.isascii() and text.isdigit() else None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
