"""Reads the body of an answer: with a size cap, decompressed, and known to be whole.

aiohttp can decompress by itself, but it takes a gzip stream that stops in the middle for a complete one if the HTTP
framing is in order. A proxy that dies between compressing and sending makes such answers. The cap has to hold for what
comes out of the decompressor. So the session leaves bodies alone, and this module does both.

A long body is unpacked in a thread, mostly in one step: that takes longer than anything else the event loop does, and needs no
interpreter lock.

Invariant: `Body.complete` is true only for a body that ended where its sender wanted it to end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp
from isal import igzip_lib

# So much is received before it is unpacked; at the end what there is. Nothing is held longer packed than that.
_STEP_BYTES: Final = 4 << 20
# Up to so much is unpacked in place: a thread would take longer.
_IN_PLACE_BYTES: Final = 32 << 10
_PLAIN: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})


@dataclass(frozen=True, slots=True)
class Body:
    """What was read: `complete` is false when reading stopped at the cap."""

    data: bytes
    complete: bool
    wire_bytes: int


async def read_body(content: aiohttp.StreamReader, *, encoding: str, max_bytes: int) -> Body:
    """Read to the end, or until more than `max_bytes` would come out.

    Raises:
        aiohttp.ClientPayloadError: the body is cut midway, damaged, or in an encoding that was not asked for.
    """
    coding = encoding.strip().lower()
    if coding not in _PLAIN | _GZIP:
        raise aiohttp.ClientPayloadError(f"sent Content-Encoding {coding[:40]!r}, which was not asked for")
    text: _Plain | _Gunzipped = _Gunzipped(max_bytes) if coding in _GZIP else _Plain()
    received: list[bytes] = []
    waiting = wire = 0
    async for chunk in content.iter_any():
        received.append(chunk)
        waiting += len(chunk)
        wire += len(chunk)
        if waiting >= _STEP_BYTES or waiting > max_bytes:
            await _add(text, received)
            waiting = 0
            if text.size > max_bytes:
                break
    await _add(text, received)
    if text.size <= max_bytes and wire and not text.ended:
        raise aiohttp.ClientPayloadError("sent a gzip stream that ends midway")
    data = b"".join(text.pieces)
    return Body(data[:max_bytes], complete=text.size <= max_bytes, wire_bytes=wire)


async def _add(text: _Plain | _Gunzipped, received: list[bytes]) -> None:
    data = b"".join(received)
    received.clear()
    if isinstance(text, _Plain) or len(data) <= _IN_PLACE_BYTES:
        text.add(data)
    else:
        await asyncio.to_thread(text.add, data)


class _Plain:
    """A body that is sent as it is."""

    ended = True

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)


class _Gunzipped:
    """What a gzip stream holds, up to one byte more than the cap. Several members in a row are one stream."""

    def __init__(self, max_bytes: int) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self._max_bytes = max_bytes
        self._member = _new_member()

    @property
    def ended(self) -> bool:
        return bool(self._member.eof)

    def add(self, data: bytes) -> None:
        """Raises `aiohttp.ClientPayloadError` for a damaged stream."""
        while self.size <= self._max_bytes:
            if self._member.eof:
                if not data:
                    return
                self._member = _new_member()
            try:
                piece: bytes = self._member.decompress(data, self._max_bytes + 1 - self.size)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance
                raise aiohttp.ClientPayloadError("sent a damaged gzip stream") from error
            if piece:
                self.pieces.append(piece)
                self.size += len(piece)
            if self._member.eof:
                data = self._member.unused_data
            elif self._member.needs_input:
                return
            else:
                data = b""


def _new_member() -> igzip_lib.IgzipDecompressor:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
