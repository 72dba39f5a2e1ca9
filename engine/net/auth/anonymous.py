"""No login at all: PI Web API then acts as its own service account."""

from __future__ import annotations

import aiohttp

from .credential import Credential

__all__ = ["Anonymous"]


class Anonymous:
    """Sends no credential."""

    def __repr__(self) -> str:
        return "anonymous"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:  # noqa: ARG002 - the protocol's
        return Credential()

    async def refresh(self, rejected: Credential) -> bool:  # noqa: ARG002 - the protocol's
        return False
