"""What went wrong on the network, in the words of the error tree. The only reader of aiohttp's exceptions.

Pure: exceptions and answers in, errors out. Messages name the server and the reason, never a header,
a query string or a body that is not an error text.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from config.errors import CertificateError, ConfigurationError, ExtractError, UnavailableError
from engine.piweb.http import Response
from engine.piweb.problems import error_for, not_known

__all__ = ["CUT_MIDWAY", "redirected", "refused", "rejected", "translated", "without_credentials"]

CUT_MIDWAY: Final = "closed the connection in the middle of an answer"

_CERTIFICATE_REASONS: Final[Mapping[int, str]] = {
    9: "is not valid yet (or the clock of this machine is wrong)",
    10: "has expired (or the clock of this machine is wrong)",
    18: "is self-signed",
    19: "is signed by an authority nobody here knows (self-signed certificate in its chain)",
    20: "is signed by an authority nobody here knows",
    21: "is signed by an authority nobody here knows",
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


def translated(error: Exception, *, host: str, timeout_secs: float) -> ExtractError:
    """Say what an exception of aiohttp, ssl or asyncio means to the caller."""
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


def refused(response: Response, *, host: str, what: str, attempts: int) -> ExtractError:
    """Turn a 429 or 5xx that would not go away into an error: what it means is piweb's to say."""
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    error = error_for(response, f"{what} at {host}{tries}")
    assert error is not None  # noqa: S101 - only for statuses that stand for one
    return error


def rejected(response: Response, *, host: str, auth: str, auth_type: str) -> ExtractError:
    """Turn a 401 that came in spite of fresh credentials into an error."""
    return not_known(response, f"{host} does not accept our credentials ({auth})", auth=auth_type)


def redirected(status: int, *, host: str, origin: str) -> ConfigurationError:
    """Turn a redirect into an error: credentials do not travel to where a server points."""
    return ConfigurationError(
        f"{host} answered {status} and points to {origin}.",
        hint="Is this PI Web API, or a login page in front of it? Set pi_web_api.url to the final address.",
    )
