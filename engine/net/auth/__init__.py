"""Ways to log in to PI Web API. A new one is a file here and a line in `_WAYS`.

Plain values in: this package reads the attributes of `pi_web_api` in the configuration, and knows
nothing of how they got there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from config.errors import ConfigurationError

from .anonymous import Anonymous
from .basic import Basic
from .bearer import Bearer
from .credential import Auth, Credential, Reveals, reveal
from .kerberos import Kerberos
from .oauth import OAuth, OAuthSettings

__all__ = ["Anonymous", "Auth", "Basic", "Bearer", "Credential", "Kerberos", "OAuth", "OAuthSettings", "auth_from"]


class AuthFields(Protocol):
    """The attributes of `pi_web_api` that matter here; secrets may be wrapped."""

    @property
    def url(self) -> Any: ...
    @property
    def auth_type(self) -> str: ...
    @property
    def username(self) -> str | Reveals | None: ...
    @property
    def password(self) -> str | Reveals | None: ...
    @property
    def token(self) -> str | Reveals | None: ...
    @property
    def oauth(self) -> Any: ...


def auth_from(fields: AuthFields) -> Auth:
    """Choose by `auth_type`.

    Raises:
        ConfigurationError: the type is not known, or lacks what it needs.
    """
    way = _WAYS.get(str(fields.auth_type))
    if way is None:
        raise ConfigurationError(
            f"auth_type {str(fields.auth_type)!r} is not supported.", hint=f"One of: {', '.join(sorted(_WAYS))}."
        )
    return way(fields)


def _basic(fields: AuthFields) -> Auth:
    return Basic(reveal(fields.username), reveal(fields.password))


def _bearer(fields: AuthFields) -> Auth:
    return Bearer(reveal(fields.token))


def _oauth(fields: AuthFields) -> Auth:
    # A token without client credentials is one that somebody else fetched.
    if fields.oauth is None or not getattr(fields.oauth, "client_id", None):
        return Bearer(reveal(fields.token)) if reveal(fields.token) else OAuth(OAuthSettings("", "", ""))
    return OAuth(
        OAuthSettings(
            pi_url=str(fields.url),
            client_id=reveal(fields.oauth.client_id),
            client_secret=reveal(fields.oauth.client_secret),
            token_url=str(fields.oauth.token_url or ""),
            scope=str(fields.oauth.scope or "system"),
        )
    )


def _kerberos(fields: AuthFields) -> Auth:
    return Kerberos(
        hostname=urlsplit(str(fields.url)).hostname or "",
        username=reveal(fields.username),
        password=reveal(fields.password),
    )


_WAYS: Final[Mapping[str, Callable[[AuthFields], Auth]]] = {
    "anonymous": lambda _: Anonymous(),
    "basic": _basic,
    "bearer": _bearer,
    "kerberos": _kerberos,
    "oauth": _oauth,
}
