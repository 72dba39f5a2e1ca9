"""What an answer is made of: chunks of bytes, or a refusal in one of the shapes the real server uses.

Imports nothing of ours. A `Refusal` is raised anywhere below the dispatcher and becomes a `Reply` there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "HTML",
    "JSON",
    "Accident",
    "Refusal",
    "Reply",
    "TooMuch",
    "html",
    "json_bytes",
    "json_reply",
    "message",
    "refused",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=us-ascii"


@dataclass(slots=True)
class Accident:
    """What goes wrong on the wire while this reply is sent. `cut_at` counts body bytes."""

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
    accident: Accident | None = None

    def body(self) -> bytes:
        return b"".join(self.chunks)


class Refusal(Exception):  # noqa: N818 - an answer to the client, not a failure of ours
    """The server says no: a status and the object it says it with."""

    def __init__(self, status: int, payload: dict[str, Any]) -> None:
        super().__init__(status, payload)
        self.status = status
        self.payload = payload

    def reply(self) -> Reply:
        return json_reply(self.payload, self.status)


class TooMuch(Refusal):
    """More was asked for at once than can be given: the archive says so (500), or what lies before it gives up."""

    def __init__(self, how: int | str) -> None:
        words = "[-11091] Event collection exceeded the maximum allowed"
        super().__init__(how if isinstance(how, int) else 503, {"Errors": [words]})
        self._drops = how == "drop"

    def reply(self) -> Reply:
        if self.status == 500:
            return super().reply()
        reply = html(self.status, "Service Unavailable", "The request took too long, or was too large.")
        reply.accident = Accident(drop=True) if self._drops else None
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
