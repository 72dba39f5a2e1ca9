"""HTTP to the catalog: authenticates, sends, and returns the answer as it is.

The Databricks SDK authenticates (tokens, profiles, OAuth, the identity of a job). Its own transport is
not used, because it waits out a 429 that tells us to publish commits, and loses the error codes of the
Delta API. Invariants: only requests that may safely arrive twice are repeated here, and those that were refused before
anything was done. Tokens and bodies go to the host of the catalog alone: no redirect is followed. No answer takes more
than `_MOST_BYTES` of memory, unpacked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests

from config.errors import AuthenticationError, ConfigurationError, UnavailableError

from .answers import CatalogAnswer
from .patience import Patience

_ROOT = "/api/2.1/unity-catalog/"
_TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
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
        patience: Patience = Patience(),  # noqa: B008 - a frozen value
        log_in_anew: Callable[[], Callable[[], Mapping[str, str]]] | None = None,
    ) -> None:
        """`log_in_anew` reads the login again: a token may have been renewed where it came from."""
        self.host = host.rstrip("/")
        self._authenticate = authenticate
        self._log_in_anew = log_in_anew
        self._sleep = sleep
        self._patience = patience
        self._local = threading.local()
        # Whether this is Databricks, as far as its address or an answer shows.
        self.databricks = is_databricks(self.host)

    def __repr__(self) -> str:
        return f"Transport({self.host!r})"

    def get(self, path: str, **query: str) -> CatalogAnswer:
        """`path`: below the root of the API, or from the root of the server where it begins with a slash."""
        return self._repeated("GET", path, query=query)

    def get_once(self, path: str) -> CatalogAnswer:
        """For what a server may answer with an error every time."""
        return self._sent("GET", path, {}, None)

    def ask(self, path: str, body: Mapping[str, Any]) -> CatalogAnswer:
        """POST a request that changes nothing, or nothing more the second time."""
        return self._repeated("POST", path, body=body)

    def post(self, path: str, body: Mapping[str, Any]) -> CatalogAnswer:
        """POST once; again only if the server asked us to come back later, because then nothing has been done.

        Raises `UnavailableError` where it is unknown whether it has arrived.
        """
        attempt = 1
        while True:
            answer = self._sent("POST", path, {}, body)
            if answer.status != 429 or answer.backlog or not self.wait(attempt, answer.retry_after_secs):
                return answer
            attempt += 1

    def wait(self, attempt: int, asked_secs: float | None = None) -> bool:
        """Wait after this failed attempt, counted from 1. False where there is to be no other one."""
        return self._patience.wait(attempt, asked_secs, self._sleep)

    def _repeated(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> CatalogAnswer:
        attempt = 1
        while True:
            try:
                answer = self._sent(method, path, query or {}, body)
            except UnavailableError:
                if not self.wait(attempt):
                    raise
            else:
                if not answer.passes or not self.wait(attempt, answer.retry_after_secs):
                    return answer
            attempt += 1

    def _sent(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> CatalogAnswer:
        """Send; once more with a new login where the old one is refused, because then nothing has been done."""
        used = self._headers()
        answer = self._send(method, path, query, body, used)
        if answer.status != 401 or self._log_in_anew is None:
            return answer
        try:
            renewed = self._log_in_anew()
            headers = dict(renewed())
        except (ValueError, AuthenticationError):  # there is no login any more
            return answer
        if headers == used:
            return answer
        self._authenticate = renewed
        return self._send(method, path, query, body, headers)

    def _headers(self) -> dict[str, str]:
        try:
            return dict(self._authenticate())
        except ValueError as error:  # the SDK found or got no credentials
            raise AuthenticationError(
                f"Logging in to Unity Catalog at {self.host} failed: {_first_line(error)}.",
                hint="Check the token, profile or environment variables that the Databricks SDK reads.",
            ) from None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> CatalogAnswer:
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
        body = _parsed(content)
        return CatalogAnswer(response.status_code, body or {}, asked, self.databricks, garbled=body is None)

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


def connect(
    host: str | None = None,
    token: str | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    patience: Patience = Patience(),  # noqa: B008 - a frozen value
) -> Transport:
    """Authenticate with a token, or as the SDK finds out by itself (job identity, profile, environment).

    Raises `AuthenticationError` where there is nothing to authenticate with.
    """
    if host is not None and token is not None:
        return Transport(host, lambda: {"Authorization": f"Bearer {token}"}, sleep=sleep, patience=patience)
    from databricks.sdk.config import Config

    def found_login() -> Config:
        return Config(host=host, token=token, retry_timeout_seconds=30)

    def log_in_anew() -> Callable[[], Mapping[str, str]]:
        authenticate: Callable[[], Mapping[str, str]] = found_login().authenticate
        return authenticate

    try:
        config = found_login()
        found = str(config.host or "")
    except ValueError as error:
        raise AuthenticationError(
            f"The Databricks SDK finds no credentials for Unity Catalog: {_first_line(error)}.",
            hint="Inside a job nothing is needed; elsewhere set DATABRICKS_HOST and DATABRICKS_TOKEN, or a profile.",
        ) from None
    return Transport(found, config.authenticate, sleep=sleep, patience=patience, log_in_anew=log_in_anew)


def is_databricks(host: str) -> bool:
    """Whether a host serves a Databricks workspace, going by its name."""
    return (urlsplit(host).hostname or "").endswith(_DATABRICKS_ZONES)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(response: requests.Response) -> str:
    """Where a redirect points, without its query, which may hold a token."""
    try:
        parts = urlsplit(urljoin(response.url, response.headers["Location"]))
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:200]


def _parsed(content: bytes) -> Mapping[str, Any] | None:
    """None for what is no JSON object."""
    try:
        body = msgspec.json.decode(content) if content else {}
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested beyond reason
        return None
    return body if isinstance(body, dict) else None


def _seconds(text: str | None) -> float | None:
    return float(text[:12]) if text is not None and text.isascii() and text.isdigit() else None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
