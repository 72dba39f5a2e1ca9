"""The few endpoints of a Databricks workspace that we and its CLI ask, as a real HTTP server on loopback.

The same answers on every run; what is asked is noted, and what is not known is a 404 in the API's own form.
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "dapi-planted-workspace-token"


class Workspace:
    def __init__(self, secrets: dict[tuple[str, str], str], catalog: dict[str, Any] | None = None) -> None:
        self.secrets = secrets
        self.catalog = catalog or {}  # what stands at a path of Unity Catalog, below /api/2.1/unity-catalog/
        self.asked: list[str] = []
        self.url = ""

    @contextmanager
    def serve(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def env(self) -> dict[str, str]:
        return {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": TOKEN}

    def answer(self, path: str, query: dict[str, str], token: str | None) -> tuple[int, Any]:
        self.asked.append(path)
        if path == "/.well-known/databricks-config":
            return 200, {"oidc_endpoint": f"{self.url}/oidc", "host_type": "workspace", "workspace_id": "1"}
        if token != f"Bearer {TOKEN}":
            return 401, {"error_code": "UNAUTHENTICATED", "message": "no or wrong token"}
        match path:
            case "/api/2.0/preview/scim/v2/Me":
                return 200, {"id": "1", "userName": "someone@company.com", "groups": [{"display": "data"}]}
            case "/api/2.0/workspace/get-status":
                return 200, {"path": query["path"], "object_type": "DIRECTORY", "object_id": 1}
            case "/api/2.0/secrets/get":
                return self._secret(query["scope"], query["key"])
        found = self.catalog.get(path.removeprefix("/api/2.1/unity-catalog/"))
        if found is not None:
            return 200, found.get(query.get("principal"), {}) if "permissions" in path else found
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"nothing at {path}"}

    def _secret(self, scope: str, key: str) -> tuple[int, Any]:
        value = self.secrets.get((scope, key))
        if value is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no secret {scope}/{key}"}
        return 200, {"key": key, "value": base64.b64encode(value.encode()).decode()}


def _handler(workspace: Workspace) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, content = workspace.answer(parts.path, query, self.headers.get("Authorization"))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, *_args: Any) -> None:
            """The tests look at `asked`."""

    return Handler
