"""HTTP between a client and the stand-in for a catalog: who may come in, how errors are spelled."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-token-for-tests"


class RefusalError(Exception):
    def __init__(self, status: int, kind: str, message: str = "") -> None:
        super().__init__(message or kind)
        self.status = status
        self.kind = kind


class Face(BaseHTTPRequestHandler):
    catalog: Any  # the StandIn behind it
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def version_string(self) -> str:
        return "databricks" if self.catalog.databricks else "Armeria"

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self, method: str) -> None:
        there = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        query = {key: values[0] for key, values in parse_qs(there.query).items()}
        catalog, kind = self.catalog, ""
        try:
            self._admit()
            kind, answer = catalog.answer(method, there.path, query, body)
            if catalog.loses_request(kind):
                self.close_connection = True
                return
            instead = catalog.in_place(kind)
            if instead is not None and not instead.done:
                self._send(instead.status, instead.body)
                return
            status, content = 200, answer() if kind.startswith(("add-", "set-", "load")) else self._locked(answer)
            if instead is not None:
                self._send(instead.status, instead.body)
                return
        except RefusalError as refusal:
            status = refusal.status
            if there.path.startswith("/api/2.1/unity-catalog/delta/"):
                content = {"error": {"type": refusal.kind, "code": status, "message": str(refusal)}}
            else:
                content = {"error_code": refusal.kind, "message": str(refusal)}
        except (AssertionError, KeyError) as error:
            status, content = 400, {"error": {"type": "BadRequestException", "code": 400, "message": repr(error)}}
        if catalog.loses_answer(kind):
            self.close_connection = True
            return
        later = status == 429 and content.get("error", {}).get("type") != "ResourceExhaustedException"
        self._send(status, json.dumps(content).encode(), **({"Retry-After": "0"} if later else {}))

    def _send(self, status: int, payload: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def _admit(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusalError(401, "UNAUTHENTICATED")

    def _locked(self, answer: Any) -> Any:
        with self.catalog.lock:
            return answer()
