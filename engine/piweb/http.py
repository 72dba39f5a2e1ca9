"""Requests and responses as plain values. `piweb` builds a `Request` and reads a `Response`; `net` sends them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `path` is below the base URL, with its query already percent-encoded.

    `safe` says that sending it twice changes nothing at the server: every GET, and a POST /batch
    of GETs. Only safe requests are retried, and those not that are not `patient`: they look for what
    cannot be read, and fail half of the time. `items`: how many tags (or sets of states) it names, of
    which a shorter request would name fewer; 0 where there is nothing to divide. `tells_of_parts`: who sends this batch
    tells the client what became of its parts, which need not be searched for refusals before.
    """

    method: str
    path: str
    body: bytes | None = None
    safe: bool = True
    items: int = 0
    patient: bool = True
    tells_of_parts: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, its body read to the end and decompressed. Header names are lower case.

    What else is known of its request: how many `items` it named, whether one of the same kind `worked` in this
    run, whether PI Web API was `reached` in it at all, and when it was sent, by the clock of who paces requests.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    elapsed_secs: float = 0.0
    first_byte_secs: float = 0.0
    items: int = 0
    worked: bool = False
    reached: bool = False
    started_at: float = 0.0
