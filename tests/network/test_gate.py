"""Politeness as the server sees it: the rate holds in every second, and so does the number in flight.

Rates are measured by a clock that leaps (`tests/leaping.py`): a machine that is busy elsewhere would hold
requests back and then let several go at once, which is not our doing.
"""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from config import from_mapping
from config.errors import UnavailableError
from engine.net.client import ClientSettings, PIClient
from engine.net.gate import Gate
from engine.piweb.http import Request
from engine.plan.shards import Shard
from engine.run.connect import connect
from tests.examples import examples
from tests.leaping import in_leaping_time
from tests.network.conftest import Certificates
from tests.network.sinner import Sinner, answer
from tests.patience import patiently

GET = Request("GET", "/system")


def most_in_any(window_secs: float, instants: list[float]) -> int:
    return max(sum(1 for other in instants if at <= other < at + window_secs) for at in instants)


@pytest.mark.parametrize("rate", [20.0, 250.0])
def test_the_rate_holds_in_every_sliding_second_at_the_server_retries_included(rate: float) -> None:
    """More requests than two seconds' quota, every fifth refused once, all asked for at once."""
    calls = int(rate * 1.6)

    async def ask() -> tuple[list[float], float]:
        sins = [answer(status=500) if n % 5 == 0 else answer() for n in range(calls)]
        async with Sinner([*sins, answer()]) as pi:
            settings = ClientSettings(
                pi.url, max_requests_per_second=rate, max_in_flight=16, retry_initial_wait_secs=0.001
            )
            async with PIClient(settings) as piweb, asyncio.TaskGroup() as group:
                began = asyncio.get_running_loop().time()
                for _ in range(calls):
                    group.create_task(piweb.send(GET))
            took = asyncio.get_running_loop().time() - began
        return [arrival.at for arrival in pi.arrivals], took

    instants, took = in_leaping_time(ask())
    assert len(instants) >= calls * 1.2
    assert most_in_any(1.0, instants) <= rate
    assert most_in_any(0.1, instants) <= rate * 0.1 * 1.5 + 3  # smooth: no burst, not even within the second
    assert len(instants) / took > 0.5 * rate  # and it is not much slower than allowed


def test_the_rate_holds_when_connections_that_were_slow_to_open_open_together(certificates: Certificates) -> None:
    """What took its turn one by one has waited for the same server, and is not sent in one burst."""
    instants = in_leaping_time(_opened_together(certificates))
    assert len(instants) == 40
    assert most_in_any(1.0, instants) <= 25 + 1  # the server may be late to notice one
    assert most_in_any(0.2, instants) <= 25 * 0.2 + 2


async def _opened_together(certificates: Certificates) -> list[float]:
    ready = asyncio.Event()
    held = 0

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        if held == 12:
            ready.set()
        await ready.wait()
        onward = await asyncio.open_connection("127.0.0.1", pi.port)
        await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer))

    async with Sinner([answer()], tls=certificates.good) as pi:
        front = await asyncio.start_server(hold, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{front.sockets[0].getsockname()[1]}"
        settings = ClientSettings(url, ca_bundle=str(certificates.ca), max_requests_per_second=25.0, max_in_flight=16)
        async with PIClient(settings) as piweb, asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(piweb.send(GET))
        front.close()
    return [arrival.at for arrival in pi.arrivals]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
    writer.close()


async def test_a_configured_number_in_flight_is_reached_and_never_exceeded() -> None:
    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return web.Response()

    async with Sinner([slow]) as pi:
        settings = ClientSettings(pi.url, max_requests_per_second=10_000, max_in_flight=3)
        async with PIClient(settings) as piweb, asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(piweb.send(GET))
    assert pi.most_in_flight == 3


async def test_those_who_wait_pass_in_the_order_they_came() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=1)
    order: list[int] = []

    async def pass_through(n: int) -> None:
        async with gate.slot():
            order.append(n)

    async with asyncio.TaskGroup() as group:
        for n in range(30):
            group.create_task(pass_through(n))
    assert order == list(range(30))
    statistics = gate.statistics()
    assert (statistics.in_flight, statistics.waiting) == (0, 0)
    assert statistics.waited_secs > 0


async def test_only_the_first_in_the_queue_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand that wait cost no more than one: the throttler wakes every task that polls it."""
    gate = Gate(max_requests_per_second=50.0, max_in_flight=4)
    polling, most_polling, acquire = 0, 0, gate._throttler.acquire

    async def counted() -> None:
        nonlocal polling, most_polling
        polling += 1
        most_polling = max(most_polling, polling)
        try:
            await acquire()
        finally:
            polling -= 1

    async def pass_through() -> None:
        async with gate.slot():
            pass

    monkeypatch.setattr(gate._throttler, "acquire", counted)
    tasks = [asyncio.create_task(pass_through()) for _ in range(2000)]
    await asyncio.wait(tasks[:5])
    assert gate.statistics().waiting >= 1900
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert gate.statistics().waiting == 0
    assert most_polling == 1


async def test_a_request_that_is_cancelled_in_the_queue_takes_nothing_along() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=1)
    async with gate.slot():
        waiting = [asyncio.create_task(gate.slot().__aenter__()) for _ in range(3)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert gate.statistics().in_flight == 1
    async with asyncio.timeout(patiently(1)), gate.slot():
        assert gate.statistics().in_flight == 1


async def test_who_waits_for_room_uses_up_no_starts() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=1)
    async with gate.slot():
        head = asyncio.create_task(gate.slot().__aenter__())
        await asyncio.sleep(0.05)  # five periods of the throttler
        gate._throttler.flush()
        assert not gate._throttler._task_logs
    await head


async def test_who_waits_for_the_end_of_a_silence_uses_up_no_starts() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=2)
    gate.overloaded(started_at=time.monotonic(), retry_after_secs=60.0)
    head = asyncio.create_task(gate.slot().__aenter__())
    await asyncio.sleep(0.02)
    assert not gate._throttler._task_logs
    head.cancel()


async def test_a_refusal_while_the_head_waits_still_holds_it_back() -> None:
    """The head was granted a start; then PI asked for silence. The start is forgone."""
    gate = Gate(max_requests_per_second=4.0, max_in_flight=2)
    async with gate.slot() as started_at:
        head = asyncio.create_task(gate.slot().__aenter__())
        await asyncio.sleep(0.01)  # it polls the throttler now, for another quarter of a second
        silence_ends = time.monotonic() + 0.4
        gate.overloaded(started_at=started_at, retry_after_secs=0.4)
    assert await head >= silence_ends


@given(st.floats(0.1, 5_000.0) | st.integers(1, 5_000).map(float))
@example(101.0)
@example(101.75)
@examples(300)
def test_starts_are_evenly_spaced_and_no_second_holds_more_than_the_rate(rate: float) -> None:
    """Above a hundred a second the event loop cannot tell starts apart: then a few go together."""
    throttler = Gate(max_requests_per_second=rate, max_in_flight=1)._throttler
    assert throttler.rate_limit == 1 or throttler.period < 0.021
    assert throttler.retry_interval >= 0.001
    # A sliding log lets the next start only after its period has passed, so a second sees so many periods begin.
    assert throttler.rate_limit * math.ceil(1 / throttler.period) <= math.ceil(rate)
    assert 0.989 * rate < throttler.rate_limit / throttler.period < rate


async def test_a_shard_takes_its_share_of_the_rate_and_of_what_is_in_flight() -> None:
    pi = {"url": "http://127.0.0.1:1/piwebapi", "auth_type": "anonymous", "max_requests_per_second": 20}
    config = from_mapping({"pi_web_api": {**pi, "max_in_flight": 9}}).config
    for shard, rate, in_flight in ((Shard(), 20.0, 9), (Shard(1, 4), 5.0, 2), (Shard(1, 16), 1.25, 1)):
        async with connect(config, shard) as source:
            gate = source.client._gate
            assert gate._throttler.rate_limit / gate._throttler.period == pytest.approx(rate, rel=1e-3)
            assert gate.statistics().window == in_flight


async def test_the_rate_follows_the_pace() -> None:
    gate = Gate(max_requests_per_second=80.0, max_in_flight=4)
    gate.overloaded(started_at=time.monotonic(), timed_out=True)
    assert gate.statistics().rate == 40.0
    for throttler in (gate._throttler, gate._send_throttler):
        assert throttler.rate_limit / throttler.period == pytest.approx(40.0, rel=1e-3)


def test_a_server_that_is_away_meets_one_request_at_a_time_and_all_who_wait_share_its_fate() -> None:
    """Sixteen requests of five attempts each: without probes the server would be asked eighty times."""

    async def ask() -> tuple[int, list[BaseException | None], float]:
        attempts = 0

        async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal attempts
            attempts += 1
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        settings = ClientSettings(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", max_in_flight=16)
        async with PIClient(settings, rand=lambda: 0.5) as piweb:
            began = asyncio.get_running_loop().time()
            ends = await asyncio.gather(*(piweb.send(GET) for _ in range(16)), return_exceptions=True)
            took = asyncio.get_running_loop().time() - began
        server.close()
        return attempts, ends, took

    attempts, ends, took = in_leaping_time(ask())
    assert {type(end) for end in ends} == {UnavailableError}
    assert all("answered 503" in str(end) for end in ends)
    assert attempts < 40
    assert took < 14.0  # the waits of five attempts are 8 s at most


async def test_a_connection_that_cannot_be_made_is_a_sign_of_overload_and_its_probe_speaks_for_the_others() -> None:
    settings = ClientSettings("http://127.0.0.1:1", max_in_flight=4, retry_attempts=1)
    async with PIClient(settings) as piweb:
        for _ in range(3):
            with pytest.raises(UnavailableError, match="cannot be connected to"):
                await piweb.send(GET)
        assert piweb.statistics().window == 1


async def test_an_answer_ends_the_probing() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=4, probe_wait_secs=0.0)
    for _ in range(3):
        async with gate.slot() as started_at:
            gate.away(UnavailableError("pi does not answer."), started_at=started_at)
    async with gate.slot() as started_at:
        waiting = [asyncio.create_task(gate.slot().__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        assert gate.statistics().window == 1
        gate.answered("GET system", started_at=started_at, first_byte_secs=0.01)
    assert len(await asyncio.gather(*waiting[:2])) == 2
    for task in waiting:
        task.cancel()


async def test_those_who_wait_for_a_probe_that_fails_fail_with_it() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=4, probe_wait_secs=0.0)
    for _ in range(3):
        async with gate.slot() as started_at:
            gate.away(UnavailableError("pi does not answer.", hint="Is it on?"), started_at=started_at)
    async with gate.slot() as started_at:
        waiting = [asyncio.create_task(gate.slot().__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        gate.away(UnavailableError("pi does not answer.", hint="Is it on?"), started_at=started_at)
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(end) for end in ends] == ["pi does not answer."] * 3
    async with gate.slot():  # what comes later is the next probe
        assert gate.statistics().in_flight == 1


async def test_a_probe_that_fails_while_a_request_waits_to_try_again_has_failed_for_it_too() -> None:
    gate = Gate(max_requests_per_second=1000.0, max_in_flight=4, probe_wait_secs=0.0)
    for _ in range(3):
        known = gate.failed_probes
        async with gate.slot() as started_at:
            gate.away(UnavailableError("pi does not answer."), started_at=started_at)
    with pytest.raises(UnavailableError, match="pi does not answer"):
        await gate.slot(known).__aenter__()
    async with gate.slot(gate.failed_probes) as started_at:
        gate.answered("GET system", started_at=started_at, first_byte_secs=0.01)
    async with gate.slot(known):  # the server is back: no old failure counts
        assert gate.statistics().in_flight == 1
