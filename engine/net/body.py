"""Reads the body of an answer: with a size cap, decompressed, and known to be whole.

aiohttp can decompress by itself, but it takes a gzip stream that stops in the middle for a complete one if the HTTP
framing is in order. A proxy that dies between compressing and sending makes such answers. The cap has to hold for what
comes out of the decompressor. So the session leaves bodies alone, and this module does both.

Invariant: `Body.complete` is true only for a body that ended where its sender wanted it to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import aiohttp
from isal import igzip_lib

_PIECE_BYTES: Final = 1 << 20  # no single step of the decompressor may blow up beyond this
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
    gunzip = _Gunzip() if coding in _GZIP else None
    pieces: list[bytes] = []
    size = wire = 0
    async for chunk in content.iter_any():
        wire += len(chunk)
        for piece in gunzip.pieces(chunk) if gunzip else (chunk,):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                return Body(b"".join(pieces)[:max_bytes], complete=False, wire_bytes=wire)
    if gunzip and wire and not gunzip.ended:
        raise aiohttp.ClientPayloadError("sent a gzip stream that ends midway")
    return Body(b"".join(pieces), complete=True, wire_bytes=wire)


class _Gunzip:
    """A gzip stream, piece by bounded piece. Several members in a row are one stream."""

    def __init__(self) -> None:
        self._member = _new_member()

    @property
    def ended(self) -> bool:
        return bool(self._member.eof)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        data = chunk
        while True:
            if self._member.eof:
                if not data:
                    return
                self._member = _new_member()
            try:
                piece: bytes = self._member.decompress(data, _PIECE_BYTES)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance
                raise aiohttp.ClientPayloadError("sent a damaged gzip stream") from error
            if piece:
                yield piece
            if self._member.eof:
                data = self._member.unused_data
            elif self._member.needs_input:
                return
            else:
                data = b""


def _new_member() -> igzip_lib.IgzipDecompressor:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
