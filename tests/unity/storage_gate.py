"""A storage that honours the credentials of a catalog: before S3, it lets in whoever has a key that still lives.

(The emulator behind it takes any key.) Real HTTP on loopback; what is let through, and what not, is counted.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.unity.stand_in import StandIn

_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
_OF_THE_CONNECTION = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class StorageGate:
    """`behind`: the address of the storage."""

    catalog: StandIn
    behind: str
    admitted: Counter[str] = field(default_factory=Counter)  # by key
    refused: Counter[str] = field(default_factory=Counter)
    url: str = ""

    def __enter__(self) -> Self:
        gate = self

        class Handler(_Handler):
            owner = gate

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def admits(self, authorization: str) -> bool:
        found = re.search(r"Credential=([^/]+)/", authorization)
        key = found[1] if found else ""
        expires_ms = self.catalog.vended.get(key, 0)
        lives = expires_ms is None or time.time() * 1000 < expires_ms
        (self.admitted if lives else self.refused)[key] += 1
        return lives


class _Handler(BaseHTTPRequestHandler):
    owner: StorageGate
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.owner.admits(self.headers.get("Authorization", "")):
            self._answer(403, [("Content-Type", "application/xml")], _EXPIRED)
            return
        behind = http.client.HTTPConnection(urlsplit(self.owner.behind).netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        self._answer(answer.status, answer.getheaders(), content)
        behind.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]
        if self.command != "HEAD":  # whose length is that of the object
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            kept.append(("Content-Length", str(len(content))))
        for name, value in kept:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815
