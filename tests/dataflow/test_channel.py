"""The channel bounds bytes before they exist, loses nothing, and wakes waiters in order."""

from __future__ import annotations

import asyncio

import pytest

from engine.flow.channel import Channel


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_reservation_waits_until_there_is_room():
    channel: Channel[str] = Channel(100)
    first = await channel.reserve(80)
    second = asyncio.create_task(channel.reserve(30))
    await settle()
    assert not second.done()
    first.resize(70)
    await settle()
    assert second.done()
    assert channel.statistics().used_bytes == 100


async def test_reservations_are_granted_in_order_so_that_large_ones_do_not_starve():
    channel: Channel[str] = Channel(100)
    held = await channel.reserve(60)
    large = asyncio.create_task(channel.reserve(90))
    small = asyncio.create_task(channel.reserve(10))
    await settle()
    assert not large.done()
    assert not small.done()
    held.free()
    await settle()
    assert large.done()
    assert small.done()


async def test_what_is_larger_than_the_channel_gets_it_alone():
    channel: Channel[str] = Channel(100)
    room = await channel.reserve(10**9)
    other = asyncio.create_task(channel.reserve(1))
    await settle()
    assert room.size_bytes == 100
    assert not other.done()
    room.free()
    await settle()
    assert other.done()


async def test_a_cancelled_wait_leaves_the_channel_as_it_was():
    channel: Channel[str] = Channel(100)
    held = await channel.reserve(100)
    waiting = asyncio.create_task(channel.reserve(50))
    behind = asyncio.create_task(channel.reserve(50))
    await settle()
    waiting.cancel()
    await settle()
    assert channel.statistics().waiting == 1
    held.free()
    await settle()
    assert behind.done()
    assert channel.statistics().used_bytes == 50


async def test_a_cancelled_wait_lets_those_pass_whom_it_held_up():
    channel: Channel[str] = Channel(100)
    await channel.reserve(60)
    large = asyncio.create_task(channel.reserve(90))
    small = asyncio.create_task(channel.reserve(10))
    await settle()
    assert not small.done()
    large.cancel()
    await settle()
    assert small.done()


async def test_a_wait_cancelled_as_it_is_granted_gives_its_room_back():
    channel: Channel[str] = Channel(100)
    held = await channel.reserve(100)
    waiting = asyncio.create_task(channel.reserve(50))
    await settle()
    held.free()
    waiting.cancel()
    await settle()
    assert channel.statistics().used_bytes == 0


async def test_items_come_in_order_and_the_end_is_seen():
    channel: Channel[int] = Channel(100)
    for number in range(3):
        channel.put(number, await channel.reserve(1))
    channel.close()
    seen = []
    while (taken := await channel.get()) is not None:
        seen.append(taken[0])
        taken[1].free()
    assert seen == [0, 1, 2]
    assert channel.statistics().used_bytes == 0
    assert channel.statistics().peak_bytes == 3


async def test_a_get_that_times_out_loses_nothing():
    channel: Channel[int] = Channel(100)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await channel.get()
    channel.put(7, await channel.reserve(1))
    taken = await channel.get()
    assert taken is not None
    assert taken[0] == 7


async def test_nothing_is_put_on_a_closed_channel():
    channel: Channel[int] = Channel(100)
    room = await channel.reserve(1)
    channel.close()
    with pytest.raises(RuntimeError, match="closed"):
        channel.put(1, room)
