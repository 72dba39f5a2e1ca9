"""The one TLS context of a run, for PI Web API and for the token endpoint.

Invariant: certificates and host names are verified unless the user turned that off.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from config.errors import ConfigurationError


def tls_context(*, ca_bundle: str | None, verify: bool) -> ssl.SSLContext:
    """Trust the authorities of the system, and those of `ca_bundle` (a PEM file or folder) besides.

    Raises:
        ConfigurationError: the bundle cannot be read or holds no certificate.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca_bundle:
        _trust(context, Path(ca_bundle))
        # From Python 3.13 on, certificates that lack some extensions are refused by default; those that a
        # Windows server issued to itself are among them. Who names a bundle has chosen what to trust.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _trust(context: ssl.SSLContext, bundle: Path) -> None:
    hint = "pi_web_api.ca_bundle takes a PEM file (-----BEGIN CERTIFICATE-----), or a folder made by `openssl rehash`."
    try:
        if bundle.is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"The CA bundle {bundle} holds no PEM certificate.", hint=hint) from error
    except OSError as error:
        raise ConfigurationError(
            f"The CA bundle {bundle} cannot be read: {error.strerror or 'unknown reason'}.", hint=hint
        ) from error
