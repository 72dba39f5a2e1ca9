"""Answers: chunks of bytes, or a refusal in one of the shapes that the real server uses.

A `Refusal` may be raised anywhere below the dispatcher, which turns it into a `Reply`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=us-ascii"


@dataclass(slots=True)
class WireFault:
    """A fault while the reply is sent. `cut_at` counts body bytes."""

    delay_secs: float = 0.0
    cut_at: int | None = None
    hang: bool = False
    drop: bool = False


@dataclass(slots=True)
class Reply:
    """One answer. `chunks` are the body in order; `values` counts the events in it."""

    status: int
    chunks: list[bytes]
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    values: int = 0
    wire_fault: WireFault | None = None

    def body(self) -> bytes:
        return b"".join(self.chunks)


class Refusal(Exception):  # noqa: N818 - an answer to the client, not a failure of ours
    """A refusal by the server: a status and the body."""

    def __init__(self, status: int, payload: dict[str, Any]) -> None:
        super().__init__(status, payload)
        self.status = status
        self.payload = payload

    def reply(self) -> Reply:
        return json_reply(self.payload, self.status)


class TooMuch(Refusal):
    """The request asks for too much at once: the archive refuses it (500), or a proxy before it gives up."""

    def __init__(self, how: int | str) -> None:
        words = "[-11091] Event collection exceeded the maximum allowed"
        super().__init__(how if isinstance(how, int) else 503, {"Errors": [words]})
        self._drops = how == "drop"

    def reply(self) -> Reply:
        if self.status == 500:
            return super().reply()
        reply = html(self.status, "Service Unavailable", "The request took too long, or was too large.")
        reply.wire_fault = WireFault(drop=True) if self._drops else None
        return reply


def refused(status: int, *errors: str) -> Refusal:
    """The shape of an application error."""
    return Refusal(status, {"Errors": list(errors)})


def message(status: int, text: str) -> Refusal:
    """The shape of an error from the web framework below the application."""
    return Refusal(status, {"Message": text})


def html(status: int, title: str, text: str) -> Reply:
    """The shape of an error from the HTTP layer of the operating system."""
    page = (
        f"<!DOCTYPE html><HTML><HEAD><TITLE>{title}</TITLE></HEAD>\r\n"
        f"<BODY><h2>{title}</h2>\r\n<hr><p>HTTP Error {status}. {text}</p>\r\n</BODY></HTML>\r\n"
    )
    return Reply(status, [page.encode("ascii")], HTML)


def json_bytes(value: Any) -> bytes:
    """Compact JSON. NaN comes out as the bare token, as the real serialiser is believed to do."""
    return _encode(value).encode()


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, [json_bytes(value)])
