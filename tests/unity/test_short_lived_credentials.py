"""A whole run whose credentials live for seconds, on a storage that refuses those that have died: it goes on, and is exact."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.exactness.expected import assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, Plant, settings
from tests.exactness.reading import as_rows
from tests.unity.places import S3_OPTIONS
from tests.unity.stand_in import TOKEN, StandIn
from tests.unity.storage_gate import StorageGate
from writers import PI_TIMESERIES
from writers.unity import open_unity

ROOT = Path(__file__).parents[2]
LIVES_MS = 3_000
TAGS, END = 12, BEGIN + 4 * HOUR


@pytest.fixture
def gate(s3: dict[str, str]) -> Iterator[StorageGate]:
    with (
        StandIn(f"s3://lake/{uuid4().hex}", s3=s3, lives_ms=LIVES_MS) as catalog,
        StorageGate(catalog, s3["AWS_ENDPOINT_URL"]) as storage,
    ):
        yield storage


async def engine(config: Path, catalog: StandIn) -> dict[str, Any]:
    """A run in a process of its own: storage clients wait in it, and would keep the gate waiting in ours."""
    login = {"DATABRICKS_HOST": catalog.host, "DATABRICKS_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "run", "--json", "-c", str(config)),
        env={**os.environ, **login},
        cwd=config.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["managed", "external"])
async def test_a_run_outlives_many_generations_of_credentials(gate: StorageGate, kind: str, tmp_path: Path) -> None:
    catalog, plant = gate.catalog, Plant.of(tmp_path, tags=TAGS, interval_secs=60)
    assert catalog.s3 is not None
    plain = {name: catalog.s3[name] for name in S3_OPTIONS}
    location = {"location": f"{catalog.storage_root}/external"} if kind == "external" else {}
    async with plant.simulator(END).serve() as url:
        document = settings(tmp_path, url) | {
            "storage": {"options": plain | {"AWS_ENDPOINT_URL": gate.url}},
            "unity_catalog": {"table_type": kind, **location},
            "performance": {"values_per_answer": 120, "commit_rows": 150},
        }
        document["pi_web_api"] |= {"max_requests_per_second": 3, "max_in_flight": 1}
        config = tmp_path / "plant.yaml"
        config.write_text(json.dumps(document))
        report = await engine(config, catalog)
    assert gate.refused == {}
    # Data and watermarks have keys of their own, and none was good for more than a part of the run.
    took_ms = 1000 * report["duration_seconds"]
    assert took_ms > 2 * LIVES_MS
    assert len(gate.admitted) > 2 * took_ms / LIVES_MS
    lakehouse = open_unity(host=catalog.host, token=TOKEN, storage_options=plain)
    rows = as_rows(lakehouse.table(PI_TIMESERIES).open().read().read_all())
    assert_same_rows(rows, plant.rows(range(TAGS), BEGIN, END))


@pytest.mark.parametrize(("key", "status"), [("of-today", 404), ("of-yesterday", 403), ("of-nobody", 403)])
def test_the_gate_refuses_a_key_that_has_expired_and_one_that_was_never_vended(
    gate: StorageGate, key: str, status: int
) -> None:
    """Else the test above would prove nothing."""
    now_ms = int(time.time() * 1000)
    gate.catalog.vended |= {"of-yesterday": now_ms - 1, "of-today": now_ms + 60_000}
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20240305/us-east-1/s3/aws4_request, Signature=x"}
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(urllib.request.Request(f"{gate.url}/lake/nothing-there", headers=signed))
    assert answer.value.code == status
    answer.value.close()
    assert set(gate.refused) == ({key} if status == 403 else set())
