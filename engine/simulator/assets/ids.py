"""WebIDs and GUIDs of what an asset server holds. Pure.

A WebID is `{kind}1{marker}{GUIDs}{path}`: the asset server's GUID, that of an attribute's owner, and the object's own, as
.NET lays them out. A GUID here holds the number of its object, so nothing is looked up.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from ..replies import refused
from ..webid import KINDS, from_base64, malformed, to_base64

ASSET_SERVER = UUID("0d7c5f52-6a0e-4c57-9be5-60b1f4a5c001")
DATABASE = UUID("9a41a2f0-3c57-4d8e-8a0c-4a3d5b60c002")
# Markers, and how many GUIDs follow the server's.
_GUIDS = {
    "RS": 0, "RD": 1, "Em": 1, "Fm": 1, "AbE": 2, "AbF": 2, "ATE": 1, "ET": 1, "MSR": 1, "MVR": 2, "EC": 1, "AC": 1,
    "Bl": 1, "UC": 1, "Ut": 1, "Xs": 1, "XT": 1,
}  # fmt: skip
_MARKERS = sorted(_GUIDS, key=len, reverse=True)
_GUID_CHARS = 22


@dataclass(frozen=True, slots=True)
class AssetId:
    """What a WebID names: GUIDs behind the server's, or for a PathOnly one the path."""

    marker: str
    guids: tuple[UUID, ...] = ()
    path: str | None = None


@lru_cache(maxsize=64)
def _mark(kind: str) -> bytes:
    return hashlib.sha256(kind.encode()).digest()[:10]


@lru_cache(maxsize=1 << 16)
def guid(kind: str, number: int, part: int = 0) -> UUID:
    """The GUID of object `number` of a kind; `part` tells things of one object apart."""
    return UUID(bytes=struct.pack(">IH", number, part) + _mark(kind))


def numbers_of(kind: str, found: UUID) -> tuple[int, int] | None:
    """Number and part that a GUID was made of; None for a GUID of something else."""
    if found.bytes[6:] != _mark(kind):
        return None
    number, part = struct.unpack(">IH", found.bytes[:6])
    return number, part


def is_asset(web_id: str) -> bool:
    """Whether a WebID names something of the asset server, not of the archive."""
    return any(web_id[2:].startswith(marker) for marker in _MARKERS)


@lru_cache(maxsize=1 << 16)
def _text(one: UUID) -> str:
    return to_base64(one.bytes_le)


def encode(kind: str, marker: str, guids: tuple[UUID, ...], path: str) -> str:
    """Build an id. `path` as the API shows it, with its leading backslashes."""
    found = (*(() if kind in "LD" else (ASSET_SERVER,)), *guids)
    binary = "" if kind == "P" else "".join(map(_text, found))
    return (
        f"{kind}1{marker}{binary}{to_base64(path.removeprefix(chr(92) * 2).upper().encode()) if kind in 'FP' else ''}"
    )


@lru_cache(maxsize=1 << 16)
def decode(web_id: str) -> AssetId:
    """Read any kind of id. Raises a 400 for text that is none, a 404 for one of another server."""
    kind, rest = web_id[:1], web_id[2:]
    marker = next((one for one in _MARKERS if rest.startswith(one)), "")
    if kind not in KINDS.values() or web_id[1:2] != "1" or not marker:
        raise malformed(web_id)
    rest = rest[len(marker) :]
    if kind == "P":
        return AssetId(marker, path="\\\\" + from_base64(rest, web_id).decode(errors="replace"))
    if kind in "FI":
        if from_base64(rest[:_GUID_CHARS], web_id) != ASSET_SERVER.bytes_le:
            raise refused(404, "PI AF Server not found.")
        rest = rest[_GUID_CHARS:]
    guids = []
    for _ in range(_GUIDS[marker]):
        raw = from_base64(rest[:_GUID_CHARS], web_id)
        if len(raw) != 16:
            raise malformed(web_id)
        guids.append(UUID(bytes_le=raw))
        rest = rest[_GUID_CHARS:]
    return AssetId(marker, tuple(guids))
