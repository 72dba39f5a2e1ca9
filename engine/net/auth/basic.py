r"""Basic authentication, sent with every request rather than after a 401: it saves a round trip each.

User names of Windows come in both forms, `CORP\svc_pi` and `svc_pi@corp.example`, and are sent as they
are. Everything is UTF-8, which HTTP.sys expects where ASCII does not do.
"""

from __future__ import annotations

import base64

import aiohttp

from config.errors import ConfigurationError

from .credential import Credential

__all__ = ["Basic"]


class Basic:
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
        self._username = username
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._credential = Credential(f"Basic {pair}")

    def __repr__(self) -> str:
        return f"basic, user {self._username}"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:  # noqa: ARG002 - the protocol's
        return self._credential

    async def refresh(self, rejected: Credential) -> bool:  # noqa: ARG002 - the protocol's
        return False
