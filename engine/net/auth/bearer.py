"""A bearer token that somebody else fetched. It expires one day, and nothing here can renew it."""

from __future__ import annotations

import re
from typing import Final

import aiohttp

from config.errors import ConfigurationError

from .credential import Credential

__all__ = ["Bearer", "bearer_header"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750: b64token


class Bearer:
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
        self._credential = Credential(bearer_header(bare))

    def __repr__(self) -> str:
        return "bearer, static token"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:  # noqa: ARG002 - the protocol's
        return self._credential

    async def refresh(self, rejected: Credential) -> bool:  # noqa: ARG002 - the protocol's
        return False


def bearer_header(token: str) -> str:
    """Write the header; what could break out of it is refused, and not repeated in the message."""
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            "The bearer token holds characters that no token has.",
            hint="Is it the token itself, not a JSON document or a line with quotes?",
        )
    return f"Bearer {token}"
