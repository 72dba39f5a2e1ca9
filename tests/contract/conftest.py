"""Every kind of destination, behind one fixture."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from tests.memory_lakehouse import MemoryLakehouse
from tests.servers import free_port, s3, serve
from tests.unity.places import server_lakehouse, stand_in
from tests.unity.server import server
from tests.unity.stand_in import SINS
from tests.variants import slowly
from writers import PI_TIMESERIES, Lakehouse, open_lakehouse
from writers.tables import TIMESTAMP

__all__ = ["azure", "destination", "of_whole_runs", "on_managed_s3", "rows", "s3", "server"]

# Where delta-rs and obstore look for the emulator. No option of a table says it.
AZURITE = "AZURITE_BLOB_STORAGE_URL"


@dataclass(frozen=True)
class Destination:
    """`lakehouse()` opens it as a new run would: nothing is shared but what is stored. `beside()` opens it as another
    shard does that starts at the same time: where names are not unique, that one waits for tables.
    """

    name: str
    lakehouse: Callable[[], Lakehouse]
    waits: Callable[[], Lakehouse] | None = None

    def beside(self) -> Lakehouse:
        return (self.waits or self.lakehouse)()


def _azurite() -> str | None:
    local = Path(__file__).parents[2] / "node_modules" / ".bin" / "azurite-blob"
    return shutil.which("azurite-blob") or (str(local) if local.exists() else None)


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    command = _azurite()
    if command is None:
        pytest.skip("azurite-blob is neither on PATH nor in node_modules (npm install azurite)")
    folder = tmp_path_factory.mktemp("azurite")
    port = free_port()
    flags = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    flags += ["--skipApiVersionCheck", "--disableTelemetry"]
    serving = serve([command, *flags], f"http://127.0.0.1:{port}/")
    next(serving)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(AZURITE, f"http://127.0.0.1:{port}")
        yield {"azure_storage_use_emulator": "true"}
    for _ in serving:
        pass


def kinds(*, managed_on_s3: bool) -> list[Any]:
    """Kinds of tables and storages, on the stand-in for a catalog server and (marked) on the real one.

    By default every kind of table and every storage has its turn, and a few tests have a managed table on S3,
    which is the usual way.
    """
    unity = [f"{kind}-{storage}" for kind in ("managed", "external") for storage in ("folder", "s3")]
    return [
        *("memory", "folder", "s3", "abfss", "unity-managed-folder", "unity-external-folder"),
        *(["unity-managed-s3"] if managed_on_s3 else slowly("unity-managed-s3")),
        *slowly("unity-external-s3"),
        *slowly(*(f"unity-{kind}-folder-{sin}" for kind in ("managed", "external") for sin in SINS)),
        *(pytest.param(f"server-{name}", marks=pytest.mark.unity) for name in unity),
    ]


on_managed_s3 = pytest.mark.parametrize("destination", kinds(managed_on_s3=True), indirect=True)


# Datasets whose rows the contract knows in every kind of table already.
of_whole_runs = pytest.mark.parametrize(
    "destination",
    [
        *("folder", "unity-managed-folder"),
        *slowly("memory", "s3", "abfss", "unity-external-folder", "unity-managed-s3"),
    ],
    indirect=True,
)


@pytest.fixture(params=kinds(managed_on_s3=False))
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Destination]:
    kind = request.param
    if kind == "memory":
        memory = MemoryLakehouse()
        yield Destination(kind, lambda: memory)
    elif kind == "folder":
        yield Destination(kind, lambda: open_lakehouse(tmp_path / "lake"))
    elif kind == "s3":
        options, root = request.getfixturevalue("s3"), f"s3://lake/{uuid4().hex}"
        yield Destination(kind, lambda: open_lakehouse(root, storage_options=options))
    elif kind == "abfss":
        options = request.getfixturevalue("azure")
        root = _azure_container()
        yield Destination(kind, lambda: open_lakehouse(root, storage_options=options))
    else:
        catalog, table_type, storage, *sin = kind.split("-", 3)
        options = request.getfixturevalue("s3") if storage == "s3" else None
        if catalog == "server":
            real = request.getfixturevalue("server")
            opened = server_lakehouse(real, table_type, tmp_path, options)
            yield Destination(kind, opened, partial(opened, creates=False))
        else:
            root = f"s3://lake/{uuid4().hex}" if options else str(tmp_path)
            sins = SINS[sin[0]] if sin else {}
            with stand_in(table_type, root, options, **sins) as (_, lakehouse):
                yield Destination(kind, lakehouse, partial(lakehouse, creates=False) if "twins" in sin else None)


def _azure_container() -> str:
    """Create a container, signed by the published key of the emulator's account."""
    name, account = f"lake{uuid4().hex[:12]}", "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06", "Content-Length": "0"}
    shown = "".join(f"{k}:{headers[k]}\n" for k in ("x-ms-date", "x-ms-version"))
    text = "PUT" + "\n" * 12 + f"{shown}/{account}/{account}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    url = f"{os.environ[AZURITE]}/{account}/{name}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="PUT")).close()
    return f"abfss://{name}@{account}.dfs.core.windows.net/root"


@pytest.fixture
def rows() -> Callable[..., pa.RecordBatch]:
    """Make events: `rows("a", [0, 1])` is two events of tag a, in the first microseconds of 1970."""

    def make(tag: str, micros: list[int], value: float = 1.0) -> pa.RecordBatch:
        schema, n = PI_TIMESERIES.schema, len(micros)
        times = pa.array(micros, pa.int64())
        known = {
            "tag_webid": pa.array([tag] * n, pa.string()),
            "tag_name": pa.array([f"name of {tag}"] * n, pa.string()),
            "timestamp": times.cast(TIMESTAMP),
            "sequence": pa.array([0] * n, pa.int32()),
            "value": pa.array([value] * n, pa.float64()),
            "partition_date": pa.array([m // 86_400_000_000 for m in micros], pa.int32()).cast(pa.date32()),
        }
        return pa.RecordBatch.from_arrays([known.get(f.name, pa.nulls(n, f.type)) for f in schema], names=schema.names)

    return make
