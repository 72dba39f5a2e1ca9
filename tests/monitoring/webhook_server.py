"""A webhook on loopback that keeps what it is sent, and behaves as told: it answers, is slow, refuses or redirects."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.patience import HANGS_AFTER_SECS

SECRET = "T0000-pl4nted-hook"


class Webhook:
    """`status`: what it answers. `slow`: it answers only once it is stopped."""

    def __init__(self) -> None:
        self.status = 200
        self.slow = False
        self.asked: list[tuple[str, str, Any]] = []  # method, path, body
        self.released = threading.Event()
        self.url = ""

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.asked]

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.bodies]


@contextmanager
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            hook.asked.append(("POST", self.path, json.loads(content)))
            if hook.slow:
                hook.released.wait()
            self.send_response(hook.status)
            if 300 <= hook.status < 400:
                self.send_header("Location", f"{hook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            hook.asked.append(("GET", self.path, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with answering(Handler, hook.released) as address:
        hook.url = f"{address}/services/{SECRET}"
        yield hook


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler], released: threading.Event) -> Iterator[str]:
    """A server on loopback; gives its address. `released` is set at the end, for requests that still wait for it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for what threads and other tasks do."""
    async with asyncio.timeout(HANGS_AFTER_SECS):
        while not is_true():  # noqa: ASYNC110 - it is no task of ours that makes it true
            await asyncio.sleep(0.005)
