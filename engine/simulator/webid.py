"""WebID 2.0: how the ids are composed. Pure.

`{kind}1{marker}{binary}{path}`: kind F has both parts, I the binary part, P the path; L and D are
ids local to an instance. The marker says what it names (`DS` server, `DP` point, `MSD` a digital
state set, `MVD` one of its states). GUIDs are little-endian as .NET lays them out.
"""

from __future__ import annotations

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from .replies import Refusal, refused

SERVER_ID = UUID("5e3c0a71-2b44-4f6e-9d10-0c7be1a2f301")
KINDS = {"full": "F", "idonly": "I", "pathonly": "P", "localidonly": "L", "defaultidonly": "D"}
_MARKERS = ("DS", "DP", "MSD", "MVD")
_GUID_CHARS, _INT_CHARS = 22, 6
_INT = re.compile(rf"[\w-]{{{_INT_CHARS}}}", re.ASCII).fullmatch


def to_base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


_SERVER_TEXT = to_base64(SERVER_ID.bytes_le)
_POINT_PREFIX = f"I1DP{_SERVER_TEXT}"


@dataclass(frozen=True, slots=True)
class WebId:
    """What an id names: numbers (point id; set; set and state) or, for PathOnly, a path."""

    marker: str
    numbers: tuple[int, ...] = ()
    path: str | None = None


def kind_of(web_id_type: str | None) -> str:
    """The kind letter for a `webIdType` parameter; Full by default. Raises a 400."""
    if not web_id_type:
        return "F"
    kind = KINDS.get(web_id_type.lower())
    if kind is None:
        raise refused(400, f"The specified WebIdType '{web_id_type}' is not valid.")
    return kind


def encode(kind: str, marker: str, numbers: tuple[int, ...], path: str) -> str:
    """Build an id. `path` as the API shows it, with its leading backslashes."""
    binary = "" if kind in "PLD" else _SERVER_TEXT
    if kind != "P":
        binary += "".join(to_base64(struct.pack("<i", number)) for number in numbers)
    text = to_base64(path.removeprefix("\\\\").upper().encode()) if kind in "FP" else ""
    return f"{kind}1{marker}{binary}{text}"


@lru_cache(maxsize=1 << 16)
def fast_point_id(web_id: str) -> int | None:
    """Point id of an IDOnly WebID of a point of this server. None for all other ids; `decode` reads those."""
    number = web_id[len(_POINT_PREFIX) :]
    if not (web_id.startswith(_POINT_PREFIX) and _INT(number)):
        return None
    return int.from_bytes(urlsafe_b64decode(number + "=="), "little", signed=True)


def decode(web_id: str) -> WebId:
    """Read any kind of id. Raises a 400 for text that is none, a 404 for one of another server."""
    kind, rest = web_id[:1], web_id[2:]
    marker = next((marker for marker in _MARKERS if rest.startswith(marker)), "")
    if kind not in KINDS.values() or web_id[1:2] != "1" or not marker:
        raise malformed(web_id)
    rest = rest[len(marker) :]
    if kind == "P":
        return WebId(marker, path="\\\\" + from_base64(rest, web_id).decode(errors="replace"))
    if kind in "FI":
        if from_base64(rest[:_GUID_CHARS], web_id) != SERVER_ID.bytes_le:
            raise refused(404, "PI Data Archive not found.")
        rest = rest[_GUID_CHARS:]
    numbers = []
    for _ in range({"DS": 0, "DP": 1, "MSD": 1, "MVD": 2}[marker]):
        numbers.append(int.from_bytes(from_base64(rest[:_INT_CHARS], web_id).ljust(4, b"\0"), "little", signed=True))
        if len(rest) < _INT_CHARS:
            raise malformed(web_id)
        rest = rest[_INT_CHARS:]
    return WebId(marker, tuple(numbers))


def from_base64(text: str, web_id: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError) as error:
        raise malformed(web_id) from error


def malformed(web_id: str) -> Refusal:
    return refused(400, f"The specified WebId '{web_id}' is not in a valid format.")
