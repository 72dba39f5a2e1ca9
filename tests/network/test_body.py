"""Bodies: whole or an error, however they are cut into pieces, and never more than asked for."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError
from hypothesis import given
from hypothesis import strategies as st

from engine.net.body import read_body


class Pieces:
    """What aiohttp's stream offers here: pieces of a body as they come in."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.taken = data, size, 0

    async def iter_any(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), self.size):
            self.taken = start + self.size
            yield self.data[start : start + self.size]


bodies = st.binary(max_size=3000)
sizes = st.integers(1, 1000)


@given(st.lists(bodies, min_size=1, max_size=3), sizes)
async def test_a_gzip_body_is_the_same_however_it_is_cut(members: list[bytes], size: int) -> None:
    packed = b"".join(gzip.compress(member) for member in members)
    body = await read_body(Pieces(packed, size), encoding="gzip", max_bytes=10_000)
    assert (body.data, body.complete, body.wire_bytes) == (b"".join(members), True, len(packed))


@given(bodies, sizes, st.data())
async def test_a_gzip_body_that_ends_midway_is_never_taken_for_whole(
    body: bytes, size: int, data: st.DataObject
) -> None:
    packed = gzip.compress(body)
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(ClientPayloadError, match="ends midway"):
        await read_body(Pieces(cut, size), encoding="gzip", max_bytes=10_000)


@given(bodies, sizes, st.integers(0, 4000), st.sampled_from(["gzip", "", "identity"]))
async def test_no_more_than_the_cap_is_kept(body: bytes, size: int, cap: int, encoding: str) -> None:
    sent = gzip.compress(body) if encoding == "gzip" else body
    read = await read_body(Pieces(sent, size), encoding=encoding, max_bytes=cap)
    assert (read.data, read.complete) == (body[:cap], len(body) <= cap)


async def test_a_bomb_is_defused_before_it_is_unpacked() -> None:
    """A hundred megabytes of zeros, in a tenth of one that arrives in one piece."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    packed = b"".join(squeeze.compress(zeros) for _ in range(100)) + squeeze.flush()
    read = await read_body(Pieces(packed, len(packed)), encoding="gzip", max_bytes=5_000_000)
    assert (len(read.data), read.complete) == (5_000_000, False)


async def test_reading_stops_at_the_cap() -> None:
    pieces = Pieces(b"x" * 1_000_000, 1000)
    await read_body(pieces, encoding="", max_bytes=5000)
    assert pieces.taken == 6000


@pytest.mark.parametrize("damage", [0, 15, -3], ids=["header", "inside", "checksum"])
async def test_damage_is_noticed(damage: int) -> None:
    packed = bytearray(gzip.compress(b'{"Items":[]}' * 100))
    packed[damage] ^= 0xFF
    with pytest.raises(ClientPayloadError, match="sent a damaged gzip stream"):
        await read_body(Pieces(bytes(packed), 64), encoding="GZIP", max_bytes=10_000)


async def test_an_empty_body_needs_no_gzip_header() -> None:
    assert (await read_body(Pieces(b"", 1), encoding="gzip", max_bytes=10)).complete
