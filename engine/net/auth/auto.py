"""Takes the way to log in that the server offers, the strongest one that the configuration has what it needs for.

The first request carries no credentials. Its 401 says what is offered. Kerberos comes first, then a token or a client of
OpenID Connect, then NTLM, then basic. A password or a token is sent over https only, or to this machine. Where Kerberos
cannot get a ticket because no KDC is reached, or because there is neither a password nor a ticket, the next way is taken.

Invariant: what was chosen stays, and nothing is sent before the server has asked for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from config.errors import AuthenticationError, ConfigurationError, ExtractError, UnavailableError
from engine.piweb.problems import offered_ways, way_name

from .connections import Connections
from .credential import Auth, Credential
from .static import Anonymous

Ways: TypeAlias = Sequence[tuple[frozenset[str], Callable[[], Auth]]]

_log = logging.getLogger("osipi.net")
_READ_BYTES: Final = 1 << 16


class Auto:
    """Logs in as the server asks. `ways`: schemes of a 401, and how to log in by them; the strongest first."""

    def __init__(self, url: str, ways: Ways, connections: Connections, *, has_password: bool) -> None:
        self._url = f"{url.rstrip('/')}/"
        self._ways = ways
        self._has_password = has_password
        self._choosing = asyncio.Lock()
        self._chosen: Auth | None = None
        self.connections = connections

    def __repr__(self) -> str:
        return "auto" if self._chosen is None else repr(self._chosen)

    async def credential(self, session: aiohttp.ClientSession) -> Credential:
        """Choose, if that was not done yet, and log in.

        Raises:
            AuthenticationError: no way that the server offers can be used; the message says why, way by way.
            aiohttp.ClientError, OSError, TimeoutError: from the way there.
        """
        if self._chosen is None:
            async with self._choosing:
                if self._chosen is None:
                    return await self._choose(session)
        return await self._chosen.credential(session)

    async def refresh(self, rejected: Credential) -> bool:
        return self._chosen is not None and await self._chosen.refresh(rejected)

    async def _choose(self, session: aiohttp.ClientSession) -> Credential:
        async with session.get(self._url, allow_redirects=False) as answer:
            status, challenges = answer.status, ", ".join(answer.headers.getall("WWW-Authenticate", ()))
            while await answer.content.read(_READ_BYTES):
                pass
        if status != 401:
            if status < 400:
                _log.info("%s asks for no login.", self._host)
                self._chosen = Anonymous()
            # An error from before the login tells nothing; the request itself will meet it.
            return Credential()
        offered = offered_ways(challenges)
        reasons: list[str] = []
        for schemes, make in self._ways:
            scheme = next((name for name in offered if name in schemes), None)
            if scheme is None:
                continue
            try:
                way = make()
                credential = await way.credential(session)
            except ConfigurationError as error:
                reasons.append(f"{way_name(scheme)}: {error.message} {error.hint}".strip())
            except (AuthenticationError, UnavailableError) as error:
                if not self._may_go_on(scheme, error):
                    raise
                reasons.append(f"{way_name(scheme)}: {error.message} {error.hint}".strip())
                _log.warning("%s Another way to log in is tried.", error.message)
            else:
                _log.info("Logging in to %s: %r", self._host, way)
                self._chosen = way
                return credential
        offer = f"it offers {', '.join(map(way_name, offered))}" if offered else "it offers none that is known here"
        raise AuthenticationError(
            f"No way to log in that {self._host} offers can be used: {offer}.",
            hint=" ".join(reasons) or "Have Kerberos (Negotiate), OpenID Connect, NTLM or Basic enabled on PI Web API.",
        )

    def _may_go_on(self, scheme: str, error: ExtractError) -> bool:
        """A ticket that cannot be had may be done without. A password that is refused once is not tried again."""
        if scheme not in {"negotiate", "kerberos"}:
            return False
        return isinstance(error, UnavailableError) or not self._has_password

    @property
    def _host(self) -> str:
        return urlsplit(self._url).netloc
