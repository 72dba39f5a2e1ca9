"""Servers of the storage that tests write to, on loopback."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import HANGS_AFTER_SECS

__all__ = ["free_port", "free_ports", "s3", "serve"]


# Below the ports that systems give to connections: Linux begins at 32768, others at 49152. A port from there may be
# taken before the server that it was meant for listens, which is seconds later.
_PORTS = range(20_000, 32_000)
_S3 = Path(__file__).with_name("s3_server.py")


def free_port() -> int:
    return free_ports(1)


def free_ports(number: int) -> int:
    """The first of so many free ports in a row."""
    dice = random.SystemRandom()  # hypothesis seeds the other one: workers would choose the same ports
    while True:
        first = dice.randrange(_PORTS.start, _PORTS.stop - number)
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:  # raised where one is taken
            for port in range(first, first + number):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def serve(command: list[str], url: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + HANGS_AFTER_SECS
    try:
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(HANGS_AFTER_SECS)


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    serving = serve([sys.executable, str(_S3), "-H", "127.0.0.1", "-p", str(port)], f"{endpoint}/moto-api/")
    next(serving)
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/lake", method="PUT")).close()
    yield {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "not-a-real-one",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    for _ in serving:
        pass
