"""Turns exceptions of aiohttp, ssl and asyncio into our errors. Pure.

What an answer's status means is decided in `engine.piweb.problems`. Messages name the server and the reason, never a
header or a query string.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from config.errors import CertificateError, ConfigurationError, ExtractError, UnavailableError

CUT_MIDWAY: Final = "closed the connection in the middle of an answer"

_CERTIFICATE_REASONS: Final[Mapping[int, str]] = {
    9: "is not valid yet (or the clock of this machine is wrong)",
    10: "has expired (or the clock of this machine is wrong)",
    18: "is self-signed",
    19: "is signed by an authority that this machine does not know (self-signed certificate in its chain)",
    20: "is signed by an authority that this machine does not know",
    21: "is signed by an authority that this machine does not know",
    23: "has been revoked",
    62: "is for another host name",
    64: "is for another address",
}
_TRUST_HINT: Final = (
    "Set pi_web_api.ca_bundle to a PEM file with the certificate of the authority that signed it (for a "
    "self-signed one: the certificate itself)."
)
_NAME_HINT: Final = "Use in pi_web_api.url the host name that the certificate was issued for, or have it reissued."
_DATE_HINT: Final = "Have the certificate renewed; pi_web_api.ca_bundle cannot help against a date."


def network_error(error: Exception, *, host: str, timeout_secs: float) -> ExtractError:
    """The error that an exception of aiohttp, ssl or asyncio means."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _certificate(error.certificate_error, host)
    if isinstance(error, aiohttp.ClientSSLError):
        return UnavailableError(
            f"No TLS connection to {host}: {_os_reason(error)}.",
            hint="Does this port speak https? Check the scheme and the port of pi_web_api.url.",
        )
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):  # a host name no DNS could know: pi..corp.example
        return ConfigurationError(f"The URL of {host} is not valid.", hint="Check pi_web_api.url.")
    if isinstance(error, TimeoutError):
        return UnavailableError(
            f"{host} did not answer within {timeout_secs:g} s.",
            hint="Raise pi_web_api.timeout, or ask for less at once (extraction.batch_size).",
        )
    dropped = isinstance(error, aiohttp.ClientConnectionError) and not isinstance(error, aiohttp.ClientConnectorError)
    return UnavailableError(f"{host} {_what_happened(error)}.", hint=_connect_hint(error), dropped=dropped)


def without_credentials(error: Exception) -> Exception:
    """Make an exception of aiohttp fit to be the cause of ours: some hold the request, and so its headers."""
    if isinstance(error, aiohttp.ClientResponseError):
        bare = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict()))
        error.request_info, error.args = bare, (bare, error.history)
    return error


def _what_happened(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorError() if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "is not a host name that can be resolved"
        case aiohttp.ClientConnectorError():
            return f"cannot be connected to: {_os_reason(error)}"
        case aiohttp.ClientPayloadError():
            cause = str(error)
            return cause if cause.startswith("sent ") else CUT_MIDWAY
        case aiohttp.ServerDisconnectedError():
            return "closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return "answered with something that is not HTTP"
        case _:
            return f"broke the connection: {_os_reason(error)}"


def _connect_hint(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return (
            "Check pi_web_api.url, and that this machine reaches the server (DNS, firewall, VPN). Proxies are not used."
        )
    return ""


def _os_reason(error: Exception) -> str:
    origin = getattr(error, "os_error", error)
    if isinstance(origin, ssl.SSLError):
        return (origin.reason or "handshake failed").replace("_", " ").lower()
    # asyncio writes the address into `strerror`; what the number says is the reason.
    code = getattr(origin, "errno", None)
    return os.strerror(code).lower() if code and code > 0 else type(origin).__name__


def _certificate(error: Exception, host: str) -> CertificateError:
    code = getattr(error, "verify_code", 0)
    reason = _CERTIFICATE_REASONS.get(code)
    if reason is None:
        detail = getattr(error, "verify_message", "") or "verification failed"
        reason = f"is not trusted: {detail}"
    hint = {9: _DATE_HINT, 10: _DATE_HINT, 62: _NAME_HINT, 64: _NAME_HINT}.get(code, _TRUST_HINT)
    return CertificateError(f"The TLS certificate of {host} {reason}.", hint=hint)
