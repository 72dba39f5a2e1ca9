"""Ways to log in to PI Web API. A new one is a file here and a line in `_WAYS`.

This package reads the attributes of `pi_web_api` in the configuration as plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from config.errors import ConfigurationError

from .auto import Auto
from .connections import Connections, PerConnection
from .credential import Auth, Credential, Reveals, is_loopback, reveal
from .kerberos import Kerberos
from .ntlm import Ntlm
from .oauth import OAuth, OAuthSettings
from .static import Anonymous, Basic, Bearer


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


def _oauth(fields: AuthFields) -> Auth:
    # A token without client credentials was fetched elsewhere.
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


def _basic(fields: AuthFields) -> Auth:
    return Basic(reveal(fields.username), reveal(fields.password))


def _ntlm(fields: AuthFields, connections: Connections | None = None) -> Auth:
    return Ntlm(str(fields.url), reveal(fields.username), reveal(fields.password), connections=connections)


def _auto(fields: AuthFields) -> Auth:
    connections = Connections()

    def sent_as_it_is(way: Callable[[AuthFields], Auth]) -> Callable[[], Auth]:
        def make() -> Auth:
            parts = urlsplit(str(fields.url))
            if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
                raise ConfigurationError("It is used over https only.", hint="Write pi_web_api.url with https.")
            return way(fields)

        return make

    return Auto(
        str(fields.url),
        (
            (frozenset({"negotiate", "kerberos"}), lambda: _kerberos(fields)),
            (frozenset({"bearer"}), sent_as_it_is(_oauth)),
            (frozenset({"ntlm"}), lambda: _ntlm(fields, connections)),
            (frozenset({"basic"}), sent_as_it_is(_basic)),
        ),
        connections,
        has_password=bool(reveal(fields.password)),
    )


_WAYS: Final[Mapping[str, Callable[[AuthFields], Auth]]] = {
    "anonymous": lambda _: Anonymous(),
    "auto": _auto,
    "basic": _basic,
    "bearer": lambda fields: Bearer(reveal(fields.token)),
    "kerberos": _kerberos,
    "ntlm": _ntlm,
    "oauth": _oauth,
}
