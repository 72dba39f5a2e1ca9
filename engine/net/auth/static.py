r"""Credentials that stay the same for a whole run: none, user and password (basic), or a bearer token from outside.

Basic credentials go out with every request rather than after a 401: it saves a round trip each. User names of Windows
come in both forms, `CORP\svc_pi` and `svc_pi@corp.example`, and are sent as they are. Everything is UTF-8, which
HTTP.sys expects where ASCII does not do. A bearer token expires one day, and cannot be renewed here.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import aiohttp

from config.errors import ConfigurationError

from .credential import Credential

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750: b64token


class _Static:
    def __init__(self, shown: str, header: str) -> None:
        self._shown = shown
        self._credential = Credential(header)

    def __repr__(self) -> str:
        return self._shown

    async def credential(self, session: aiohttp.ClientSession) -> Credential:  # noqa: ARG002 - the protocol's
        return self._credential

    async def refresh(self, rejected: Credential) -> bool:  # noqa: ARG002 - the protocol's
        return False


class Anonymous(_Static):
    """Sends no credential: PI Web API then acts as its own service account."""

    def __init__(self) -> None:
        super().__init__("anonymous", "")


class Basic(_Static):
    """Sends user name and password."""

    def __init__(self, username: str, password: str) -> None:
        if not username or not password:
            raise ConfigurationError(
                "auth_type basic needs a user name and a password.",
                hint="Set pi_web_api.username and password, or secrets_scope with username_key and password_key.",
            )
        if ":" in username:
            raise ConfigurationError(
                "A user name for basic authentication cannot hold a colon.", hint="Check pi_web_api.username."
            )
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        super().__init__(f"basic, user {username}", f"Basic {pair}")


class Bearer(_Static):
    """Sends one and the same token."""

    def __init__(self, token: str) -> None:
        bare = token.strip()
        if bare[:7].lower() == "bearer ":
            bare = bare[7:].strip()
        if not bare:
            raise ConfigurationError(
                "auth_type bearer needs a token.",
                hint="Set pi_web_api.token, or secrets_scope with oauth_token_key.",
            )
        super().__init__("bearer, static token", bearer_header(bare))


def bearer_header(token: str) -> str:
    """Write the header; what could break out of it is refused, and not repeated in the message."""
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            "The bearer token holds characters that no token has.",
            hint="Is it the token itself, not a JSON document or a line with quotes?",
        )
    return f"Bearer {token}"
