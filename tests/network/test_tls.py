"""Certificates: trusted only with reason, and refused with the reason."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from config.errors import CertificateError, ConfigurationError, UnavailableError
from engine.net.auth import Basic
from engine.net.client import ClientSettings, PIClient
from engine.net.tls import tls_context
from engine.piweb.http import Request
from tests.network.conftest import Certificates
from tests.network.sinner import Sinner, answer

GET = Request("GET", "/system")


@pytest.fixture(autouse=True)
def no_authorities_of_the_system() -> None:
    """Those of the system are there, unlike in other tests."""


async def status(url: str, **changes: object) -> int:
    async with PIClient(ClientSettings(url, retry_attempts=3, retry_initial_wait_secs=0.01, **changes)) as piweb:
        return (await piweb.send(GET)).status


async def test_a_server_signed_by_the_authority_in_the_bundle_is_trusted(certificates: Certificates) -> None:
    async with Sinner([answer()], tls=certificates.good) as pi:
        assert await status(pi.url, ca_bundle=str(certificates.ca)) == 200


@pytest.mark.parametrize(
    ("server", "bundle", "reason", "hint"),
    [
        ("good", False, "is signed by an authority that this machine does not know", "ca_bundle"),
        ("self_signed", True, "is self-signed", "ca_bundle"),
        ("expired", True, "has expired", "renewed"),
        ("other_host", True, "is for another address", "host name that the certificate was issued for"),
    ],
)
async def test_a_certificate_that_is_not_right_is_refused_at_once_and_nothing_is_sent(
    certificates: Certificates, server: str, bundle: bool, reason: str, hint: str
) -> None:
    async with Sinner([answer()], tls=getattr(certificates, server)) as pi:
        with pytest.raises(CertificateError, match=rf"certificate of 127\.0\.0\.1:{pi.port} {reason}") as caught:
            await status(pi.url, ca_bundle=str(certificates.ca) if bundle else None, auth=Basic("u", "p4ssw0rd"))
    assert hint in caught.value.hint
    assert pi.arrivals == []


async def test_verification_can_be_turned_off(certificates: Certificates) -> None:
    async with Sinner([answer()], tls=certificates.self_signed) as pi:
        assert await status(pi.url, verify_tls=False) == 200


async def test_https_on_a_port_that_speaks_http_is_said_to_be_that() -> None:
    async with Sinner([answer()]) as pi:
        with pytest.raises(UnavailableError, match="No TLS connection to 127") as caught:
            await status(pi.url.replace("http:", "https:"), ca_bundle=None)
    assert "speak https" in caught.value.hint


def test_a_bundle_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.pem cannot be read: No such file"):
        tls_context(ca_bundle=str(tmp_path / "absent.pem"), verify=True)
    (tmp_path / "der.pem").write_bytes(b"\x30\x82\x01\x00not PEM")
    with pytest.raises(ConfigurationError, match=r"der\.pem holds no PEM certificate"):
        tls_context(ca_bundle=str(tmp_path / "der.pem"), verify=True)


def test_a_bundle_is_trusted_besides_the_authorities_of_the_system(certificates: Certificates) -> None:
    system = tls_context(ca_bundle=None, verify=True)
    both = tls_context(ca_bundle=str(certificates.ca), verify=True)
    assert both.cert_store_stats()["x509"] == system.cert_store_stats()["x509"] + 1
    assert both.verify_mode is ssl.CERT_REQUIRED
    assert both.check_hostname
