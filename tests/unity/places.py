"""Unity Catalogs to test with: the stand-in in this process, and the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.unity.server import serving
from tests.unity.stand_in import TOKEN, StandIn
from writers import Lakehouse, Names
from writers.unity import open_unity

S3_OPTIONS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP")


@contextmanager
def stand_in_lakehouse(kind: str, root: str, s3: dict[str, str] | None) -> Iterator[Callable[[], Lakehouse]]:
    """Open a lakehouse on a catalog of its own; `root` is a folder or a prefix of the bucket."""
    url = root if "://" in root else f"file://{root}"
    with StandIn(url, s3=s3) as catalog:
        yield lambda: open_unity(
            host=catalog.host,
            token=TOKEN,
            table_type=kind,  # type: ignore[arg-type]
            location=f"{url}/external",
            storage_options={k: s3[k] for k in S3_OPTIONS} if s3 else None,
        )


@contextmanager
def server_lakehouse(kind: str, folder: Path, s3: dict[str, str] | None) -> Iterator[Callable[[], Lakehouse]]:
    """The same on the real server."""
    name = f"c{uuid4().hex[:8]}"
    root = f"s3://lake/{name}" if s3 else f"file://{folder / 'data'}"
    properties = {}
    if s3:
        properties = {
            "s3.bucketPath.0": "s3://lake",
            "s3.region.0": s3["AWS_REGION"],
            "s3.accessKey.0": s3["AWS_ACCESS_KEY_ID"],
            "s3.secretKey.0": s3["AWS_SECRET_ACCESS_KEY"],
            "s3.sessionToken.0": "a-session",
        }
    with serving(folder, properties) as server:
        server.create_catalog(name, f"{root}/managed")
        yield lambda: open_unity(
            host=server.host,
            token=server.token,
            names=Names(catalog=name),
            table_type=kind,  # type: ignore[arg-type]
            location=f"{root}/external",
            storage_options={k: s3[k] for k in S3_OPTIONS} if s3 else None,
        )
