"""What changes midway between two requests of a run: a clock, a certificate, a login. By default each meets one dataset.

The first request of a dataset of its own is the moment: what came before it was still well.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import acts
from tests.faults.chaos import Answer, Link, Request
from tests.faults.matrix import DATASETS, MIDWAY, Midway
from tests.faults.rig import Prepared, assert_as_said, assert_healed, in_cell, own
from tests.faults.rounds import cells_of
from tests.faults.subjects import SUBJECTS
from tests.network.conftest import Certificates

STALE, FRESH = "stale-0001", "fresh-0002"


def _cells() -> Iterator[tuple[bool, tuple[Any, ...], str]]:
    for one in MIDWAY:
        for name in DATASETS:
            yield name == "data_servers", (one, name), f"{name}-{one.name}"


@pytest.mark.parametrize(("fault", "name"), cells_of(_cells()))
async def test_a_change_midway(
    tmp_path: Path,
    prepared: Callable[[str], Awaitable[Prepared]],
    certificates: Certificates,
    fault: Midway,
    name: str,
) -> None:
    lake, subject, root = await prepared(name), SUBJECTS[name], tmp_path / "lake"
    shutil.copytree(lake.lake, root)
    tls = _context(certificates, "good") if fault.of == "certificate" else None
    async with in_cell(subject, root, tls=tls) as cell:
        subject.change(cell.server)
        is_own = own(subject)
        if tls is not None:
            cell.sections = {"pi_web_api": {"ca_bundle": str(certificates.ca)}}
            cell.proxy.trouble(_expiring(tls, certificates), lambda request: bool(is_own.search(request.text)), 1)
        elif fault.of == "login":
            token = {"client_id": "connector", "client_secret": "not-a-real-one", "token_url": f"{cell.url}/token"}
            cell.sections = {"pi_web_api": {"auth_type": "oauth", "oauth": token}}
            cell.proxy.trouble(_Logins(is_own, renews=fault.renews), lambda _request: True, None)
        else:
            cell.proxy.trouble(
                acts.clock_moved(fault.shows), lambda request: bool(_DATA_SERVERS.search(request.text)), None
            )
        ended = await cell.run()
        assert cell.proxy.struck, "no request met the fault"
        assert_as_said(cell, lake, ended, fault.ends[name], fault.says)
        if fault.of == "login":
            cell.proxy.act = _Logins(is_own, renews=True)
        else:
            cell.proxy.trouble(None, lambda _request: False, None)
        if tls is not None:
            tls.load_cert_chain(certificates.ca.parent / "good.pem")
        await assert_healed(cell, lake)


_DATA_SERVERS = re.compile(r"^GET \S*/dataservers(\?| |$)")


def _context(certificates: Certificates, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.ca.parent / f"{name}.pem")
    return context


def _expiring(tls: ssl.SSLContext, certificates: Certificates) -> acts.Act:
    """From now on new connections are shown a certificate that has expired."""

    async def act(_request: Request, link: Link) -> None:
        tls.load_cert_chain(certificates.ca.parent / "expired.pem")
        link.reset()

    return act


class _Logins:
    """Gives tokens, and takes the first one until a dataset is asked for; then the second one, if it `renews` them."""

    def __init__(self, own: re.Pattern[str], *, renews: bool) -> None:
        self._own, self._renews, self._taken = own, renews, STALE

    async def __call__(self, request: Request, link: Link) -> None:
        if self._own.search(request.text):
            self._taken = FRESH
        if "/token" in request.text.partition("?")[0]:
            await link.send(self._token().wire(more=b"Connection: close\r\n"))
        elif f"Bearer {self._taken}".encode() in request.head:
            await link.send((await link.behind(request)).wire(more=b"Connection: close\r\n"))
        else:
            refused = Answer.of(401, b"")
            challenge = b'WWW-Authenticate: Bearer error="invalid_token"\r\nConnection: close\r\n'
            await link.send(refused.wire(more=challenge))

    def _token(self) -> Answer:
        if self._taken == FRESH and not self._renews:
            return Answer.of(400, b'{"error": "invalid_client", "error_description": "the client was switched off"}')
        token = {"access_token": self._taken, "token_type": "Bearer", "expires_in": 3600}
        return Answer.of(200, json.dumps(token).encode())
