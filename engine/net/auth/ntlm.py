"""NTLM, through pyspnego (optional extra `ntlm`).

NTLM logs in a connection, not a request. The login takes two requests on one connection: an offer, which the server
answers with 401 and a challenge, and the answer to that challenge. What is sent on that connection afterwards needs no
header. So the client gives us sessions of one connection each, and each logs in before it carries anything of a run.

A proxy that does not keep one connection to the server for each of ours breaks this, and is named as the likely reason.
One login at a time is tried, and a refusal ends all that wait for theirs: a wrong password must not lock the account.
NTLM does not prove who the server is; only TLS does. Channel bindings are not sent.

Invariant: the password goes to pyspnego and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

from config.errors import AuthenticationError, ConfigurationError
from engine.piweb.http import Response
from engine.piweb.problems import unauthorized

from .connections import Connections
from .credential import Credential

_MISSING_HINT: Final = "Install the extra: `pip install 'osipi-connector[ntlm]'`."
_TRIES: Final = 3
# aiohttp closes a connection that is idle for 15 s; what is sent next shall not go out on a new one without a login.
_IDLE_SECS: Final = 12.0
_ANSWER_BYTES: Final = 1 << 20
_PROXY_HINT: Final = (
    "NTLM logs in one connection. A proxy, gateway or load balancer between here and PI Web API breaks it, unless it "
    "keeps one connection to the server for each of ours. Reach the server directly, or use another "
    "pi_web_api.auth_type: kerberos, oauth or basic."
)


@dataclass(frozen=True, slots=True)
class _LoggedIn(Credential):
    """No header: this connection of the session is logged in; `new`: just now."""

    session: aiohttp.ClientSession | None = field(default=None, repr=False)
    connection: int = 0
    new: bool = False


class Ntlm:
    """Logs in each connection with user name and password before it is used."""

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        connections: Connections | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _require_library()
        if not username or not password:
            raise ConfigurationError(
                "auth_type ntlm needs a user name and a password.",
                hint="Set pi_web_api.username and password, or secrets_scope with username_key and password_key.",
            )
        self._url = f"{url.rstrip('/')}/"
        self._username = username
        self._password = password
        self._logging_in = asyncio.Lock()
        self._refusals = 0
        # The connection of a session that is logged in, and when it was last used.
        self._logged_in: WeakKeyDictionary[aiohttp.ClientSession, tuple[int, float]] = WeakKeyDictionary()
        self._clock = clock
        self.connections = connections or Connections()

    def __repr__(self) -> str:
        return f"ntlm, user {self._username}"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:
        """Log in the connection of the session, unless it is. `session` has one connection at most.

        Raises:
            AuthenticationError: the server does not accept us, or something in between breaks the login.
            aiohttp.ClientError, OSError, TimeoutError: from the way there.
        """
        if new := not self._is_logged_in(session):
            refusals = self._refusals
            async with self._logging_in:
                if self._refusals != refusals:
                    raise self._refused("")
                await self._log_in(session)
        connection = self.connections.opened(session)
        if session in self._logged_in:
            self._logged_in[session] = connection, self._clock()
        return _LoggedIn(session=session, connection=connection, new=new)

    def _is_logged_in(self, session: aiohttp.ClientSession) -> bool:
        connection, used_at = self._logged_in.get(session, (-1, 0.0))
        return connection == self.connections.opened(session) and self._clock() < used_at + _IDLE_SECS

    async def refresh(self, rejected: Credential) -> bool:
        """Log in again: the connection was closed meanwhile and another one took its place, or its login has ended.

        Raises:
            AuthenticationError: a connection was refused that had logged in just before.
        """
        if not isinstance(rejected, _LoggedIn) or rejected.session is None:
            return False
        if rejected.new and self.connections.opened(rejected.session) == rejected.connection:
            raise self._broken("refuses what is sent on a connection that has logged in by NTLM")
        # What has closed this connection may have closed the others, too.
        self._logged_in.clear()
        return True

    async def _log_in(self, session: aiohttp.ClientSession) -> None:
        for _ in range(_TRIES):
            if await self._handshake(session):
                return
        raise self._broken("uses several connections for one NTLM login")

    async def _handshake(self, session: aiohttp.ClientSession) -> bool:
        """Log in once; false if the connection did not last."""
        context = offer_of(self._username, self._password, host=urlsplit(self._url).hostname or "")
        challenge = await self._ask(session, context.step())
        connection = self.connections.opened(session)
        if challenge.status != 401:
            self._note(session, challenge)
            return True
        token = challenge_in(challenge.headers)
        if token is None:
            said = f"{self._host} does not take an NTLM login ({self!r})"
            raise unauthorized(challenge, said, auth="ntlm")
        if not token:
            raise self._broken("does not answer the offer of an NTLM login with a challenge")
        if _closes(challenge):
            raise self._broken("closes the connection in the middle of the NTLM login")
        proof = proof_of(context, token)
        if proof is None:
            raise self._broken("sends an NTLM challenge that is none")
        answer = await self._ask(session, proof)
        if self.connections.opened(session) != connection:
            return False
        if answer.status == 401:
            self._refusals += 1
            raise self._refused(answer.headers.get("via", ""))
        if _closes(answer):
            raise self._broken("closes the connection that has just logged in by NTLM")
        self._note(session, answer)
        return True

    def _note(self, session: aiohttp.ClientSession, answer: Response) -> None:
        # What a server that is overloaded says comes from before the login, or after it.
        if answer.status < 500 and answer.status != 429:
            self._logged_in[session] = self.connections.opened(session), self._clock()

    async def _ask(self, session: aiohttp.ClientSession, token: bytes | None) -> Response:
        """One request of the login. It has no body: the server may refuse it."""
        header = f"NTLM {base64.b64encode(token or b'').decode()}"
        async with session.get(self._url, headers={"Authorization": header}, allow_redirects=False) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            names["www-authenticate"] = ", ".join(answer.headers.getall("WWW-Authenticate", ()))
            # Read to its end, so that the connection is kept.
            body = await answer.content.read(_ANSWER_BYTES)
            while piece := await answer.content.read(_ANSWER_BYTES):
                body = piece
            return Response(status=answer.status, body=body[:1000], headers=names)

    @property
    def _host(self) -> str:
        return urlsplit(self._url).netloc

    def _refused(self, via: str) -> AuthenticationError:
        hint = "Check user name and password of pi_web_api, and whether the account may log in."
        if via:
            hint += f" The answer came through a proxy. {_PROXY_HINT}"
        return AuthenticationError(f"{self._host} does not accept our credentials ({self!r}).", hint=hint)

    def _broken(self, what: str) -> AuthenticationError:
        return AuthenticationError(f"{self._host} {what}.", hint=_PROXY_HINT)


def offer_of(username: str, password: str, *, host: str) -> Any:
    """A login that has not begun; its first step is the offer."""
    import spnego

    return spnego.client(username, password, hostname=host, service="HTTP", protocol="ntlm")


def proof_of(context: Any, challenge: bytes) -> bytes | None:
    """The answer to a challenge; None if it is none. pyspnego trusts the lengths that it reads."""
    from spnego.exceptions import SpnegoError

    try:
        proof: bytes | None = context.step(challenge)
    except (SpnegoError, ValueError, LookupError, ArithmeticError, struct.error):
        return None
    return proof


def _closes(answer: Response) -> bool:
    return answer.headers.get("connection", "").lower() == "close"


def challenge_in(headers: Mapping[str, str]) -> bytes | None:
    """The challenge of the server; empty if there is none, None if it does not offer NTLM at all."""
    for challenge in headers.get("www-authenticate", "").split(","):
        scheme, _, token = challenge.strip().partition(" ")
        if scheme.lower() == "ntlm":
            try:
                return base64.b64decode(token.strip(), validate=True)
            except ValueError:  # no base64, or not even ASCII
                return b""
    return None


def _require_library() -> None:
    try:
        import spnego  # noqa: F401 - loaded late, and we want to know now
    except ImportError as error:
        raise ConfigurationError("auth_type ntlm needs a library that is not installed.", hint=_MISSING_HINT) from error
    # At its level DEBUG it logs the messages themselves, and a password can be guessed from them.
    logging.getLogger("spnego").setLevel(logging.INFO)
