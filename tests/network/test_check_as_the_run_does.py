"""`check` takes each look in the way in which a run asks, and wants nothing that a run does not need."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from config import from_mapping
from engine.commands.check.probes import CheckResult, run_checks
from engine.model import Tag
from engine.run import run
from engine.run.connect import lakehouse_of
from tests.network.strict_layer import Layer, serving

TAGS = [Tag(f"F1DP{n:06d}", f"T{n}") for n in range(5)]


async def findings(url: str, root: Path, **extraction: object) -> dict[str, CheckResult]:
    document = {
        "pipeline": "plant",
        "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 100_000},
        "extraction": {
            "tags": [tag.web_id for tag in TAGS],
            "start_date": "2024-01-01T00:00:00Z",
            "end_date": "2024-01-02T00:00:00Z",
            **extraction,
        },
        "storage": {"root": str(root)},
        "retry": {"max_attempts": 1},
    }
    config = from_mapping(document).config
    found: list[CheckResult] = []
    await run_checks(config, found.append)
    report = await run(config)
    # What check says of the source is what a run makes of it.
    assert (report.exit_code == 0) == all(one.passed for one in found)
    return {one.name: one for one in found}


@pytest.mark.parametrize(("shard", "well"), [("0-of-1", False), ("backfill.0-of-1", True), ("repair.0-of-1", True)])
async def test_only_a_run_that_would_be_in_the_way_is_named(tmp_path: Path, shard: str, well: bool) -> None:
    config = from_mapping({"pipeline": "plant", "storage": {"root": str(tmp_path)}}).config
    lease = lakehouse_of(config).lease("plant", shard, "tonight")
    lease.acquire()
    found: list[CheckResult] = []
    await run_checks(config, found.append)
    lease.release()
    [one] = [one for one in found if one.name == "lease"]
    assert (one.passed, "tonight" in one.text) == (well, not well)


async def test_a_server_without_system_is_well(tmp_path: Path) -> None:
    async with serving(Layer(TAGS)) as url:
        found = await findings(url, tmp_path / "lake")
    assert found["login"].text == "accepted (anonymous); the version is not known"
    assert found["requests"].text == "as batch (extraction.request_mode: auto)"
    read, _, decoder = found["reading"].text.partition("; decoded by ")
    assert (read, decoder in {"python", "native"}) == ("3 values of 3 tags, from 2024-01-01T00:00:00Z on", True)


async def test_a_server_that_moves_its_home_by_a_slash_is_well(tmp_path: Path) -> None:
    class Moving(Layer):
        async def handle(self, request: web.Request) -> web.StreamResponse:
            if request.path.endswith("/piwebapi/"):
                return web.Response(status=301, headers={"Location": "/piwebapi"})
            return await super().handle(request)

    async with serving(Moving(TAGS)) as url:
        found = await findings(url, tmp_path / "lake")
    assert found["PI Web API"].passed


async def test_a_firewall_that_refuses_batches_is_named_and_gone_round(tmp_path: Path) -> None:
    async with serving(Layer(TAGS, status=403, refuses='"Method"')) as url:
        found = await findings(url, tmp_path / "lake")
    assert found["requests"].text.startswith("as streamset (extraction.request_mode: auto); batches are not used: ")
    assert "something before PI Web API (layer/1) answered 403" in found["requests"].text


@pytest.mark.parametrize("mode", ["batch", "streamset", "single"])
async def test_values_are_read_in_the_mode_that_is_configured(tmp_path: Path, mode: str) -> None:
    async with serving(Layer(TAGS)) as url:
        found = await findings(url, tmp_path / "lake", request_mode=mode)
    assert found["requests"].text == f"as {mode}"
    assert found["reading"].passed
