"""The open-source Unity Catalog server, on free ports of loopback, with a folder of its own. One serves a whole suite;
each test has a catalog of its own there.

Its jars come from `make unity-jars`. Where they are not, tests that need it are skipped with the reason;
with CI=true they fail.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_ports
from tests.unity.jars import jars

VERSION = "0.6.0"
MAIN = "io.unitycatalog.server.UnityCatalogServer"
_START_SECS = 60


@dataclass(frozen=True)
class Server:
    """`create_catalog` gives its name; tables managed by it lie under `root`."""

    host: str
    token: str = "not-checked"

    def create_catalog(self, name: str, root: str) -> str:
        self.call("POST", "catalogs", {"name": name, "storage_root": root})
        return name

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.host}/api/2.1/unity-catalog/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found


@contextmanager
def serving(folder: Path, properties: Mapping[str, str]) -> Iterator[Server]:
    """Run a server in `folder` until the block ends."""
    classpath = str(jars(f"unitycatalog-server-{VERSION}") / "*")
    conf = folder / "etc" / "conf"
    conf.mkdir(parents=True)
    lines = {"server.env": "test", "server.authorization": "disable", **properties}
    (conf / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in lines.items()), encoding="ascii")
    port = free_ports(2)  # the server itself listens on the second one
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["java", "-Xmx512m", "-cp", classpath, MAIN, "--port", str(port)], cwd=folder, stdout=log, stderr=log
        )
    server = Server(f"http://127.0.0.1:{port}")
    try:
        _wait(server, process, folder / "server.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, s3: dict[str, str]) -> Iterator[Server]:
    """A server whose tables lie in folders, or in the bucket of `s3`."""
    properties = {
        "s3.bucketPath.0": "s3://lake",
        "s3.region.0": s3["AWS_REGION"],
        "s3.accessKey.0": s3["AWS_ACCESS_KEY_ID"],
        "s3.secretKey.0": s3["AWS_SECRET_ACCESS_KEY"],
        "s3.sessionToken.0": "a-session",
    }
    with serving(tmp_path_factory.mktemp("server"), properties) as found:
        yield found


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECS
    while True:
        try:
            server.call("GET", "catalogs")
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        else:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the Unity Catalog server does not answer:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)
