"""The interface of a way to log in.

Invariant: a secret lives in a field that no repr shows, and leaves this package in a header only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import aiohttp


@dataclass(frozen=True, slots=True)
class Credential:
    """The Authorization header of one request ("": none), and what to check in its answer.

    `verify` looks at the headers of a successful answer (names in lower case) and raises
    `AuthenticationError` if they do not prove that the server is who it should be.
    """

    header: str = field(default="", repr=False)
    verify: Callable[[Mapping[str, str]], Awaitable[None]] | None = None


class Auth(Protocol):
    """How a request gets its credential. `repr` names the scheme and the user, never a secret."""

    async def credential(self, session: aiohttp.ClientSession) -> Credential:
        """Give what the next request carries.

        `session` may be used to fetch a token; it has the TLS settings of the connection to PI.
        """

    async def refresh(self, rejected: Credential) -> bool:
        """Account for a 401 to `rejected`; true if the next credential has a chance to fare better."""


@runtime_checkable
class Reveals(Protocol):
    """A wrapped secret, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str: ...


def reveal(secret: str | Reveals | None) -> str:
    """Unwrap a secret; an absent one is empty."""
    if secret is None:
        return ""
    return secret if isinstance(secret, str) else secret.get_secret_value()


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host does not leave the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
