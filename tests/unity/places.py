"""Unity Catalogs to test with: the stand-in in this process, and the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.unity.server import Server
from tests.unity.stand_in import TOKEN, StandIn
from writers import Lakehouse, Names
from writers.unity import open_unity

S3_OPTIONS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP")


@contextmanager
def stand_in(
    kind: str, root: str, s3: dict[str, str] | None, **sins
) -> Iterator[tuple[StandIn, Callable[..., Lakehouse]]]:
    """A catalog of its own, and how a run opens it; `root` is a folder or a prefix of the bucket."""
    url = root if "://" in root else f"file://{root}"
    with StandIn(url, s3=s3, **sins) as catalog:
        yield (
            catalog,
            lambda *, creates=True: open_unity(
                host=catalog.host,
                token=TOKEN,
                table_type=kind,  # type: ignore[arg-type]
                location=f"{url}/external",
                storage_options={k: s3[k] for k in S3_OPTIONS} if s3 else None,
                creates=creates,
            ),
        )


@contextmanager
def stand_in_lakehouse(kind: str, root: str, s3: dict[str, str] | None) -> Iterator[Callable[[], Lakehouse]]:
    with stand_in(kind, root, s3) as (_, lakehouse):
        yield lakehouse


def server_lakehouse(server: Server, kind: str, folder: Path, s3: dict[str, str] | None) -> Callable[..., Lakehouse]:
    """The same on the real server, in a catalog of its own."""
    name = f"c{uuid4().hex[:8]}"
    root = f"s3://lake/{name}" if s3 else f"file://{folder / 'data'}"
    server.create_catalog(name, f"{root}/managed")
    return lambda *, creates=True: open_unity(
        host=server.host,
        token=server.token,
        names=Names(catalog=name),
        table_type=kind,  # type: ignore[arg-type]
        location=f"{root}/external",
        storage_options={k: s3[k] for k in S3_OPTIONS} if s3 else None,
        creates=creates,
    )
