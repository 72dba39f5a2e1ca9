"""Kerberos, through pyspnego and the GSSAPI of the machine (optional extra `kerberos`).

Every request carries a token of its own, and the server's answer has to carry one that proves it holds
the key of its service name (mutual authentication). Tokens are made in a worker thread, since making one
may ask the KDC.

Without a password, GSSAPI finds the login by itself: the ticket cache (`KRB5CCNAME`), or a keytab
(`KRB5_CLIENT_KTNAME`). With one, we log in once and keep the tickets in a cache in memory; pyspnego alone
would ask the KDC for two tickets at every request. Only Kerberos is offered, never the "negotiate" that
may fall to NTLM.

Invariant: the password goes to the Kerberos library and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiohttp

from config.errors import AuthenticationError, ConfigurationError, ExtractError, UnavailableError
from engine.daemon_call import in_daemon_thread

from .credential import Credential

_EARLY_SECS: Final = 300.0
_MISSING_HINT: Final = (
    "Install the extra: `pip install 'osipi-connector[kerberos]'`; it is built against the Kerberos libraries, so "
    "on Debian and Ubuntu first `apt-get install libkrb5-dev gcc python3-dev krb5-user`."
)
# Minor codes of MIT Kerberos that a user can do something about.
_KDC_UNREACHABLE: Final = frozenset({-1765328228, -1765328164})
_REASONS: Final[Mapping[int, tuple[str, str]]] = {
    -1765328360: ("the password is wrong", "Check pi_web_api.password."),
    -1765328353: ("the password is wrong", "Check pi_web_api.password."),
    -1765328378: ("the KDC does not know the user", "Check pi_web_api.username, with its realm: svc_pi@CORP.EXAMPLE."),
    -1765328377: (
        "the KDC does not know the service",
        "An administrator registers it with `setspn -S HTTP/<host> <account>`; pi_web_api.url must use that host name.",
    ),
    -1765328347: ("the clocks are too far apart", "Synchronise the clock of this machine; Kerberos allows 5 minutes."),
    -1765328361: ("the password has expired", "Have the account's password renewed."),
    -1765328366: ("the account is locked or disabled", "Have the account enabled."),
    -1765328230: ("the realm is not known", "Check default_realm and [realms] in krb5.conf."),
    -1765328352: ("the tickets have expired", "Run `kinit`, or set KRB5_CLIENT_KTNAME to a keytab."),
    -1765328243: (
        "there is no ticket",
        "Run `kinit`, set KRB5_CLIENT_KTNAME to a keytab, or give a user and password.",
    ),
    -1765328189: (
        "there is no ticket",
        "Run `kinit`, set KRB5_CLIENT_KTNAME to a keytab, or give a user and password.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Login:
    """Tickets in a memory cache; `cache` keeps it alive."""

    cache: Any
    name: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class _Ticket(Credential):
    """What one request carries, and the login it was made with; none: GSSAPI's own."""

    login: _Login | None = field(default=None, repr=False)


class Kerberos:
    """Sends a ticket for `HTTP/hostname`, and wants the server's proof in return."""

    def __init__(
        self, *, hostname: str, username: str = "", password: str = "", wall: Callable[[], float] = time.time
    ) -> None:
        _require_libraries()
        if password and not username:
            raise ConfigurationError(
                "auth_type kerberos has a password but no user name.", hint="Set pi_web_api.username."
            )
        if "\\" in username:
            raise ConfigurationError(
                f"Kerberos knows no user name like {username}.",
                hint="Write it with the realm instead: svc_pi@CORP.EXAMPLE.",
            )
        self._hostname = hostname
        self._username = username
        self._password = password
        self._wall = wall
        self._logging_in = asyncio.Lock()
        self._login: _Login | None = None

    def __repr__(self) -> str:
        return f"kerberos, {'user ' + self._username if self._username else 'default login'}"

    async def credential(self, session: aiohttp.ClientSession) -> Credential:  # noqa: ARG002 - the protocol's
        login = await self._logged_in() if self._password else None
        context, token = await in_daemon_thread(partial(self._begin, login))

        async def verify(headers: Mapping[str, str]) -> None:
            await asyncio.to_thread(self._prove, context, headers)

        return _Ticket(f"Negotiate {base64.b64encode(token).decode()}", verify, login)

    async def refresh(self, rejected: Credential) -> bool:
        # A service ticket may have outlived the key it was made for; a new login gets a new one. Many requests
        # may be rejected that were made with one and the same login; the first of them drops it.
        if isinstance(rejected, _Ticket) and rejected.login is self._login:
            self._login = None
        return bool(self._password)

    async def _logged_in(self) -> _Login:
        async with self._logging_in:
            if self._login is None or self._wall() >= self._login.ends_at - _EARLY_SECS:
                self._login = await in_daemon_thread(self._log_in)
            return self._login

    def _log_in(self) -> _Login:
        import krb5

        try:
            context = krb5.init_context()
            user = krb5.parse_name_flags(context, self._username.encode())
            options = krb5.get_init_creds_opt_alloc(context)
            krb5.get_init_creds_opt_set_canonicalize(options, canonicalize=True)
            tickets = krb5.get_init_creds_password(context, user, options, password=self._password.encode())
            cache = krb5.cc_new_unique(context, b"MEMORY")
            krb5.cc_initialize(context, cache, tickets.client)
            krb5.cc_store_cred(context, cache, tickets)
        except krb5.Krb5Error as error:
            raise self._failure(error.err_code) from error
        return _Login(cache, f"MEMORY:{(cache.name or b'').decode()}", float(tickets.times.endtime))

    def _begin(self, login: _Login | None) -> tuple[Any, bytes]:
        import spnego
        from spnego.exceptions import SpnegoError

        who = spnego.KerberosCCache(login.name) if login else self._username or None
        try:
            context = spnego.client(who, hostname=self._hostname, service="HTTP", protocol="kerberos")
            token = context.step()
        except SpnegoError as error:
            raise self._failure(_minor_code(error)) from error
        return context, token or b""

    def _prove(self, context: Any, headers: Mapping[str, str]) -> None:
        from spnego.exceptions import SpnegoError

        try:
            context.step(_server_token(headers))
            proven = context.complete
        except (SpnegoError, AttributeError, binascii.Error, ValueError) as error:
            # pyspnego answers a mismatch of channel bindings with an AttributeError.
            raise self._unproven() from error
        if not proven:
            raise self._unproven()

    def _unproven(self) -> AuthenticationError:
        return AuthenticationError(
            f"{self._hostname} did not prove that it holds the key of HTTP/{self._hostname}.",
            hint="Does another server, or a proxy, answer in its place?",
        )

    def _failure(self, code: int) -> ExtractError:
        if code in _KDC_UNREACHABLE:
            return UnavailableError(
                "No Kerberos KDC can be reached.", hint="Check [realms] in krb5.conf, and that this machine reaches it."
            )
        reason, hint = _REASONS.get(code, (f"code {code}", "Try `kinit` and `kvno HTTP/<host>` by hand."))
        return AuthenticationError(f"Kerberos login for HTTP/{self._hostname} failed: {reason}.", hint=hint)


def _server_token(headers: Mapping[str, str]) -> bytes:
    scheme, _, token = headers.get("www-authenticate", "").partition(" ")
    return base64.b64decode(token, validate=True) if scheme.lower() == "negotiate" else b""


def _minor_code(error: Exception) -> int:
    """Find the code of MIT Kerberos, which is negative; GSSAPI passes it on as if it were unsigned."""
    code = int(getattr(getattr(error, "base_error", None), "min_code", 0))
    return code - (1 << 32) if code >= 1 << 31 else code


def _require_libraries() -> None:
    try:
        import gssapi  # noqa: F401 - pyspnego loads it late, and we want to know now
        import krb5  # noqa: F401
        import spnego  # noqa: F401
    except (ImportError, OSError) as error:
        raise ConfigurationError(
            "auth_type kerberos needs libraries that are not installed.", hint=_MISSING_HINT
        ) from error
