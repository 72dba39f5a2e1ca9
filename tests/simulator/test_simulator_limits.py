"""What is refused before a question is looked at."""

import asyncio
import base64
import gzip
import socket
from urllib.parse import urlsplit

import aiohttp
import pytest

from engine.simulator import BasicLogin, BearerLogin, FaultPlan, Simulator, SimulatorOptions
from engine.simulator.faults.plan import Switches
from engine.simulator.limits import RateLimit
from tests.patience import HANGS_AFTER_SECS


def switches(**changes) -> FaultPlan:
    return FaultPlan.from_dict({"switches": changes})


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


async def status(client, path="system", **headers) -> tuple[int, bytes, dict]:
    async with client.session.get(f"{client.url}/{path}", headers=headers) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def test_basic_authentication(serve):
    async with serve(auth=BasicLogin("pi", "s3cret")) as client:
        found, body, headers = await status(client)
        assert (found, body) == (401, b"")
        assert headers["WWW-Authenticate"].startswith("Basic")
        wrong = basic("pi:wrong")
        assert (await status(client, Authorization=wrong))[0] == 401
        right = basic("pi:s3cret")
        assert (await status(client, Authorization=right))[0] == 200
        name = (await status(client, "system/userinfo", Authorization=right))[1]
        assert b'"SIM\\\\pi"' in name
        assert "s3cret" not in repr(client.simulator.options)


async def test_what_changes_the_simulator_needs_the_login_too(serve):
    async with serve(auth=BasicLogin("pi", "s3cret")) as client:
        changes = client.url.replace("/piwebapi", "/simulator/changes")
        edit = b'[{"tag": 3, "action": "rename", "name": "New"}]'
        for method, path in (
            ("POST", changes),
            ("GET", changes.replace("changes", "stats")),
            ("GET", f"{changes}/../x"),
        ):
            async with client.session.request(method, path, data=edit) as answer:
                assert answer.status == 401
        assert client.simulator.point(3).name != "New"
        async with client.session.post(changes, data=edit, headers={"Authorization": basic("pi:s3cret")}) as answer:
            assert answer.status == 200
        assert client.simulator.point(3).name == "New"


async def test_bearer_authentication_and_the_bodies_a_401_may_have(serve):
    async with serve(auth=BearerLogin("t0ken"), faults=switches(unauthorized_body="message")) as client:
        found, body, headers = await status(client, Authorization="Bearer other")
        assert (found, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"Message" in body
        assert (await status(client, Authorization="bearer t0ken"))[0] == 200
    async with serve(auth=BearerLogin("t0ken"), faults=switches(unauthorized_body="html")) as client:
        assert b"<HTML>" in (await status(client))[1]


async def test_a_bearer_token_opens_no_page_for_administrators(serve):
    pages = ("status", "versions", "configuration", "cacheinstances")
    async with serve(auth=BearerLogin("t0ken")) as client:
        for page, expected in [("userinfo", 200), *((page, 403) for page in pages)]:
            found, body, _ = await status(client, f"system/{page}", Authorization="Bearer t0ken")
            assert found == expected, page
            assert (b"Message" in body) == (expected == 403)
    async with serve() as client:
        for page in pages:
            assert await client.get(f"system/{page}")


@pytest.mark.parametrize("code", [403, 400])
async def test_a_post_without_the_header_against_forgery_is_refused(serve, code):
    async with serve(faults=switches(csrf_status=code)) as client, aiohttp.ClientSession() as bare:
        async with bare.post(f"{client.url}/batch", json={}) as answer:
            assert answer.status == code
            assert "Message" in await answer.json()
        async with bare.get(f"{client.url}/system") as answer:
            assert answer.status == 200


async def test_the_check_against_forgery_can_be_switched_off(serve):
    async with (
        serve(faults=switches(csrf=False)) as client,
        aiohttp.ClientSession() as bare,
        bare.post(f"{client.url}/batch", json={}) as answer,
    ):
        assert answer.status == 207


async def test_a_body_too_large_is_a_413(serve):
    async with serve(faults=switches(max_body_bytes=1000)) as client:
        assert await client.batch({}) == {}
        async with client.session.post(f"{client.url}/batch", data=b"{" + b" " * 1000 + b"}") as answer:
            assert answer.status == 413


async def test_urls_too_long_fail_in_html_but_batches_may_carry_them(serve):
    async with serve() as client:
        many = "&".join(f"webId={client.simulator.web_id(index % 60)}" for index in range(500))
        found, body, headers = await status(client, f"streamsets/value?{many}")
        assert (found, headers["Content-Type"]) == (400, "text/html; charset=us-ascii")
        assert b"Too Long" in body
        found, body, _ = await status(client, f"streams/{'x' * 261}/value")
        assert found == 400
        assert b"Invalid URL" in body
        answer = await client.batch({"a": {"Method": "GET", "Resource": f"streamsets/value?{many}"}})
        assert len(answer["a"]["Content"]["Items"]) == 500


async def test_gzip_when_asked_and_when_allowed(serve):
    async with serve() as client, aiohttp.ClientSession(auto_decompress=False) as raw:
        url = f"{client.url}/streams/{client.simulator.web_id(0)}/recorded"
        async with raw.get(url, headers={"Accept-Encoding": "gzip"}) as packed:
            assert packed.headers["Content-Encoding"] == "gzip"
            body = gzip.decompress(await packed.read())
        async with raw.get(url, headers={"Accept-Encoding": "identity"}) as plain:
            assert "Content-Encoding" not in plain.headers
            assert await plain.read() == body
    async with serve(faults=switches(gzip=False)) as client:
        _, _, headers = await status(client, f"streams/{client.simulator.web_id(0)}/recorded")
        assert "Content-Encoding" not in headers


async def test_json_comes_in_chunks_without_a_length_told_before(serve):
    async with serve() as client:
        for headers in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}):
            for path, length in (("dataservers", None), ("nope", None), ("points/" + "x" * 261, "Content-Length")):
                _, body, told = await status(client, path, **headers)
                assert body
                assert ("Transfer-Encoding" in told, "Content-Length" in told) == (length is None, length is not None)
        host, port = client.url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /piwebapi/system HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert b"chunked" not in answer
        assert answer.endswith(b"}")


def test_the_rate_limit_counts_within_stretches():
    limit = RateLimit(Switches(rate_limit=3, rate_limit_secs=2.0))
    assert [limit.take(1, 10.0 + number / 10) for number in range(4)] == [1, 1, 1, 0]
    assert limit.take(5, 12.0) == 3
    assert RateLimit(Switches()).take(7, 0.0) == 7


def test_a_bucket_of_tokens_gains_at_the_rate_and_holds_no_more_than_its_burst():
    limit = RateLimit(Switches(rate_limit=10, rate_limit_burst=3))
    assert limit.take(5, 100.0) == 3
    assert limit.take(1, 100.0) == 0
    assert limit.take(5, 100.25) == 2  # half a token is left
    assert limit.take(5, 100.36) == 1
    assert limit.take(9, 200.0) == 3


async def test_over_the_rate_limit_is_a_429(serve):
    async with serve(faults=switches(rate_limit=2, rate_limit_secs=3600.0, retry_after=7)) as client:
        answers = [await status(client) for _ in range(4)]
        assert [found for found, _, _ in answers][-2:] == [429, 429]
        assert answers[-1][1] == b'{"Message":"Rate limit was reached."}'
        assert answers[-1][2]["Retry-After"] == "7"


@pytest.mark.parametrize(("counted", "expected"), [(True, [200, 200, 429, 429]), (False, [200] * 4)])
async def test_parts_of_a_batch_may_count(serve, counted, expected):
    plan = switches(rate_limit=3, rate_limit_secs=1e9, batch_items_counted=counted)
    async with serve(faults=plan) as client:
        answer = await client.batch({str(n): {"Method": "GET", "Resource": "system"} for n in range(4)})
        assert sorted(part["Status"] for part in answer.values()) == expected


async def test_many_at_once_are_served(serve):
    async with serve() as client:
        paths = [f"streams/{client.simulator.web_id(index)}/recorded" for index in range(60)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.get(path)) for path in paths]
        assert all(len(task.result()["Items"]) == 1000 for task in tasks)


@pytest.mark.parametrize("how", [408, 413, 500, 502, 503, 504, "drop"])
async def test_too_much_at_once_is_refused_as_told_by_time_and_by_values(serve, how):
    switches = {"window_max_secs": 1800, "values_max": 20, "too_much": how}
    async with serve(faults=FaultPlan.from_dict({"switches": switches}), shapes=(("steady", 1.0),)) as client:
        path = f"streams/{client.simulator.web_id(3)}/recorded"

        async def asked(minutes: int, most: int) -> int:
            try:
                target = f"{client.url}/{path}?startTime=*-{minutes}m&endTime=*&maxCount={most}"
                async with client.session.get(target) as answer:
                    assert (b"[-11091]" in await answer.read()) == (answer.status == 500)
                    return answer.status
            except aiohttp.ClientError:
                return 0

        refused = 0 if how == "drop" else how
        assert [await asked(30, 20), await asked(31, 20), await asked(30, 1000), await asked(10, 1000)] == [
            200, refused, refused, 200,
        ]  # fmt: skip


@pytest.mark.parametrize("turns", range(6))
async def test_connections_that_come_at_the_last_moment_are_closed_with_the_server(turns: int) -> None:
    async with Simulator(SimulatorOptions(tags=1)).serve() as url:
        there = urlsplit(url)
        connections = [socket.create_connection((there.hostname, there.port)) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
    for connection in connections:
        connection.setblocking(False)
        try:
            said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 1), HANGS_AFTER_SECS)
        except ConnectionResetError:
            said = b""
        finally:
            connection.close()
        assert said == b""
